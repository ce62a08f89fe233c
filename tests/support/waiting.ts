/** Waiting by the real clock. What comes to be is waited for with `until` (netns.ts). */
import { realClock } from "#system";

/** Longer than anything here takes to stand still. */
const STANDSTILL_MS_MAX = 90_000;

export const pause = (ms: number): Promise<void> => realClock.sleep(ms);

/**
 * Waits until `value` is the same at so many looks as at the one before the first of them, and gives it. More than one look,
 * since a busy machine may stand still itself.
 */
export async function standstill(
  value: () => number,
  { lookMs, looks }: { readonly lookMs: number; readonly looks: number },
): Promise<number> {
  const endMs = performance.now() + STANDSTILL_MS_MAX;
  let before = value();
  for (let equal = 0; equal < looks;) {
    if (performance.now() > endMs) throw new Error(`it never came to a standstill: ${before}`);
    await pause(lookMs);
    const now = value();
    equal = now === before ? equal + 1 : 0;
    before = now;
  }
  return before;
}
