import type { CidrVip, Health, LoadBalancer, PortMap, Service, WeightedWaypoint } from "#mesh";
import {
  type Decode,
  Fields,
  flag,
  listOf,
  mapAt,
  oneOf,
  type Place,
  segment,
  text,
  whole,
} from "./decode.ts";
import {
  cidr,
  gatewayAddress,
  networkIp,
  NO_GATEWAY,
  port,
  portMap,
  portOrZero,
  U32_MAX,
} from "./local_schema.ts";
import { under } from "./yaml_tree.ts";

/** An entry of `endpoints` of a service, which says from the other side what a workload's `services` says. */
export interface WrittenEndpoint {
  readonly place: Place;
  readonly workloadUid: string;
  readonly ports: PortMap;
  readonly status: Health | undefined;
}

export interface WrittenService {
  readonly service: Service;
  readonly endpoints: readonly WrittenEndpoint[];
}

const FIELDS = [
  "name",
  "namespace",
  "hostname",
  "vips",
  "cidrVips",
  "ports",
  "endpoints",
  "subjectAltNames",
  "waypoint",
  "weightedWaypoints",
  "loadBalancer",
  "ipFamilies",
  "canonical",
  "visibility",
] as const satisfies readonly (keyof Service | "endpoints")[];

/** One entry of `services` (behaviour.md 3.11). */
export const writtenService: Decode<WrittenService> = (place) => {
  const fields = Fields.of(place, FIELDS);
  if (fields === undefined) return undefined;
  const service: Service = {
    name: fields.required("name", text, ""),
    namespace: fields.required("namespace", segment, ""),
    hostname: fields.required("hostname", segment, ""),
    vips: fields.required("vips", listOf(networkIp), []),
    cidrVips: fields.optional("cidrVips", listOf(cidrVip), []),
    ports: fields.required("ports", portMap(portOrZero), new Map()),
    subjectAltNames: fields.optional("subjectAltNames", listOf(text), []),
    ...fields.maybe("waypoint", gatewayAddress),
    weightedWaypoints: fields.optional("weightedWaypoints", listOf(weightedWaypoint), []),
    ...fields.maybe("loadBalancer", loadBalancer),
    ...fields.maybe("ipFamilies", oneOf("Dual", "IPv4", "IPv6")),
    canonical: fields.optional("canonical", flag, false),
    visibility: fields.optional("visibility", oneOf("Public", "Namespace"), "Public"),
  };
  return { service, endpoints: fields.optional("endpoints", endpoints, []) };
};

const cidrVip: Decode<CidrVip> = (place) => {
  const fields = Fields.of(place, ["network", "cidr"]);
  if (fields === undefined) return undefined;
  const network = fields.optional("network", text, "");
  const range = fields.required("cidr", cidr, undefined);
  return range && { network, cidr: range };
};

const weightedWaypoint: Decode<WeightedWaypoint> = (place) => {
  const fields = Fields.of(place, ["destination", "weight"]);
  return fields && {
    destination: fields.required("destination", gatewayAddress, NO_GATEWAY),
    weight: fields.required("weight", whole(0, U32_MAX), 0),
  };
};

const loadBalancer: Decode<LoadBalancer> = (place) => {
  const fields = Fields.of(place, ["mode", "routingPreferences", "healthPolicy"]);
  return fields && {
    mode: fields.required(
      "mode",
      oneOf("Standard", "Strict", "Failover", "Passthrough"),
      "Standard",
    ),
    routingPreferences: fields.required(
      "routingPreferences",
      listOf(oneOf("Region", "Zone", "Subzone", "Node", "Cluster", "Network")),
      [],
    ),
    healthPolicy: fields.required(
      "healthPolicy",
      oneOf("OnlyHealthy", "AllowAll"),
      "OnlyHealthy",
    ),
  };
};

const endpoints: Decode<readonly WrittenEndpoint[]> = (place) => {
  const map = mapAt(place);
  if (map === undefined) return undefined;
  const written: WrittenEndpoint[] = [];
  for (const [uid, { value: node }] of map.entries) {
    const each: Place = { node, path: under(place.path, uid), problems: place.problems };
    const fields = Fields.of(each, ["workloadUid", "port", "status"]);
    if (fields === undefined) continue;
    written.push({
      place: each,
      workloadUid: fields.optional("workloadUid", oneOf(uid), uid),
      ports: fields.required("port", portMap(port), new Map()),
      status: fields.optional("status", oneOf("Healthy", "Unhealthy"), undefined),
    });
  }
  return written;
};
