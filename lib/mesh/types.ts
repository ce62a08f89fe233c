/**
 * What the mesh consists of. Field names are those of the config dump (behaviour.md 14.3).
 * @module
 */
import type { Cidr, Ip } from "#values";

export type Protocol = "HBONE" | "TCP";
export type Health = "Healthy" | "Unhealthy";

/** `namespace/hostname`, the name of a service; also the key of `Workload.services`. */
export type ServiceKey = `${string}/${string}`;

export interface NetworkIp {
  readonly network: string;
  readonly ip: Ip;
}

export interface GatewayAddress {
  readonly destination:
    | ({ readonly kind: "address" } & NetworkIp)
    | { readonly kind: "hostname"; readonly namespace: string; readonly hostname: string };
  readonly hboneMtlsPort: number;
}

export interface WeightedWaypoint {
  readonly destination: GatewayAddress;
  readonly weight: number;
}

export interface Locality {
  readonly region: string;
  readonly zone: string;
  readonly subzone: string;
}

export interface ApplicationTunnel {
  readonly protocol: "NONE" | "PROXY";
  readonly port?: number;
}

/** Service port to target port; target 0 is a named port, which only endpoints can resolve. */
export type PortMap = ReadonlyMap<number, number>;

/** One pod, VM or WorkloadEntry. */
export interface Workload {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly trustDomain: string;
  readonly workloadIps: readonly Ip[];
  readonly network: string;
  readonly hostname: string;
  readonly node: string;
  readonly protocol: Protocol;
  readonly networkMode: "Standard" | "HostNetwork";
  readonly nativeTunnel: boolean;
  readonly applicationTunnel?: ApplicationTunnel;
  readonly waypoint?: GatewayAddress;
  readonly networkGateway?: GatewayAddress;
  readonly workloadName: string;
  /** deployment, cronjob, pod, job. */
  readonly workloadType: string;
  readonly canonicalName: string;
  readonly canonicalRevision: string;
  readonly clusterId: string;
  readonly locality: Locality;
  /** Keys of selector policies. */
  readonly authorizationPolicies: readonly string[];
  readonly status: Health;
  /** Load-balancing weight. */
  readonly capacity: number;
  readonly services: ReadonlyMap<ServiceKey, PortMap>;
}

export interface CidrVip {
  readonly network: string;
  readonly cidr: Cidr;
}

export type RoutingPreference = "Region" | "Zone" | "Subzone" | "Node" | "Cluster" | "Network";

export interface LoadBalancer {
  readonly mode: "Standard" | "Strict" | "Failover" | "Passthrough";
  readonly routingPreferences: readonly RoutingPreference[];
  readonly healthPolicy: "OnlyHealthy" | "AllowAll";
}

export interface Service {
  readonly name: string;
  readonly namespace: string;
  readonly hostname: string;
  readonly vips: readonly NetworkIp[];
  readonly cidrVips: readonly CidrVip[];
  readonly ports: PortMap;
  readonly subjectAltNames: readonly string[];
  readonly waypoint?: GatewayAddress;
  readonly weightedWaypoints: readonly WeightedWaypoint[];
  readonly loadBalancer?: LoadBalancer;
  readonly ipFamilies?: "Dual" | "IPv4" | "IPv6";
  readonly canonical: boolean;
  readonly visibility: "Public" | "Namespace";
}

/** One workload's share in a service (behaviour.md 4.6). */
export interface Endpoint {
  readonly workloadUid: string;
  readonly ports: PortMap;
  readonly status: Health;
}

export type StringMatch =
  | { readonly kind: "Exact" | "Prefix" | "Suffix"; readonly value: string }
  | { readonly kind: "Presence" };

export interface ServiceAccountMatch {
  readonly namespace: string;
  readonly serviceAccount: string;
}

/** What load balancing looks at in an endpoint (behaviour.md 4.7), without the rest of its workload. */
export interface Candidate {
  readonly endpoint: Endpoint;
  readonly capacity: number;
  readonly network: string;
  readonly node: string;
  readonly clusterId: string;
  readonly locality: Locality;
  /** An IP, or a hostname that an IP can be found for. */
  readonly hasAddress: boolean;
  readonly hasGateway: boolean;
}

/** One entry of a clause; every list may be empty, and one without any element never matches (behaviour.md 5.4). */
export interface PolicyMatch {
  readonly namespaces: readonly StringMatch[];
  readonly notNamespaces: readonly StringMatch[];
  readonly principals: readonly StringMatch[];
  readonly notPrincipals: readonly StringMatch[];
  readonly serviceAccounts: readonly ServiceAccountMatch[];
  readonly notServiceAccounts: readonly ServiceAccountMatch[];
  readonly sourceIps: readonly Cidr[];
  readonly notSourceIps: readonly Cidr[];
  readonly destinationIps: readonly Cidr[];
  readonly notDestinationIps: readonly Cidr[];
  readonly destinationPorts: readonly number[];
  readonly notDestinationPorts: readonly number[];
}

export interface Policy {
  /** The xDS resource name; `namespace/name` from local YAML. */
  readonly key: string;
  readonly name: string;
  readonly namespace: string;
  readonly scope: "Global" | "Namespace" | "WorkloadSelector";
  readonly action: "Allow" | "Deny";
  readonly dryRun: boolean;
  /** rules of clauses of matches. */
  readonly rules: readonly (readonly (readonly PolicyMatch[])[])[];
}

/** The pod that a proxy serves, as the CNI or PROXY_WORKLOAD_INFO names it. */
export interface WorkloadInfo {
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

/**
 * The mesh as the latest commit left it. Every call is synchronous. On the writer's thread two calls in one turn see the
 * same mesh; elsewhere a commit may come between them.
 */
export interface MeshView {
  /** Grows with every commit; what was looked up at another epoch may be stale. */
  readonly epoch: number;
  workload(uid: string): Workload | undefined;
  /** Best candidate at the address (behaviour.md 4.1). HostNetwork workloads are never found here. */
  workloadAt(network: string, ip: Ip): Workload | undefined;
  /** By exact VIP, then by CIDR (behaviour.md 4.4). `namespace` is the asker's; absent sees everything. */
  serviceAt(network: string, ip: Ip, namespace?: string): Service | undefined;
  /** Best service of that hostname for the asker (behaviour.md 4.4). */
  serviceNamed(hostname: string, namespace?: string): Service | undefined;
  /** Every service of that hostname, insertion order, unfiltered: for DNS, which has one preference more. */
  servicesNamed(hostname: string): readonly Service[];
  /** Exactly this service. */
  service(key: ServiceKey): Service | undefined;
  endpointsOf(service: Service): Iterable<Endpoint>;
  /** The same endpoints, with what load balancing compares: only the chosen one's workload has to be looked up. */
  candidatesOf(service: Service): Iterable<Candidate>;
  /** behaviour.md 4.5: the service, else a workload of that hostname and namespace. */
  named(
    namespace: string,
    hostname: string,
  ): { readonly service: Service } | { readonly workload: Workload } | undefined;
  /** The local workload (behaviour.md 4.2), among those of this node. */
  localWorkload(info: WorkloadInfo): Workload | undefined;
  /** Namespace policies, then global ones, then those the workload lists (behaviour.md 5.2). */
  policiesFor(workload: Workload): readonly Policy[];
  /** Keys that the workload lists and nobody has loaded: a warning, not an error (behaviour.md 5.2). */
  missingPoliciesOf(workload: Workload): readonly string[];
  /** For the dump, in its order: by uid, by hostname, by key. */
  workloads(): readonly Workload[];
  services(): readonly Service[];
  policies(): readonly Policy[];
  /**
   * The same, one after another in no order, none of them remembered: for whoever goes through a large mesh with pauses.
   * What comes, goes or changes in one of those may be told twice or not at all.
   */
  eachWorkload(): Iterable<Workload>;
  eachService(): Iterable<Service>;
  /** Those of `endpointsOf`. */
  eachEndpoint(service: Service): Iterable<Endpoint>;
  /** Endpoints that wait for their service: `namespace/hostname` to uid to endpoint. */
  stagedEndpoints(): ReadonlyMap<ServiceKey, ReadonlyMap<string, Endpoint>>;
}

export interface Commit {
  readonly epoch: number;
  readonly policiesChanged: boolean;
  /** uids of workloads that came, went or changed. */
  readonly touched: readonly string[];
}

/**
 * The one writer. Nothing of a batch is seen by a view before `commit`. On the writer's own thread all of it is seen
 * then; other threads see the policies of a batch, and everything of one that begins with `clear`, all at once, and other
 * workloads and services one by one while `commit` runs. A batch costs time in proportion to it, so who takes a large
 * push commits every few hundred resources and lets others have their turn in between.
 */
export interface MeshWriter {
  upsertWorkload(workload: Workload): void;
  upsertService(service: Service): void;
  upsertPolicy(policy: Policy): void;
  /**
   * A resource as istiod sent it, `istio.workload.Address` and `istio.security.Authorization`: why it cannot be used
   * (behaviour.md 3.12), or undefined. The bytes of an Address are lent until `commit`, those of an Authorization during
   * the call.
   */
  upsertAddressBytes(bytes: Uint8Array): string | undefined;
  upsertAuthorizationBytes(key: string, bytes: Uint8Array): string | undefined;
  /** By workload uid, else `namespace/hostname` (behaviour.md 3.6); false if nothing had that name. */
  removeAddress(name: string): boolean;
  removePolicy(key: string): boolean;
  /** Forgets everything (as part of the batch): what is not written again before `commit` is gone. */
  clear(): void;
  /** Forgets what was written since the last commit. */
  discard(): void;
  commit(): Commit;
}
