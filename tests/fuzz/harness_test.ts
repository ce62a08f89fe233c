import { deepStrictEqual, match, ok, rejects, strictEqual } from "node:assert/strict";
import { type FuzzTarget, run } from "../support/fuzz.ts";

const SHORT = { seconds: 0.3, seed: 7 };
const INPUTS = 50;

function target(corpus: readonly number[][], attempt: FuzzTarget["try"]): FuzzTarget {
  return { name: "a target", corpus: corpus.map((bytes) => Uint8Array.from(bytes)), try: attempt };
}

async function messageOf(run: Promise<unknown>): Promise<string> {
  try {
    await run;
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error("nothing was found");
}

Deno.test("run() finds what mutation can reach, says the seed, and shrinks it", async () => {
  const planted = target([[1, 2, 3, 4, 5, 6, 7, 8]], (input) => {
    if (input.includes(0x7f)) throw new Error("planted");
    return "fine";
  });
  const message = await messageOf(run(planted, { seconds: 60, seed: 7 }));
  match(message, /^a target, SEED=7, input 7f: Error: planted$/);
});

Deno.test("run() tries the same inputs with the same seed", async () => {
  const inputs: string[][] = [];
  for (let time = 0; time < 2; time++) {
    const tried: string[] = [];
    const short = target([[1, 2, 3]], (input) => String(tried.push(input.join()) > 0));
    await run(short, SHORT);
    inputs.push(tried);
  }
  // As far as both came, which is the machine's affair.
  const count = Math.min(INPUTS, ...inputs.map(({ length }) => length));
  ok(count > 10);
  deepStrictEqual(inputs[0]!.slice(0, count), inputs[1]!.slice(0, count));
});

Deno.test("run() counts outcomes and learns from new ones", async () => {
  // Three steps in a row are out of one mutation's reach; each one is an outcome to go on from.
  const report = await run(
    target(
      [[0, 0, 0, 0]],
      (input) => `${[1, 2, 3].findIndex((byte, at) => input[at] !== byte)}`,
    ),
    { seconds: 3, seed: 7 },
  );
  ok(report.outcomes.has("-1"), [...report.outcomes.keys()].join());
  strictEqual(report.seed, 7);
});

Deno.test("run() keeps inputs within the target's size, and refuses endless outcomes", async () => {
  let longest = 0;
  await run({
    ...target([[1, 2, 3, 4]], (input) => `${(longest = Math.max(longest, input.length)) > 0}`),
    inputBytesMax: 64,
  }, SHORT);
  ok(longest > 8 && longest <= 64, `${longest} bytes`);
  let count = 0;
  await rejects(run(target([], () => `${count++}`), { seconds: 60, seed: 7 }), /too many outcomes/);
});

Deno.test("run() takes an input that lasts for a finding", async () => {
  const slow = target([[1]], () => {
    const startMs = performance.now();
    while (performance.now() - startMs < 25);
    return "slow";
  });
  const message = await messageOf(run({ ...slow, inputMsMax: 20 }, SHORT));
  match(message, /SEED=7, input : took over 20 ms, each of 4 times$/);
});

Deno.test("run() takes a heap that grows for a finding, and no other", async () => {
  const quiet = target([[1]], () => "fine");
  const startMs = performance.now();
  const grow = (bytesPerMs: number) => () => 100e6 + (performance.now() - startMs) * bytesPerMs;
  await run(quiet, { seconds: 1, seed: 7, heapUsed: grow(1_000) });
  const message = await messageOf(run(quiet, { seconds: 3, seed: 7, heapUsed: grow(1e6) }));
  match(message, /^a target, SEED=7: the heap grew by [\d.]+ bytes$/);
});
