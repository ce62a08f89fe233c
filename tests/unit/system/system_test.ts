import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { Backoff, realClock, realRng, seededRng } from "#system";

Deno.test("Backoff doubles to its maximum and starts again after a reset", () => {
  const backoff = new Backoff({ firstMs: 10, maxMs: 50 }, seededRng(1));
  deepStrictEqual([1, 2, 3, 4, 5].map(() => backoff.nextMs()), [10, 20, 40, 50, 50]);
  backoff.reset();
  strictEqual(backoff.nextMs(), 10);
});

Deno.test("Backoff's jitter stays within its share", () => {
  const backoff = new Backoff({ firstMs: 100, maxMs: 100, jitter: 0.2 }, seededRng(2));
  const waits = Array.from({ length: 500 }, () => backoff.nextMs());
  ok(Math.min(...waits) >= 80 && Math.min(...waits) < 90);
  ok(Math.max(...waits) <= 120 && Math.max(...waits) > 110);
});

Deno.test("seededRng() gives the same night again, and an even one", () => {
  const draw = () => {
    const rng = seededRng(7);
    return Array.from({ length: 1_000 }, () => rng.below(10));
  };
  deepStrictEqual(draw(), draw());
  for (let value = 0; value < 10; value++) {
    const count = draw().filter((drawn) => drawn === value).length;
    ok(count > 60 && count < 140, `${value} came ${count} times`);
  }
  strictEqual(realRng.bytes(16).length, 16);
});

Deno.test("realClock fires once, not after cancel(), and wakes a sleeper on abort", async () => {
  let fired = 0;
  const cancelled = realClock.after(1, () => fired += 100);
  cancelled.cancel();
  await new Promise<void>((resolve) =>
    realClock.after(2, () => {
      fired++;
      resolve();
    })
  );
  strictEqual(fired, 1);
  const stop = new AbortController();
  const startMs = realClock.monotonicMs();
  const slept = realClock.sleep(60_000, stop.signal);
  stop.abort();
  await slept;
  ok(realClock.monotonicMs() - startMs < 5_000);
});

Deno.test("realClock does not fire at once for a delay beyond 31 bits", async () => {
  let fired = false;
  const timer = realClock.after(2 ** 31 + 5_000, () => fired = true);
  await realClock.sleep(5);
  strictEqual(fired, false);
  timer.cancel();
});

Deno.test("realRng gives no byte twice, in pieces of any length", () => {
  const seen = new Set<string>();
  for (let round = 0; round < 500; round++) {
    for (const count of [8, 16, 1_500]) {
      const bytes = realRng.bytes(count);
      strictEqual(bytes.length, count);
      // Eight bytes that are the same, or zeros, come once in 2^64 by chance.
      seen.add(bytes.subarray(count - 8).toHex());
      seen.add("00".repeat(8));
    }
  }
  strictEqual(seen.size, 1_501);
});
