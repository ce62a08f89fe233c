/**
 * Makes garbage, and tells how large its young generation mostly is meanwhile: the median of what it sees, because a
 * collection that is under way counts the pages of both halves, and on a busy machine some are seen so.
 */
import { getHeapSpaceStatistics } from "node:v8";
import { parentPort } from "node:worker_threads";

const kept: unknown[] = [];
const seenBytes: number[] = [];
for (let index = 0; index < 2_000_000; index++) {
  kept[index % 100_000] = { index, list: [index] };
  if (index % 100_000 !== 0) continue;
  const young = getHeapSpaceStatistics().find(({ space_name }) => space_name === "new_space");
  seenBytes.push(young!.space_size);
}
seenBytes.sort((a, b) => a - b);
parentPort!.postMessage(seenBytes[seenBytes.length >> 1]);
