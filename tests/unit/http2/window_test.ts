import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { shareWindowGrowth, WINDOW_GROWTH_BYTES_MAX } from "#http2";
import { ReceiveWindow, STREAM_WINDOW_BYTES_FIRST as FIRST } from "../../../lib/http2/window.ts";

const CEILING = 4 << 20;

/** The peer uses its window up and the application takes everything; how large the window is in the end. */
function used(window: ReceiveWindow, keepsUp = true): number {
  const bytes = window.left;
  window.left -= bytes;
  window.take(bytes, keepsUp);
  return window.left;
}

Deno.test("a window doubles while its application keeps up, until the ceiling", () => {
  const window = new ReceiveWindow(FIRST, CEILING);
  const sizes = [];
  for (let round = 0; round < 6; round++) sizes.push(used(window) / FIRST);
  assertEquals(sizes, [2, 4, 8, 16, 16, 16]);
  window.end();
});

Deno.test("a window does not grow for an application that falls behind, nor above an explicit size", () => {
  const behind = new ReceiveWindow(FIRST, CEILING);
  for (let round = 0; round < 3; round++) assertEquals(used(behind, false), FIRST);
  const explicit = new ReceiveWindow(100_000, 100_000);
  for (let round = 0; round < 3; round++) assertEquals(used(explicit), 100_000);
});

Deno.test("all windows of all threads together grow by the budget and no more; it is told, and given back", () => {
  let grown = 0;
  const threads = 4;
  shareWindowGrowth(threads, (change) => void (grown += change));
  const windows = Array.from({ length: 40 }, () => new ReceiveWindow(FIRST, CEILING));
  for (const window of windows) for (let round = 0; round < 5; round++) used(window);
  assertEquals(grown, WINDOW_GROWTH_BYTES_MAX / threads);
  const sum = windows.reduce((total, window) => total + window.left - FIRST, 0);
  assertEquals(sum, grown, "what is told is what was granted");
  assert(windows.at(-1)!.left === FIRST, "late streams keep their first window");
  for (const window of windows) window.end();
  assertEquals(grown, 0);
  assertEquals(used(new ReceiveWindow(FIRST, CEILING)), 2 * FIRST);
  shareWindowGrowth(1, () => {});
});
