/** Makes garbage, and tells how large its young generation has grown over it. */
import { getHeapSpaceStatistics } from "node:v8";
import { parentPort } from "node:worker_threads";

const kept: unknown[] = [];
let largest = 0;
for (let index = 0; index < 2_000_000; index++) {
  kept[index % 100_000] = { index, list: [index] };
  if (index % 100_000 !== 0) continue;
  const young = getHeapSpaceStatistics().find(({ space_name }) => space_name === "new_space");
  largest = Math.max(largest, young!.space_size);
}
parentPort!.postMessage(largest);
