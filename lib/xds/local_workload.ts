import type { ApplicationTunnel, Locality, Workload } from "#mesh";
import { type Decode, Fields, flag, listOf, oneOf, segment, text, whole } from "./decode.ts";
import {
  byService,
  gatewayAddress,
  ip,
  port,
  portMap,
  portOrZero,
  U32_MAX,
} from "./local_schema.ts";

const NO_PLACE: Locality = { region: "", zone: "", subzone: "" };

const FIELDS = [
  "uid",
  "name",
  "namespace",
  "serviceAccount",
  "trustDomain",
  "workloadIps",
  "network",
  "hostname",
  "node",
  "protocol",
  "networkMode",
  "nativeTunnel",
  "applicationTunnel",
  "waypoint",
  "networkGateway",
  "workloadName",
  "workloadType",
  "canonicalName",
  "canonicalRevision",
  "clusterId",
  "locality",
  "authorizationPolicies",
  "status",
  "capacity",
  "services",
] as const satisfies readonly (keyof Workload)[];

/** One entry of `workloads` (behaviour.md 3.11). */
export const workload: Decode<Workload> = (place) => {
  const fields = Fields.of(place, FIELDS);
  return fields && {
    uid: fields.optional("uid", text, ""),
    name: fields.optional("name", text, ""),
    namespace: fields.required("namespace", segment, ""),
    serviceAccount: fields.optional("serviceAccount", segment, ""),
    trustDomain: fields.optional("trustDomain", segment, ""),
    workloadIps: fields.required("workloadIps", listOf(ip), []),
    network: fields.optional("network", text, ""),
    hostname: fields.optional("hostname", text, ""),
    node: fields.optional("node", text, ""),
    protocol: fields.optional("protocol", oneOf("TCP", "HBONE"), "TCP"),
    networkMode: fields.optional("networkMode", oneOf("Standard", "HostNetwork"), "Standard"),
    nativeTunnel: fields.optional("nativeTunnel", flag, false),
    ...fields.maybe("applicationTunnel", applicationTunnel),
    ...fields.maybe("waypoint", gatewayAddress),
    ...fields.maybe("networkGateway", gatewayAddress),
    workloadName: fields.optional("workloadName", text, ""),
    workloadType: fields.optional("workloadType", text, ""),
    canonicalName: fields.optional("canonicalName", text, ""),
    canonicalRevision: fields.optional("canonicalRevision", text, ""),
    clusterId: fields.optional("clusterId", text, ""),
    locality: fields.optional("locality", locality, NO_PLACE),
    authorizationPolicies: fields.optional("authorizationPolicies", listOf(text), []),
    status: fields.optional("status", oneOf("Healthy", "Unhealthy"), "Healthy"),
    capacity: fields.optional("capacity", whole(0, U32_MAX), 1),
    services: fields.optional("services", byService(portMap(port)), new Map()),
  };
};

const applicationTunnel: Decode<ApplicationTunnel> = (place) => {
  const fields = Fields.of(place, ["protocol", "port"]);
  if (fields === undefined) return undefined;
  const protocol = fields.required("protocol", oneOf("NONE", "PROXY"), "NONE");
  const tunnelPort = fields.optional("port", portOrZero, 0);
  return { protocol, ...(tunnelPort !== 0 && { port: tunnelPort }) };
};

const locality: Decode<Locality> = (place) => {
  const fields = Fields.of(place, ["region", "zone", "subzone"]);
  return fields && {
    region: fields.required("region", text, ""),
    zone: fields.required("zone", text, ""),
    subzone: fields.required("subzone", text, ""),
  };
};
