/** The CA's judgement (behaviour.md 9.1, 17.5): who gets what, and what is refused. */
import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { create } from "@bufbuild/protobuf";
import { realClock } from "#system";
import { derFromPem, parseCertificate, trustRoots, verifyPeer } from "#tls";
import { SpiffeId } from "#values";
import { MeshAuthority } from "#standin";
import { createSigningRequest } from "../../../lib/certs/csr.ts";
import { type CaOutcome, CaService } from "../../../lib/standin/ca_service.ts";
import { Directory } from "../../../lib/standin/directory.ts";
import type { CaFault } from "../../../lib/standin/faults.ts";
import { IstioCertificateRequestSchema } from "../../../proto/gen/ca_pb.ts";
import { shop } from "./example.ts";

const HOUR_MS = 3_600_000;
const web = SpiffeId.of("cluster.local", "shop", "web");
const cart = SpiffeId.of("cluster.local", "shop", "cart");
const NODE_PROXY = { namespace: "istio-system", serviceAccount: "ztunnel", node: "n1" };
const authority = await MeshAuthority.create({ clock: realClock });

interface Ask {
  readonly caller?: { namespace: string; serviceAccount: string; node?: string };
  readonly impersonated?: string | number;
  readonly seconds?: number;
  readonly csr?: (pem: string) => string;
  readonly fault?: CaFault;
  readonly by?: MeshAuthority;
}

async function ask(
  { caller = NODE_PROXY, impersonated, seconds = 3_600, csr = (pem) => pem, fault, by = authority }:
    Ask,
): Promise<CaOutcome> {
  const service = new CaService({
    authority: by,
    trustDomain: "cluster.local",
    nodeProxies: ["istio-system/ztunnel"],
    lifetimeMsMax: 24 * HOUR_MS,
  });
  const { csrPem } = await createSigningRequest(web);
  const request = create(IstioCertificateRequestSchema, {
    csr: csr(csrPem),
    validityDuration: BigInt(seconds),
    ...(impersonated !== undefined && { metadata: { ImpersonatedIdentity: impersonated } }),
  });
  return await service.create(request, caller, new Directory(shop()), fault);
}

async function granted(what: Ask) {
  const outcome = await ask(what);
  if ("refused" in outcome) throw new Error(outcome.refused);
  const [leaf, ...rest] = outcome.chain;
  return { ...outcome, leaf: parseCertificate(derFromPem(leaf!)[0]!), rest };
}

Deno.test("17.5 a pod gets its own identity, whatever its request says", async () => {
  const { leaf, identity, requestedUri } = await granted({
    caller: { namespace: "shop", serviceAccount: "cart" },
  });
  deepStrictEqual([identity, requestedUri], [cart, web]);
  deepStrictEqual(leaf.uris, [cart]);
});

Deno.test("17.5 a node's proxy gets the identity of a pod on its node", async () => {
  const { leaf } = await granted({ impersonated: web });
  deepStrictEqual(leaf.uris, [web]);
});

const REFUSED: readonly (Ask & { readonly what: string; readonly why: RegExp })[] = [
  {
    what: "a pod that poses as another",
    caller: { namespace: "shop", serviceAccount: "cart", node: "n1" },
    impersonated: web,
    why: /caller \(shop\/cart\) may not impersonate/,
  },
  { what: "a pod of another node", impersonated: cart, why: /no pod of .*cart runs on node "n1"/ },
  {
    what: "a node's proxy without a node",
    caller: { namespace: "istio-system", serviceAccount: "ztunnel" },
    impersonated: web,
    why: /no pod of .* runs on node ""/,
  },
  {
    what: "a foreign trust domain",
    impersonated: "spiffe://other.org/ns/shop/sa/web",
    why: /no pod of/,
  },
  { what: "no SPIFFE id", impersonated: "web", why: /no SPIFFE id/ },
  { what: "a number", impersonated: 7, why: /no SPIFFE id/ },
];

for (const { what, why, ...rest } of REFUSED) {
  Deno.test(`17.5 UNAUTHENTICATED: ${what}`, async () => {
    const outcome = await ask(rest);
    ok("refused" in outcome);
    strictEqual(outcome.code, 16);
    match(outcome.refused, why);
  });
}

const BAD_REQUESTS: readonly { readonly what: string; readonly csr: (pem: string) => string }[] = [
  { what: "no PEM", csr: () => "junk" },
  { what: "another label", csr: (pem) => pem.replaceAll(" REQUEST", "") },
  { what: "an empty one", csr: (pem) => pem.split("\n")[0] + "\n" + pem.split("\n").at(-2) + "\n" },
  {
    what: "a broken signature",
    csr: (pem) => {
      const lines = pem.trim().split("\n");
      const last = lines.at(-2)!;
      const flipped = last.startsWith("A") ? `B${last.slice(1)}` : `A${last.slice(1)}`;
      return [...lines.slice(0, -2), flipped, lines.at(-1), ""].join("\n");
    },
  },
];

for (const { what, csr } of BAD_REQUESTS) {
  Deno.test(`a request that proves nothing is INVALID_ARGUMENT: ${what}`, async () => {
    const outcome = await ask({ csr });
    ok("refused" in outcome);
    strictEqual(outcome.code, 3);
    match(outcome.refused, /^CSR: /);
  });
}

Deno.test("the lifetime is what was asked for, up to the CA's own limit", async () => {
  const lifetimeOf = async (seconds: number) => {
    const { leaf } = await granted({ seconds });
    return (leaf.notAfterMs - realClock.nowMs()) / HOUR_MS;
  };
  ok(Math.abs(await lifetimeOf(7_200) - 2) < 0.01);
  ok(Math.abs(await lifetimeOf(365 * 86_400) - 24) < 0.01);
});

Deno.test("17.5 with an intermediate: leaf, intermediate and roots are an element each", async () => {
  const by = await MeshAuthority.create({ clock: realClock, hasIntermediate: true });
  await by.announceRoot();
  const { chain } = await granted({ by });
  deepStrictEqual(chain.map((pem) => derFromPem(pem).length), [1, 1, 2]);
  ok(chain.every((pem) => pem.endsWith("-----\n")));
  const path = chain.slice(0, 2).map((pem) => derFromPem(pem)[0]!);
  verifyPeer(path, trustRoots(chain[2]!), { role: "server", nowMs: realClock.nowMs() });
});

Deno.test("a root is replaced in three steps, and every leaf is good under what its time's peers trust", async () => {
  const by = await MeshAuthority.create({ clock: realClock });
  const verify = async (trusted: string) => {
    const { chain } = await granted({ by });
    const path = [derFromPem(chain[0]!)[0]!];
    verifyPeer(path, trustRoots(trusted), { role: "client", nowMs: realClock.nowMs() });
    return chain[1]!;
  };
  const old = by.rootsPem;
  strictEqual(await verify(old), old);
  await by.announceRoot();
  const both = await verify(old);
  strictEqual(derFromPem(both).length, 2);
  await by.useAnnouncedRoot();
  strictEqual(await verify(both), both);
  by.forgetOldRoots();
  const last = await verify(both);
  strictEqual(both, old + last);
  await verify(last);
});

Deno.test("each fault of the CA is what its name says", async () => {
  const valid = (chain: readonly string[], roots = authority.rootsPem) =>
    verifyPeer([derFromPem(chain[0]!)[0]!], trustRoots(roots), {
      role: "server",
      nowMs: realClock.nowMs(),
    });
  const down = await ask({ fault: "down" });
  deepStrictEqual("refused" in down && down.code, 14);
  const chainOf = async (fault: CaFault) => {
    const outcome = await ask({ fault });
    return "refused" in outcome ? [] : outcome.chain;
  };
  deepStrictEqual(await chainOf("empty"), []);
  strictEqual((await chainOf("no_root")).length, 1);
  match((await chainOf("garbage"))[0]!, /AAAA/);
  const failing = async (fault: CaFault) => {
    try {
      valid(await chainOf(fault));
      return "";
    } catch (error) {
      return (error as Error).message;
    }
  };
  match(await failing("expired"), /expired/);
  ok(await failing("foreign") !== "");
  strictEqual(await failing("other_key"), "");
  const { leaf } = await granted({ fault: "other_name", impersonated: web });
  deepStrictEqual(leaf.uris, [`${web}-of-another`]);
});
