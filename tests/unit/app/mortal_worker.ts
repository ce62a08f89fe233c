/** A data thread of the product that dies, or hangs, when the test says so. */
import "../../../lib/app/data_worker.ts";
import { HANGING } from "./hanging.ts";

/** Longer than any test waits for what a hanging thread brings about. */
const HANG_MS_MAX = 120_000;

const orders = new BroadcastChannel("mortal");
orders.onmessage = ({ data }: MessageEvent<{ readonly thread: string; readonly how: string }>) => {
  if (data.thread !== (globalThis as { name?: string }).name) return;
  if (data.how === "hang") {
    // This runtime cannot stop a turn that does not end, so this one does.
    const untilMs = performance.now() + HANG_MS_MAX;
    while (Deno.env.get(HANGING) === data.thread && performance.now() < untilMs);
    return;
  }
  setTimeout(() => {
    throw new Error("the test wants this thread dead");
  }, 0);
};
