/** How many worker threads (behaviour.md 1.2, last paragraph). */
import { WORKER_THREADS_MAX } from "./kinds.ts";
import type { ProxyConfig } from "./mesh_config.ts";
import type { Reader } from "./reader.ts";
import { THREADING } from "./variables.ts";

/** As ztunnel: a node agent takes a quarter of the node unless it is told otherwise, and never just one thread. */
const SHARE_OF_CPUS = 0.25;
const AUTOMATIC_MIN = 2;

export function workerThreads(reader: Reader, mesh: ProxyConfig, cpuCount: number): number {
  const wanted = reader.get(THREADING.threads);
  const limit = reader.get(THREADING.resourceLimit);
  const request = reader.get(THREADING.resourceRequest) ?? 0;
  const cpus = limit ?? reader.get(THREADING.cpuLimit) ?? cpuCount;
  return Math.min(Math.max(count(), 1), WORKER_THREADS_MAX);

  function count(): number {
    if (wanted?.kind === "percent") return Math.ceil(cpus * wanted.percent / 100);
    const literal = wanted?.count ?? mesh.concurrency;
    if (literal !== undefined) return literal === 0 ? cpus : literal;
    if (limit !== undefined) return Math.max(limit, request);
    return Math.max(Math.ceil(SHARE_OF_CPUS * cpus), request, AUTOMATIC_MIN);
  }
}
