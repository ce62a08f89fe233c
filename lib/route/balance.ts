/**
 * Which endpoint of a service gets the connection (behaviour.md 4.7).
 * @module
 */
import type {
  Candidate,
  Endpoint,
  LoadBalancer,
  MeshView,
  RoutingPreference,
  Service,
  Workload,
} from "#mesh";
import type { Rng } from "#system";

/** A chosen endpoint and the port that its application listens on. */
export interface Choice {
  readonly workload: Workload;
  readonly port: number;
}

/** What speaks for one endpoint while the choice is open. */
interface Contender {
  readonly candidate: Candidate;
  readonly port: number;
}

/** What two workloads may have in common. */
type Whereabouts = Pick<Workload, "network" | "node" | "clusterId" | "locality">;

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
  const contenders: Contender[] = [];
  for (const candidate of view.candidatesOf(service)) {
    if (!isReachable(candidate, source)) continue;
    const port = targetPort(candidate.endpoint, servicePort, servicePortTarget);
    if (port !== undefined) contenders.push({ candidate, port });
  }
  const chosen = weightedChoice(closest(contenders, source, service.loadBalancer), rng);
  const workload = chosen && view.workload(chosen.candidate.endpoint.workloadUid);
  return workload && { workload, port: chosen.port };
}

function isReachable(candidate: Candidate, source: Workload): boolean {
  return candidate.hasAddress || (candidate.network !== source.network && candidate.hasGateway);
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
  contenders: readonly Contender[],
  source: Workload,
  balancer: LoadBalancer | undefined,
): readonly Contender[] {
  if (balancer?.mode !== "Strict" && balancer?.mode !== "Failover") return contenders;
  const preferences = balancer.routingPreferences;
  let bestTotal = -1;
  let best: Contender[] = [];
  for (const contender of contenders) {
    const { matchesCount, total } = rank(preferences, source, contender.candidate);
    if (balancer.mode === "Strict" && matchesCount !== preferences.length) continue;
    if (total < bestTotal) continue;
    if (total > bestTotal) best = [];
    bestTotal = total;
    best.push(contender);
  }
  return best;
}

/**
 * Counts matching scopes from the first preference on, up to the first mismatch. Network in the first place is
 * special: it outweighs all others together, yet endpoints of other networks are still ordered by the rest.
 */
function rank(
  preferences: readonly RoutingPreference[],
  source: Whereabouts,
  target: Whereabouts,
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

function scopeOf(workload: Whereabouts, preference: RoutingPreference): string {
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
function weightedChoice(contenders: readonly Contender[], rng: Rng): Contender | undefined {
  let capacityTotal = 0;
  for (const { candidate } of contenders) capacityTotal += candidate.capacity;
  let left = rng.next() * capacityTotal;
  for (const contender of contenders) {
    // Without capacity it must not be hit even by a draw of exactly 0.
    if (contender.candidate.capacity === 0) continue;
    left -= contender.candidate.capacity;
    if (left < 0) return contender;
  }
  // Rounding may leave a hair behind the last one.
  return contenders.findLast(({ candidate }) => candidate.capacity > 0);
}
