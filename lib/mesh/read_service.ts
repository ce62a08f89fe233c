import type {
  CidrVip,
  LoadBalancer,
  NetworkIp,
  RoutingPreference,
  Service,
  WeightedWaypoint,
} from "./types.ts";
import { cidrOf, ipOf, limitElements, named, reject, segment } from "./wire_shared.ts";
import { type Mutable, readGateway, readNetworkAddress, readPort } from "./read_common.ts";
import { bytesTag, type Cursor, varintTag } from "./cursor.ts";

const SCOPES = {
  1: "Region",
  2: "Zone",
  3: "Subzone",
  4: "Node",
  5: "Cluster",
  6: "Network",
} as const;
const MODES = { 0: "Standard", 1: "Strict", 2: "Failover", 3: "Passthrough" } as const;
const HEALTH_POLICIES = { 0: "OnlyHealthy", 1: "AllowAll" } as const;
const IP_FAMILIES = { 0: "Automatic", 1: "IPv4", 2: "IPv6", 3: "Dual" } as const;

type Draft = Mutable<Service> & {
  vips: NetworkIp[];
  cidrVips: CidrVip[];
  ports: Map<number, number>;
  subjectAltNames: string[];
  weightedWaypoints: WeightedWaypoint[];
};

/**
 * A service from the message that ends at `end`, by the rules of behaviour.md 3.12. `isLocal`: our own record of a value
 * that was given typed; in those an address with a length is a range, even where it is one address long.
 */
export function readService(cursor: Cursor, end: number, isLocal: boolean): Service {
  const draft: Draft = {
    name: "",
    namespace: "",
    hostname: "",
    vips: [],
    cidrVips: [],
    ports: new Map(),
    subjectAltNames: [],
    weightedWaypoints: [],
    canonical: false,
    visibility: "Public",
  };
  for (let tag = cursor.tag(end); tag !== 0; tag = cursor.tag(end)) {
    readField(cursor, tag, draft, isLocal);
  }
  cursor.close(end);
  if (isLocal) return draft;
  segment(draft.namespace, "namespace");
  segment(draft.hostname, "hostname");
  return draft;
}

function readField(cursor: Cursor, tag: number, draft: Draft, isLocal: boolean): void {
  switch (tag) {
    case bytesTag(1):
      draft.name = cursor.text();
      return;
    case bytesTag(2):
      draft.namespace = cursor.text();
      return;
    case bytesTag(3):
      draft.hostname = cursor.text();
      return;
    case bytesTag(4):
      return readVip(cursor, draft, isLocal);
    case bytesTag(5):
      return readPort(cursor, draft.ports);
    case bytesTag(6):
      draft.subjectAltNames.push(cursor.text());
      return;
    case bytesTag(7):
      draft.waypoint = readGateway(cursor, "waypoint");
      return;
    case bytesTag(8):
      draft.loadBalancer = readLoadBalancer(cursor);
      return;
    case varintTag(9): {
      const families = named<NonNullable<Service["ipFamilies"]> | "Automatic">(
        IP_FAMILIES,
        cursor.int32(),
        "ip_families",
      );
      if (families === "Automatic") delete draft.ipFamilies;
      else draft.ipFamilies = families;
      return;
    }
    case varintTag(11):
      draft.canonical = cursor.bool();
      return;
    case bytesTag(13):
      draft.weightedWaypoints.push(readWeighted(cursor));
      if (!isLocal) limitElements(draft.weightedWaypoints.length, "weighted_waypoints");
      return;
    case varintTag(14):
      draft.visibility = cursor.uint32() === 1 ? "Namespace" : "Public";
      return;
    default:
      cursor.skip(tag);
  }
}

function readVip(cursor: Cursor, draft: Draft, isLocal: boolean): void {
  const { network, address, length } = readNetworkAddress(cursor);
  const ip = ipOf(address, "address");
  if (length === undefined || (length === address.length * 8 && !isLocal)) {
    draft.vips.push({ network, ip });
  } else draft.cidrVips.push({ network, cidr: cidrOf(address, length, "address") });
  if (!isLocal) limitElements(draft.vips.length + draft.cidrVips.length, "addresses");
}

/** LoadBalancing: routing_preference = 1 (packed or not), mode = 2, health_policy = 3. */
function readLoadBalancer(cursor: Cursor): LoadBalancer {
  const end = cursor.length();
  const read: Mutable<LoadBalancer> = {
    mode: "Standard",
    routingPreferences: [],
    healthPolicy: "OnlyHealthy",
  };
  const preferences: RoutingPreference[] = [];
  const readScope = () =>
    preferences.push(named<RoutingPreference>(SCOPES, cursor.int32(), "load balancing scope"));
  for (let tag = cursor.tag(end); tag !== 0; tag = cursor.tag(end)) {
    if (tag === varintTag(1)) readScope();
    else if (tag === bytesTag(1)) {
      const packedEnd = cursor.length();
      while (cursor.at < packedEnd) readScope();
      cursor.close(packedEnd);
    } else if (tag === varintTag(2)) {
      read.mode = named<LoadBalancer["mode"]>(MODES, cursor.int32(), "load balancing mode");
    } else if (tag === varintTag(3)) {
      read.healthPolicy = named<LoadBalancer["healthPolicy"]>(
        HEALTH_POLICIES,
        cursor.int32(),
        "health policy",
      );
    } else cursor.skip(tag);
  }
  cursor.close(end);
  read.routingPreferences = preferences;
  return read;
}

/** WeightedWaypoint: destination = 1, weight = 2. */
function readWeighted(cursor: Cursor): WeightedWaypoint {
  const end = cursor.length();
  let destination: WeightedWaypoint["destination"] | undefined;
  let weight = 0;
  for (let tag = cursor.tag(end); tag !== 0; tag = cursor.tag(end)) {
    if (tag === bytesTag(1)) destination = readGateway(cursor, "weighted waypoint");
    else if (tag === varintTag(2)) weight = cursor.uint32();
    else cursor.skip(tag);
  }
  cursor.close(end);
  if (destination === undefined) reject("weighted waypoint without a destination");
  return { destination, weight };
}
