/** What spawn.ts relies on: a Worker of node's can be told how much memory young objects get, and keeps to it. */
import { ok as assert } from "node:assert/strict";
import { Worker } from "node:worker_threads";

async function youngBytes(resourceLimits?: { maxYoungGenerationSizeMb: number }): Promise<number> {
  const worker = new Worker(new URL("./young_worker.ts", import.meta.url), {
    ...(resourceLimits === undefined ? {} : { resourceLimits }),
  });
  const bytes = await new Promise<number>((resolve, reject) => {
    worker.on("message", resolve);
    worker.on("error", reject);
  });
  await worker.terminate();
  return bytes;
}

Deno.test({
  name: "a Worker's young generation stays within its limit, and is larger without one",
  sanitizeOps: false,
  sanitizeResources: false,
  async fn() {
    const limited = await youngBytes({ maxYoungGenerationSizeMb: 3 });
    assert(limited <= 3 << 20, `${limited} bytes`);
    const free = await youngBytes();
    assert(free > 2 * limited, `${free} bytes without a limit, ${limited} with one`);
  },
});
