import { deepStrictEqual, match, ok } from "node:assert/strict";
import { seededRng } from "#system";
import { Tokens } from "#standin";
import { FakeClock } from "../../support/fake_clock.ts";

const CALLER = { namespace: "istio-system", serviceAccount: "ztunnel", node: "n1" };

function tokens(seed = 1) {
  const clock = new FakeClock();
  return { clock, tokens: new Tokens(clock, seededRng(seed)) };
}

Deno.test("a token says whose it is, until its time is over", async () => {
  const { clock, tokens: ours } = tokens();
  const token = ours.issue({ ...CALLER, lifetimeMs: 60_000 });
  deepStrictEqual(ours.check(`Bearer ${token}`), { caller: CALLER });
  await clock.advance(59_000);
  ok("caller" in ours.check(`Bearer ${token}`));
  await clock.advance(1_000);
  const late = ours.check(`Bearer ${token}`);
  match("refused" in late ? late.refused : "", /expired at 2026-01-01T00:01:00/);
});

Deno.test("a token without a node is one of a pod that says nothing of its node", () => {
  const { tokens: ours } = tokens();
  const caller = { namespace: "shop", serviceAccount: "web" };
  deepStrictEqual(ours.check(`Bearer ${ours.issue(caller)}`), { caller });
});

const REFUSED: readonly {
  readonly what: string;
  readonly header: (ours: Tokens) => string | undefined;
  readonly why: RegExp;
}[] = [
  { what: "nothing", header: () => undefined, why: /no authorization/ },
  { what: "another scheme", header: () => "Basic eDp5", why: /no bearer token/ },
  { what: "an empty token", header: () => "Bearer ", why: /no bearer token/ },
  { what: "a text without dots", header: () => "Bearer x", why: /not one of ours/ },
  {
    what: "another control plane's",
    header: () => `Bearer ${tokens(2).tokens.issue(CALLER)}`,
    why: /not one of ours/,
  },
  {
    what: "a changed one",
    header: (ours) => {
      const [head, , signature] = ours.issue(CALLER).split(".");
      const [, claims] = ours.issue({ ...CALLER, namespace: "shop" }).split(".");
      return `Bearer ${head}.${claims}.${signature}`;
    },
    why: /not one of ours/,
  },
  {
    what: "one for somebody else",
    header: (ours) => `Bearer ${ours.issue({ ...CALLER, audience: "vault" })}`,
    why: /is for vault, not for istio-ca/,
  },
  {
    what: "one that was never valid",
    header: (ours) => `Bearer ${ours.issue({ ...CALLER, lifetimeMs: 0 })}`,
    why: /expired/,
  },
];

for (const { what, header, why } of REFUSED) {
  Deno.test(`refused as a token: ${what}`, () => {
    const { tokens: ours } = tokens();
    const check = ours.check(header(ours));
    match("refused" in check ? check.refused : "", why);
  });
}
