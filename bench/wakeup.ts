/**
 * How late a thread is woken up beside busy neighbours, with the kernel's usual slices and with short ones, by turns: why
 * data threads ask for those (ARCHITECTURE.md). Run: deno run -A bench/wakeup.ts
 * @module
 */
import { OwnProcess } from "#linux";

const NEIGHBOURS = 6;
const ROUNDS = 3;
const SECONDS = 4;
const INTERVAL_MS = 1;
/** What a data thread has to do for a request, about. */
const WORK_MS = 0.1;
const HOW = ["usual", "short"] as const;

/** In a process of its own, because a slice stays as it is: wakes up again and again, and tells how late each time. */
function measure(how: string): void {
  if (how === "short" && !OwnProcess.askForShortSlices()) throw new Error("the kernel refuses");
  const never = new Int32Array(new SharedArrayBuffer(4));
  const lateMs: number[] = [];
  for (const endMs = performance.now() + SECONDS * 1_000; performance.now() < endMs;) {
    const startMs = performance.now();
    Atomics.wait(never, 0, 0, INTERVAL_MS);
    const wokenMs = performance.now();
    lateMs.push(wokenMs - startMs - INTERVAL_MS);
    while (performance.now() < wokenMs + WORK_MS);
  }
  lateMs.sort((a, b) => a - b);
  const at = (share: number) => lateMs[Math.floor(lateMs.length * share)]!.toFixed(2);
  console.log(`${how}: p50 ${at(0.5)}, p99 ${at(0.99)}, p99.9 ${at(0.999)} ms late`);
}

async function main(): Promise<void> {
  const neighbours = Array.from(
    { length: NEIGHBOURS },
    () => new Deno.Command("sh", { args: ["-c", "while :; do :; done"] }).spawn(),
  );
  try {
    for (let round = 0; round < ROUNDS; round++) {
      for (const how of HOW) {
        const args = ["run", "-A", "--quiet", new URL(import.meta.url).pathname, "--child", how];
        await new Deno.Command(Deno.execPath(), { args, stdout: "inherit" }).spawn().status;
      }
    }
  } finally {
    for (const neighbour of neighbours) neighbour.kill();
    await Promise.all(neighbours.map(({ status }) => status));
  }
}

if (import.meta.main) {
  const [first, how] = Deno.args;
  if (first === "--child") measure(how!);
  else await main();
}
