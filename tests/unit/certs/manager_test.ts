import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { type Authority, CertManager } from "#certs";
import { seededRng } from "#system";
import type { CertBundle } from "#tls";
import { SpiffeId } from "#values";
import { FakeClock } from "../../support/fake_clock.ts";

const SECOND_MS = 1_000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
const idOf = (account: string): SpiffeId => SpiffeId.of("cluster.local", "shop", account);
const cart = idOf("cart");

/** Signs when told to; `fails` makes every fetch fail from then on. */
class FakeAuthority implements Authority {
  readonly asked: string[] = [];
  readonly askedAtMs: number[] = [];
  inFlightCount = 0;
  fails: string | undefined;
  #held: (() => void)[] | undefined;

  constructor(private readonly clock: FakeClock) {}

  /** From now on fetches wait for `release`. */
  hold(): void {
    this.#held = [];
  }

  /** Ends the `count` oldest fetches; later ones still wait. */
  release(count = Infinity): void {
    for (const end of this.#held?.splice(0, count) ?? []) end();
  }

  async sign(identity: SpiffeId, lifetimeMs: number): Promise<CertBundle> {
    this.asked.push(SpiffeId.parts(identity).serviceAccount);
    this.askedAtMs.push(this.clock.monotonicMs());
    this.inFlightCount++;
    if (this.#held !== undefined) {
      await new Promise<void>((resolve) => this.#held!.push(resolve));
    }
    this.inFlightCount--;
    if (this.fails !== undefined) throw new Error(this.fails);
    const nowMs = this.clock.nowMs();
    return {
      identity,
      chainPem: `chain ${this.asked.length}`,
      privateKeyPem: "key",
      rootsPem: "roots",
      notBeforeMs: nowMs,
      notAfterMs: nowMs + lifetimeMs,
    };
  }
}

interface World extends Disposable {
  readonly clock: FakeClock;
  readonly authority: FakeAuthority;
  readonly certs: CertManager;
  /** What the callbacks said, in order. */
  readonly told: string[];
}

function world(options: { readonly lifetimeMs?: number; readonly jitter?: number } = {}): World {
  const clock = new FakeClock();
  const authority = new FakeAuthority(clock);
  const told: string[] = [];
  const nameOf = (identity: SpiffeId) => SpiffeId.parts(identity).serviceAccount;
  const certs = new CertManager({
    authority,
    clock,
    // 0.5 is no jitter at all.
    rng: { ...seededRng(1), next: () => options.jitter ?? 0.5 },
    lifetimeMs: options.lifetimeMs ?? DAY_MS,
    onBundle: (bundle) => told.push(`${nameOf(bundle.identity)}: ${bundle.chainPem}`),
    onFailed: (identity, reason) => told.push(`${nameOf(identity)} failed: ${reason}`),
    onForgotten: (identity, reason) => told.push(`${nameOf(identity)} forgotten: ${reason}`),
  });
  return { clock, authority, certs, told, [Symbol.dispose]: () => certs[Symbol.dispose]() };
}

const statesOf = (certs: CertManager): string[] =>
  certs.states().map(({ identity, state }) =>
    `${SpiffeId.parts(identity).serviceAccount} ${state}`
  );

Deno.test("9.7: CertManager.want() fetches once, however often it is asked", async () => {
  using w = world();
  w.authority.hold();
  w.certs.want(cart);
  w.certs.want(cart);
  deepStrictEqual(statesOf(w.certs), ["cart Initializing"]);
  w.authority.release();
  await w.clock.advance(0);
  deepStrictEqual(w.told, ["cart: chain 1"]);
  w.certs.want(cart);
  deepStrictEqual(w.told, ["cart: chain 1", "cart: chain 1"]);
  deepStrictEqual(w.authority.asked, ["cart"]);
});

Deno.test("9.3: CertManager renews at half of the lifetime, again and again", async () => {
  using w = world();
  w.certs.want(cart);
  await w.clock.advance(12 * HOUR_MS - 1);
  deepStrictEqual(w.told, ["cart: chain 1"]);
  await w.clock.advance(1);
  deepStrictEqual(w.told, ["cart: chain 1", "cart: chain 2"]);
  await w.clock.advance(12 * HOUR_MS);
  deepStrictEqual(w.authority.askedAtMs, [0, 12 * HOUR_MS, 24 * HOUR_MS]);
});

Deno.test("9.3: CertManager keeps the certificate in service while it is being renewed", async () => {
  using w = world();
  w.certs.want(cart);
  await w.clock.advance(0);
  w.authority.hold();
  await w.clock.advance(12 * HOUR_MS);
  strictEqual(w.authority.inFlightCount, 1);
  w.certs.want(cart);
  deepStrictEqual(w.told, ["cart: chain 1", "cart: chain 1"]);
  deepStrictEqual(statesOf(w.certs), ["cart Available"]);
});

Deno.test("9.3: CertManager renews soon after the wall clock jumped over the half-life", async () => {
  using w = world();
  w.certs.want(cart);
  await w.clock.advance(0);
  w.clock.jump(13 * HOUR_MS);
  await w.clock.advance(10 * MINUTE_MS);
  deepStrictEqual(w.authority.asked, ["cart", "cart"]);
});

Deno.test("9.3: CertManager does not ask in a loop for certificates that come over their half-life", async () => {
  using w = world();
  const sign = w.authority.sign.bind(w.authority);
  w.authority.sign = async (identity, lifetimeMs) => {
    const bundle = await sign(identity, lifetimeMs);
    return { ...bundle, notBeforeMs: bundle.notBeforeMs - 10 * DAY_MS };
  };
  w.certs.want(cart);
  await w.clock.advance(10 * SECOND_MS);
  strictEqual(w.authority.asked.length, 11);
});

Deno.test("9.7: CertManager has at most eight fetches in flight", async () => {
  using w = world();
  w.authority.hold();
  for (let i = 0; i < 20; i++) w.certs.want(idOf(`a${i}`));
  strictEqual(w.authority.inFlightCount, 8);
  w.authority.release(3);
  await w.clock.advance(0);
  strictEqual(w.authority.asked.length, 11);
  strictEqual(w.authority.inFlightCount, 8);
  for (let round = 0; round < 3; round++) {
    w.authority.release();
    await w.clock.advance(0);
  }
  strictEqual(w.told.length, 20);
});

Deno.test("9.7: CertManager serves who waits first, then warm-ups, then the rest, each in order", async () => {
  using w = world();
  w.authority.hold();
  for (let i = 0; i < 8; i++) w.certs.want(idOf("busy" + i));
  w.certs.want(idOf("later"), "background");
  w.certs.want(idOf("warm-1"), "warmup");
  w.certs.want(idOf("warm-2"), "warmup");
  w.certs.want(idOf("now-1"));
  w.certs.want(idOf("warm-2"), "now");
  w.certs.want(idOf("now-2"), "now");
  w.certs.want(idOf("now-1"), "background");
  for (let i = 0; i < 6; i++) {
    w.authority.release(1);
    await w.clock.advance(0);
  }
  deepStrictEqual(w.authority.asked.slice(8), [
    "warm-2",
    "now-1",
    "now-2",
    "warm-1",
    "later",
  ]);
});

Deno.test("9.7: CertManager tells a failure at once, and retries 1, 2, 4 … 150 s apart", async () => {
  using w = world();
  w.authority.fails = "no CA";
  w.certs.want(cart);
  await w.clock.advance(0);
  deepStrictEqual(w.told, ["cart failed: no CA"]);
  deepStrictEqual(statesOf(w.certs), ["cart Unavailable: no CA"]);
  w.certs.want(cart);
  deepStrictEqual(w.told, ["cart failed: no CA", "cart failed: no CA"]);
  strictEqual(w.authority.asked.length, 1);
  await w.clock.advance(600 * SECOND_MS);
  const seconds = w.authority.askedAtMs.map((ms) => ms / SECOND_MS);
  deepStrictEqual(seconds, [0, 1, 3, 7, 15, 31, 63, 127, 255, 405, 555]);
});

Deno.test("9.7: CertManager jitters retries by a fifth, and not at all after a quarter of an hour", async () => {
  using w = world({ jitter: 0 });
  w.authority.fails = "no CA";
  w.certs.want(cart);
  await w.clock.advance(3 * SECOND_MS);
  deepStrictEqual(w.authority.askedAtMs, [0, 800, 2_400]);
  await w.clock.advance(40 * MINUTE_MS);
  const gapsMs = w.authority.askedAtMs.map((ms, index) =>
    ms - (w.authority.askedAtMs[index - 1] ?? 0)
  );
  strictEqual(gapsMs.at(-1), 150 * SECOND_MS);
  strictEqual(gapsMs.includes(120 * SECOND_MS), true);
  strictEqual(Math.max(...gapsMs), 150 * SECOND_MS);
});

Deno.test("9.7: CertManager recovers by itself, and starts the waits anew", async () => {
  using w = world();
  w.authority.fails = "no CA";
  w.certs.want(cart);
  await w.clock.advance(4 * SECOND_MS);
  w.authority.fails = undefined;
  await w.clock.advance(3 * SECOND_MS);
  deepStrictEqual(statesOf(w.certs), ["cart Available"]);
  w.authority.fails = "no CA again";
  await w.clock.advance(12 * HOUR_MS + 2 * SECOND_MS);
  const renewalMs = 7 * SECOND_MS + 12 * HOUR_MS;
  deepStrictEqual(w.authority.askedAtMs.slice(4), [renewalMs, renewalMs + 1_000]);
});

Deno.test("9.7: CertManager keeps a valid certificate through failures, until it expires", async () => {
  using w = world({ lifetimeMs: HOUR_MS });
  w.certs.want(cart);
  await w.clock.advance(0);
  w.authority.fails = "no CA";
  await w.clock.advance(HOUR_MS - 1);
  deepStrictEqual(statesOf(w.certs), ["cart Available"]);
  deepStrictEqual(w.told, ["cart: chain 1"]);
  await w.clock.advance(1);
  deepStrictEqual(statesOf(w.certs), ["cart Unavailable: no CA"]);
  deepStrictEqual(w.told, ["cart: chain 1", "cart failed: no CA"]);
  strictEqual(w.authority.askedAtMs.includes(HOUR_MS), true, "the expiry itself is a try");
});

Deno.test("9.7: CertManager.forget() tells who waits, and throws the result away", async () => {
  using w = world();
  w.authority.hold();
  w.certs.want(cart);
  w.certs.forget(cart);
  deepStrictEqual(w.told, ["cart forgotten: the identity is no longer needed"]);
  w.authority.release();
  await w.clock.advance(DAY_MS);
  strictEqual(w.told.length, 1);
  deepStrictEqual(w.certs.states(), []);
  strictEqual(w.authority.asked.length, 1);
});

Deno.test("9.7: CertManager.forget() takes a queued fetch out of the queue", async () => {
  using w = world();
  w.authority.hold();
  for (let i = 0; i < 8; i++) w.certs.want(idOf("busy" + i));
  w.certs.want(cart);
  w.certs.forget(cart);
  w.authority.release();
  await w.clock.advance(0);
  strictEqual(w.authority.asked.includes("cart"), false);
});

Deno.test("9.7: CertManager uses a running fetch for an identity that is wanted again meanwhile", async () => {
  using w = world();
  w.authority.hold();
  w.certs.want(cart);
  w.certs.forget(cart);
  w.certs.want(cart);
  strictEqual(w.authority.asked.length, 1);
  w.authority.release();
  await w.clock.advance(0);
  deepStrictEqual(w.told, ["cart forgotten: the identity is no longer needed", "cart: chain 1"]);
});

Deno.test("9.7: CertManager.forget() of an available identity is silent and stops its renewal", async () => {
  using w = world();
  w.certs.want(cart);
  await w.clock.advance(0);
  w.certs.forget(cart);
  w.certs.forget(cart);
  strictEqual(w.clock.timersCount, 0);
  deepStrictEqual(w.told, ["cart: chain 1"]);
});

Deno.test("9.7: CertManager gives up a fetch that never ends, and frees its place", async () => {
  using w = world();
  w.authority.hold();
  for (let i = 0; i < 9; i++) w.certs.want(idOf(`a${i}`));
  await w.clock.advance(MINUTE_MS);
  strictEqual(w.told[0], "a0 failed: the certificate authority did not answer in 60 s");
  strictEqual(w.authority.asked.includes("a8"), true);
  const before = w.told.length;
  w.authority.release(8);
  await w.clock.advance(0);
  strictEqual(w.told.length, before, "late answers are thrown away");
});

Deno.test("9.7: CertManager refuses more identities than it can hold", async () => {
  using w = world();
  w.authority.hold();
  for (let i = 0; i < 10_001; i++) w.certs.want(idOf(`a${i}`));
  deepStrictEqual(w.told, [
    "a10000 failed: cannot hold certificates for more than 10000 identities",
  ]);
  await w.clock.advance(0);
  strictEqual(w.certs.states().length, 10_000);
});

Deno.test("9.9: CertManager.states() are ordered by identity, without keys", async () => {
  using w = world();
  for (const account of ["b", "a", "B"]) w.certs.want(idOf(account));
  await w.clock.advance(0);
  deepStrictEqual(statesOf(w.certs), ["B Available", "a Available", "b Available"]);
  deepStrictEqual(Object.keys(w.certs.states()[0]!).sort(), [
    "chainPem",
    "identity",
    "rootsPem",
    "state",
  ]);
});

Deno.test("9.7: CertManager leaves no timer behind when disposed, and answers no more", async () => {
  const w = world();
  w.certs.want(cart);
  await w.clock.advance(0);
  w.authority.hold();
  w.certs.want(idOf("web"));
  w.certs[Symbol.dispose]();
  strictEqual(w.clock.timersCount, 0);
  w.authority.release();
  await w.clock.advance(DAY_MS);
  deepStrictEqual(w.told, ["cart: chain 1"]);
  w.certs.want(cart);
  deepStrictEqual(w.told.slice(1), ["cart failed: shutting down"]);
});
