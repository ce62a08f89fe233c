import {
  IPFamilies,
  type LoadBalancing,
  LoadBalancing_HealthPolicy,
  LoadBalancing_Mode,
  LoadBalancing_Scope,
  type Service as WireService,
  Visibility,
  type WeightedWaypoint as WireWaypoint,
} from "#proto/workload_pb.ts";
import type {
  CidrVip,
  LoadBalancer,
  NetworkIp,
  RoutingPreference,
  Service,
  WeightedWaypoint,
} from "#mesh";
import {
  cidrOf,
  type Decoded,
  decoded,
  ipOf,
  named,
  reject,
  segment,
} from "../../../lib/mesh/wire_shared.ts";
import { gatewayOf, portMapOf } from "./wire_common.ts";

const MODES: Readonly<Record<number, LoadBalancer["mode"]>> = {
  [LoadBalancing_Mode.UNSPECIFIED_MODE]: "Standard",
  [LoadBalancing_Mode.STRICT]: "Strict",
  [LoadBalancing_Mode.FAILOVER]: "Failover",
  [LoadBalancing_Mode.PASSTHROUGH]: "Passthrough",
};

const HEALTH_POLICIES: Readonly<Record<number, LoadBalancer["healthPolicy"]>> = {
  [LoadBalancing_HealthPolicy.ONLY_HEALTHY]: "OnlyHealthy",
  [LoadBalancing_HealthPolicy.ALLOW_ALL]: "AllowAll",
};

const PREFERENCES: Readonly<Record<number, RoutingPreference>> = {
  [LoadBalancing_Scope.REGION]: "Region",
  [LoadBalancing_Scope.ZONE]: "Zone",
  [LoadBalancing_Scope.SUBZONE]: "Subzone",
  [LoadBalancing_Scope.NODE]: "Node",
  [LoadBalancing_Scope.CLUSTER]: "Cluster",
  [LoadBalancing_Scope.NETWORK]: "Network",
};

const FAMILIES: Readonly<Record<number, Service["ipFamilies"]>> = {
  [IPFamilies.AUTOMATIC]: undefined,
  [IPFamilies.IPV4_ONLY]: "IPv4",
  [IPFamilies.IPV6_ONLY]: "IPv6",
  [IPFamilies.DUAL]: "Dual",
};

/** A service as istiod sends it, with the defaults and the refusals of behaviour.md 3.12. Pure; never throws. */
export function decodeService(wire: WireService): Decoded<Service> {
  return decoded(() => serviceOf(wire));
}

function serviceOf(wire: WireService): Service {
  const { waypoint, loadBalancing } = wire;
  const ipFamilies = named(FAMILIES, wire.ipFamilies, "ip_families");
  return {
    name: wire.name,
    namespace: segment(wire.namespace, "namespace"),
    hostname: segment(wire.hostname, "hostname"),
    ...addressesOf(wire.addresses),
    ports: portMapOf(wire.ports),
    subjectAltNames: wire.subjectAltNames,
    ...(waypoint && { waypoint: gatewayOf(waypoint, "waypoint") }),
    weightedWaypoints: wire.weightedWaypoints.map(weightedOf),
    ...(loadBalancing && { loadBalancer: loadBalancerOf(loadBalancing) }),
    ...(ipFamilies && { ipFamilies }),
    canonical: wire.canonical,
    // What is less visible than we understand is found by more clients, never by fewer.
    visibility: wire.visibility === Visibility.NAMESPACE ? "Namespace" : "Public",
  };
}

/** Absent and full lengths are single addresses, all others ranges. */
function addressesOf(wire: WireService["addresses"]): Pick<Service, "vips" | "cidrVips"> {
  const vips: NetworkIp[] = [];
  const cidrVips: CidrVip[] = [];
  for (const { network, address, length } of wire) {
    const ip = ipOf(address, "address");
    if (length === undefined || length === 8 * address.length) vips.push({ network, ip });
    else cidrVips.push({ network, cidr: cidrOf(address, length, "address") });
  }
  return { vips, cidrVips };
}

function weightedOf({ destination, weight }: WireWaypoint): WeightedWaypoint {
  if (destination === undefined) reject("weighted waypoint without a destination");
  return { destination: gatewayOf(destination, "weighted waypoint"), weight };
}

function loadBalancerOf(wire: LoadBalancing): LoadBalancer {
  return {
    mode: named(MODES, wire.mode, "load balancing mode"),
    routingPreferences: wire.routingPreference.map((scope) =>
      named(PREFERENCES, scope, "load balancing scope")
    ),
    healthPolicy: named(HEALTH_POLICIES, wire.healthPolicy, "health policy"),
  };
}
