/**
 * Which endpoint of a service gets the connection (behaviour.md 4.7).
 * @module
 */
import type { Endpoint, LoadBalancer, MeshView, RoutingPreference, Service, Workload } from "#mesh";
import type { Rng } from "#system";

/** A chosen endpoint and the port that its application listens on. */
export interface Choice {
  readonly workload: Workload;
  readonly port: number;
}

/** Normal traffic to `servicePort`; undefined if no endpoint can take it. */
export function balance(
  view: MeshView,
  source: Workload,
  service: Service,
  servicePort: number,
  rng: Rng,
): Choice | undefined {
  const servicePortTarget = service.ports.get(servicePort);
  if (servicePortTarget === undefined) return undefined;
  const candidates: Choice[] = [];
  for (const endpoint of view.endpointsOf(service)) {
    const workload = view.workload(endpoint.workloadUid);
    if (workload === undefined || !isReachable(workload, source)) continue;
    const port = targetPort(endpoint, servicePort, servicePortTarget);
    if (port !== undefined) candidates.push({ workload, port });
  }
  return weightedChoice(closest(candidates, source, service.loadBalancer), rng);
}

function isReachable(workload: Workload, source: Workload): boolean {
  if (workload.workloadIps.length > 0 || workload.hostname !== "") return true;
  return workload.network !== source.network && workload.networkGateway !== undefined;
}

/** The endpoint's own mapping wins; a named port (target 0) has no meaning without one. */
function targetPort(
  endpoint: Endpoint,
  servicePort: number,
  servicePortTarget: number,
): number | undefined {
  const mapped = endpoint.ports.get(servicePort) ?? 0;
  if (mapped > 0) return mapped;
  return servicePortTarget > 0 ? servicePortTarget : undefined;
}

/** Those that share the most with the source; all of them where the service does not ask for locality. */
function closest(
  candidates: readonly Choice[],
  source: Workload,
  balancer: LoadBalancer | undefined,
): readonly Choice[] {
  if (balancer?.mode !== "Strict" && balancer?.mode !== "Failover") return candidates;
  const preferences = balancer.routingPreferences;
  let bestTotal = -1;
  let best: Choice[] = [];
  for (const candidate of candidates) {
    const { matchesCount, total } = rank(preferences, source, candidate.workload);
    if (balancer.mode === "Strict" && matchesCount !== preferences.length) continue;
    if (total < bestTotal) continue;
    if (total > bestTotal) best = [];
    bestTotal = total;
    best.push(candidate);
  }
  return best;
}

/**
 * Counts matching scopes from the first preference on, up to the first mismatch. Network in the first place is
 * special: it outweighs all others together, yet endpoints of other networks are still ordered by the rest.
 */
function rank(
  preferences: readonly RoutingPreference[],
  source: Workload,
  target: Workload,
): { readonly matchesCount: number; readonly total: number } {
  let matchesCount = 0;
  let bonus = 0;
  for (const [index, preference] of preferences.entries()) {
    const leadsByNetwork = index === 0 && preference === "Network";
    if (scopeOf(source, preference) === scopeOf(target, preference)) {
      matchesCount++;
      if (leadsByNetwork) bonus = preferences.length - 1;
    } else if (!leadsByNetwork) break;
  }
  return { matchesCount, total: matchesCount + bonus };
}

function scopeOf(workload: Workload, preference: RoutingPreference): string {
  switch (preference) {
    case "Region":
      return workload.locality.region;
    case "Zone":
      return workload.locality.zone;
    case "Subzone":
      return workload.locality.subzone;
    case "Node":
      return workload.node;
    case "Cluster":
      return workload.clusterId;
    case "Network":
      return workload.network;
  }
}

/** Random, in proportion to capacity; nobody if all capacities are 0. */
function weightedChoice(candidates: readonly Choice[], rng: Rng): Choice | undefined {
  let capacityTotal = 0;
  for (const { workload } of candidates) capacityTotal += workload.capacity;
  let left = rng.next() * capacityTotal;
  for (const candidate of candidates) {
    // Without capacity it must not be hit even by a draw of exactly 0.
    if (candidate.workload.capacity === 0) continue;
    left -= candidate.workload.capacity;
    if (left < 0) return candidate;
  }
  // Rounding may leave a hair behind the last one.
  return candidates.findLast(({ workload }) => workload.capacity > 0);
}
