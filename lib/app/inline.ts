/**
 * The data side on the main thread. In a file of its own, because where there are Workers the main thread does not need it.
 * @module
 */
import { loopback, type ToControl, type ToData } from "#link";
import type { MeshView } from "#mesh";
import { startDataSide } from "./data_side.ts";
import type { ThreadSpawner } from "./spawn.ts";

/** The data side on control's own thread, over a loopback link. It lives and dies with the process. */
export function inlineSpawner(view: MeshView): ThreadSpawner {
  return (boot) => {
    const [near, far] = loopback<ToData, ToControl>();
    // Control's own work with whatever it shares is a reason to collect it on this thread.
    startDataSide(boot, far, view, () => {});
    return { port: near, onDeath: undefined, isInline: true, kill: () => {} };
  };
}
