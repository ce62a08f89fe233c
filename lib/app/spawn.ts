/**
 * How a data thread comes to be. Tests bring spawners of their own.
 * @module
 */
import { Worker } from "node:worker_threads";
import { type Channel, channelPort, type Port, type ToControl, type ToData } from "#link";
import type { ThreadBoot } from "./data_side.ts";
import { textOf } from "./stray_errors.ts";

/** A data thread as control holds it. */
export interface SpawnedThread {
  readonly port: Port<ToData, ToControl>;
  /** Called once with the reason if it ends by itself. */
  onDeath: ((reason: string) => void) | undefined;
  /** It is the caller's own thread: nothing of it can be freed before the process ends. */
  readonly isInline?: true;
  /** Ends it, now. */
  kill(): void;
}

export type ThreadSpawner = (boot: ThreadBoot) => SpawnedThread;

/**
 * For young objects of a data thread: most die at once, and the runtime's own 48 MiB are memory that nobody needs
 * (measured: 16 MB less under load, 10 KB less for each idle connection). With 3 more of what lives for a tenth of a second
 * grows old, and collecting that holds a thread up for some 10 ms (measured at 1,000 requests/s, a tenth of them on new
 * connections: 0.82 and 0.89 of the processor time with 6, the same RSS). Only node's Worker can be told.
 */
const YOUNG_MEGABYTES = 6;

/** In the tree it lies beside this file. In a bundle everything is at the top, but the Worker keeps its place below. */
const ENTRY = new URL(
  import.meta.url.endsWith(".ts") ? "./data_worker.ts" : "./lib/app/data_worker.js",
  import.meta.url,
);

/** A Worker of `entry`. */
export function workerSpawner(entry = ENTRY): ThreadSpawner {
  return (boot) => {
    const worker = new Worker(entry, {
      name: `data-${boot.index}`,
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MEGABYTES },
    });
    const channel: Channel = {
      postMessage: (message) => worker.postMessage(message),
      onmessage: null,
    };
    worker.on("message", (data) => channel.onmessage?.({ data } as MessageEvent));
    const thread: SpawnedThread = {
      port: channelPort<ToData, ToControl>(channel),
      onDeath: undefined,
      kill: () => void worker.terminate(),
    };
    worker.on("error", (error: unknown) => thread.onDeath?.(textOf(error)));
    worker.postMessage(boot);
    return thread;
  };
}
