/**
 * How a data thread comes to be. Tests bring spawners of their own.
 * @module
 */
import { channelPort, type Port, type ToControl, type ToData } from "#link";
import type { ThreadBoot } from "./data_side.ts";

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

/** In the tree it lies beside this file. In a bundle everything is at the top, but the Worker keeps its place below. */
const ENTRY = new URL(
  import.meta.url.endsWith(".ts") ? "./data_worker.ts" : "./lib/app/data_worker.js",
  import.meta.url,
);

/** A Worker of `entry`. */
export function workerSpawner(entry = ENTRY): ThreadSpawner {
  return (boot) => {
    const worker = new Worker(entry, { type: "module", name: `data-${boot.index}` });
    const thread: SpawnedThread = {
      port: channelPort<ToData, ToControl>(worker),
      onDeath: undefined,
      kill: () => worker.terminate(),
    };
    worker.onerror = (event) => {
      // Else the process would end with it.
      event.preventDefault();
      thread.onDeath?.(event.message);
    };
    worker.postMessage(boot);
    return thread;
  };
}
