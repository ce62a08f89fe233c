/**
 * Who must pass a waypoint, and who is one (behaviour.md 4.10, 6.4 E, 8.3).
 * @module
 */
import { type GatewayAddress, identityOf, type MeshView, type Service, type Workload } from "#mesh";
import type { Ip } from "#values";

/** Whether traffic to the service has to go through a waypoint, single or weighted. */
export function hasWaypoint(service: Service): boolean {
  return service.waypoint !== undefined ||
    service.weightedWaypoints.some(({ weight }) => weight > 0);
}

/** Every waypoint that may stand before the service or workload. */
export function waypointsOf(owner: Service | Workload): readonly GatewayAddress[] {
  const single = owner.waypoint === undefined ? [] : [owner.waypoint];
  if (!("weightedWaypoints" in owner)) return single;
  return [...single, ...owner.weightedWaypoints.map(({ destination }) => destination)];
}

/** What a gateway address refers to, whoever asks; undefined if the mesh does not know it. */
export function referenceOf(
  view: MeshView,
  gateway: GatewayAddress,
): { readonly service: Service } | { readonly workload: Workload } | undefined {
  const { destination } = gateway;
  if (destination.kind === "hostname") {
    return view.named(destination.namespace, destination.hostname);
  }
  const workload = view.workloadAt(destination.network, destination.ip);
  if (workload !== undefined) return { workload };
  const service = view.serviceAt(destination.network, destination.ip);
  return service && { service };
}

/** Whether the speaker is itself this waypoint, by identity and address: its second leg must not loop back to it. */
export function isWaypointOf(
  view: MeshView,
  gateway: GatewayAddress,
  speaker: Workload,
  clientIp: Ip,
): boolean {
  const reference = referenceOf(view, gateway);
  if (reference === undefined) return false;
  const identity = identityOf(speaker);
  const isSpeaker = (workload: Workload | undefined): boolean =>
    workload !== undefined && workload.workloadIps.includes(clientIp) &&
    identityOf(workload) === identity;
  if ("workload" in reference) return isSpeaker(reference.workload);
  for (const endpoint of view.endpointsOf(reference.service)) {
    if (isSpeaker(view.workload(endpoint.workloadUid))) return true;
  }
  return false;
}
