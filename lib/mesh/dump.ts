/** The mesh as the config dump shows it: names, shapes and omissions are an interface of istioctl (behaviour.md 14.3). */
import { Cidr } from "#values";
import type {
  Endpoint,
  GatewayAddress,
  Policy,
  PolicyMatch,
  PortMap,
  Service,
  StringMatch,
  Workload,
} from "./types.ts";

export interface AddressDump {
  readonly destination: string;
  readonly hboneMtlsPort: number;
}

export interface EndpointDump {
  readonly workloadUid: string;
  readonly port: Readonly<Record<string, number>>;
  readonly status: string;
}

export type StringMatchDump =
  | { readonly Exact: string }
  | { readonly Prefix: string }
  | { readonly Suffix: string }
  | { readonly Presence: readonly never[] };

export type WorkloadDump = Readonly<Record<string, unknown>>;
export type ServiceDump = Readonly<Record<string, unknown>>;
export type PolicyDump = Readonly<Record<string, unknown>>;

/** Each gives what `JSON.stringify` then writes. */
export const MeshDump: {
  workload(workload: Workload): WorkloadDump;
  /** `endpoints`: those of the service, from the view. */
  service(service: Service, endpoints: Iterable<Endpoint>): ServiceDump;
  policy(policy: Policy): PolicyDump;
  endpoint(endpoint: Endpoint): EndpointDump;
} = {
  workload: (workload: Workload) => ({
    workloadIps: workload.workloadIps,
    ...unless("waypoint", workload.waypoint && address(workload.waypoint)),
    ...unless("networkGateway", workload.networkGateway && address(workload.networkGateway)),
    protocol: workload.protocol,
    networkMode: workload.networkMode,
    ...unless("uid", workload.uid),
    name: workload.name,
    namespace: workload.namespace,
    ...unless("trustDomain", workload.trustDomain),
    ...unless("serviceAccount", workload.serviceAccount),
    ...unless("network", workload.network),
    ...unless("workloadName", workload.workloadName),
    ...unless("workloadType", workload.workloadType),
    ...unless("canonicalName", workload.canonicalName),
    ...unless("canonicalRevision", workload.canonicalRevision),
    ...unless("hostname", workload.hostname),
    ...unless("node", workload.node),
    ...unless("nativeTunnel", workload.nativeTunnel),
    ...unless("applicationTunnel", workload.applicationTunnel && tunnel(workload)),
    ...unless("authorizationPolicies", workload.authorizationPolicies),
    status: workload.status,
    clusterId: workload.clusterId,
    ...unless("locality", locality(workload)),
    ...unless("services", [...workload.services.keys()].sort()),
    capacity: workload.capacity,
  }),

  service: (service: Service, endpoints: Iterable<Endpoint>) => ({
    name: service.name,
    namespace: service.namespace,
    hostname: service.hostname,
    vips: service.vips.map(({ network, ip }) => `${network}/${ip}`),
    ...unless(
      "cidrVips",
      service.cidrVips.map(({ network, cidr }) => ({ network, cidr: Cidr.format(cidr) })),
    ),
    ports: ports(service.ports),
    endpoints: Object.fromEntries(
      [...endpoints].sort((a, b) => a.workloadUid < b.workloadUid ? -1 : 1)
        .map((each) => [each.workloadUid, MeshDump.endpoint(each)]),
    ),
    subjectAltNames: service.subjectAltNames,
    ...unless("waypoint", service.waypoint && address(service.waypoint)),
    ...unless(
      "weightedWaypoints",
      service.weightedWaypoints.map(({ destination, weight }) => ({
        destination: address(destination),
        weight,
      })),
    ),
    ...unless("loadBalancer", service.loadBalancer),
    ...unless("ipFamilies", service.ipFamilies),
    canonical: service.canonical,
    visibility: service.visibility,
  }),

  policy: (policy: Policy) => ({
    name: policy.name,
    namespace: policy.namespace,
    scope: policy.scope,
    action: policy.action,
    rules: policy.rules.map((clauses) => clauses.map((matches) => matches.map(match))),
    dryRun: policy.dryRun,
  }),

  endpoint: ({ workloadUid, ports: port, status }: Endpoint) => ({
    workloadUid,
    port: ports(port),
    status,
  }),
};

/** The field, or nothing if its value is the default: absent, false, "" or an empty list. */
function unless(name: string, value: unknown): Readonly<Record<string, unknown>> {
  const isDefault = value === undefined || value === false || value === "" ||
    (Array.isArray(value) && value.length === 0);
  return isDefault ? {} : { [name]: value };
}

function address({ destination, hboneMtlsPort }: GatewayAddress): AddressDump {
  const text = destination.kind === "address"
    ? `${destination.network}/${destination.ip}`
    : `${destination.namespace}/${destination.hostname}`;
  return { destination: text, hboneMtlsPort };
}

function tunnel({ applicationTunnel }: Workload): Readonly<Record<string, unknown>> {
  return { protocol: applicationTunnel!.protocol, port: applicationTunnel!.port ?? null };
}

function locality({ locality: place }: Workload): Workload["locality"] | undefined {
  return place.region === "" && place.zone === "" && place.subzone === "" ? undefined : place;
}

function ports(map: PortMap): Readonly<Record<string, number>> {
  return Object.fromEntries(map);
}

function match(each: PolicyMatch): Readonly<Record<string, unknown>> {
  return {
    ...unless("namespaces", each.namespaces.map(stringMatch)),
    ...unless("notNamespaces", each.notNamespaces.map(stringMatch)),
    ...unless("serviceAccounts", each.serviceAccounts),
    ...unless("notServiceAccounts", each.notServiceAccounts),
    ...unless("principals", each.principals.map(stringMatch)),
    ...unless("notPrincipals", each.notPrincipals.map(stringMatch)),
    ...unless("sourceIps", each.sourceIps.map(Cidr.format)),
    ...unless("notSourceIps", each.notSourceIps.map(Cidr.format)),
    ...unless("destinationIps", each.destinationIps.map(Cidr.format)),
    ...unless("notDestinationIps", each.notDestinationIps.map(Cidr.format)),
    ...unless("destinationPorts", each.destinationPorts),
    ...unless("notDestinationPorts", each.notDestinationPorts),
  };
}

function stringMatch(each: StringMatch): StringMatchDump {
  switch (each.kind) {
    case "Exact":
      return { Exact: each.value };
    case "Prefix":
      return { Prefix: each.value };
    case "Suffix":
      return { Suffix: each.value };
    case "Presence":
      return { Presence: [] };
  }
}
