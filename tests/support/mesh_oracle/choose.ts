/** The tie-breaks of behaviour.md 4.1 and 4.4. */
import type { Service, Workload } from "#mesh";

/**
 * Of several workloads, the likeliest to be the one meant: a pod rather than what was written by hand about it, then one
 * that speaks HBONE, then the latest (behaviour.md 4.1).
 */
export function bestWorkload(candidates: readonly Workload[]): Workload | undefined {
  if (candidates.length <= 1) return candidates[0];
  let best: Workload | undefined;
  let bestScore = -1;
  for (const candidate of candidates) {
    const score = (candidate.uid.includes("//Pod/") ? 2 : 0) +
      (candidate.protocol === "HBONE" ? 1 : 0);
    if (score < bestScore) continue;
    best = candidate;
    bestScore = score;
  }
  return best;
}

/** Without an asking namespace everything is visible. */
export function isVisible(service: Service, namespace: string | undefined): boolean {
  return service.visibility === "Public" || namespace === undefined ||
    service.namespace === namespace;
}

/**
 * In the asker's namespace; else the last canonical one; else the first. Among services of one namespace only the latest
 * counts, at the place of the earliest: both are kept (18.27), so the earlier one is back when the later one goes.
 */
export function bestService(
  candidates: readonly Service[],
  namespace: string | undefined,
): Service | undefined {
  if (candidates.length === 0) return undefined;
  const only = candidates[0]!;
  if (candidates.length === 1) return isVisible(only, namespace) ? only : undefined;
  const latest = new Map<string, Service>();
  for (const service of candidates) {
    if (isVisible(service, namespace)) latest.set(service.namespace, service);
  }
  const own = namespace === undefined ? undefined : latest.get(namespace);
  if (own !== undefined) return own;
  let [best] = latest.values();
  for (const service of latest.values()) if (service.canonical) best = service;
  return best;
}

/** The greatest of (in the asker's namespace, prefix length, canonical); the first on ties (behaviour.md 4.4). */
export class BestRange {
  #service: Service | undefined;
  #prefixLength = -1;

  constructor(private readonly namespace: string | undefined) {}

  readonly consider = (service: Service, prefixLength: number): void => {
    if (!isVisible(service, this.namespace)) return;
    const best = this.#service;
    if (best !== undefined && !this.#isGreater(service, prefixLength, best)) return;
    this.#service = service;
    this.#prefixLength = prefixLength;
  };

  get service(): Service | undefined {
    return this.#service;
  }

  #isGreater(service: Service, prefixLength: number, best: Service): boolean {
    const isOwn = service.namespace === this.namespace;
    if (isOwn !== (best.namespace === this.namespace)) return isOwn;
    if (prefixLength !== this.#prefixLength) return prefixLength > this.#prefixLength;
    return service.canonical && !best.canonical;
  }
}
