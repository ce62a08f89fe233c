/** A data thread's part: a look-up each millisecond, and how long the slowest took. */
/// <reference lib="deno.worker" />
import { attachMesh, type MeshHandles, type MeshView } from "#mesh";
import { Ip } from "#values";

export interface ReaderReport {
  readonly slowestUs: number;
  readonly count: number;
}

let view: MeshView | undefined;
let slowestUs = 0;
let count = 0;

function look(): void {
  const ip = Ip.fromBytes(Uint8Array.of(10, 0, count >> 8, count))!;
  const start = performance.now();
  view!.workloadAt("", ip);
  slowestUs = Math.max(slowestUs, (performance.now() - start) * 1_000);
  count++;
}

onmessage = ({ data }: MessageEvent<MeshHandles | "report">) => {
  if (data === "report") {
    postMessage({ slowestUs, count } satisfies ReaderReport);
    slowestUs = count = 0;
    return;
  }
  view = attachMesh(data);
  setInterval(look, 1);
  postMessage("ready");
};
