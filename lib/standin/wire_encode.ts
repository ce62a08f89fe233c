/** The mesh's own words → messages as istiod writes them: what has a default is left out (behaviour.md 3.12). */
import { create, toBinary } from "@bufbuild/protobuf";
import type {
  GatewayAddress,
  LoadBalancer,
  Policy,
  PolicyMatch,
  PortMap,
  Service,
  StringMatch,
  Workload,
} from "#mesh";
import { Action, AuthorizationSchema, Scope } from "#proto/authorization_pb.ts";
import {
  AddressSchema,
  ApplicationTunnel_Protocol,
  IPFamilies,
  LoadBalancing_HealthPolicy,
  LoadBalancing_Mode,
  LoadBalancing_Scope,
  NetworkMode,
  TunnelProtocol,
  Visibility,
  WorkloadStatus,
  WorkloadType,
} from "#proto/workload_pb.ts";
import { Ip } from "#values";

/** What a receiver takes for an empty text. */
const DEFAULT_TRUST_DOMAIN = "cluster.local";
const DEFAULT_SERVICE_ACCOUNT = "default";

const WORKLOAD_TYPES: Readonly<Record<string, WorkloadType>> = {
  cronjob: WorkloadType.CRONJOB,
  pod: WorkloadType.POD,
  job: WorkloadType.JOB,
};

/** `istio.workload.Address` with a workload; `uid` may be another than the workload's own, which may be empty. */
export function workloadMessage(workload: Workload, uid: string): Uint8Array {
  const { waypoint, networkGateway, applicationTunnel: tunnel, locality } = workload;
  const isPlaced = locality.region !== "" || locality.zone !== "" || locality.subzone !== "";
  return toBinary(
    AddressSchema,
    create(AddressSchema, {
      type: {
        case: "workload",
        value: {
          uid,
          name: workload.name,
          namespace: workload.namespace,
          addresses: workload.workloadIps.map(Ip.toBytes),
          network: workload.network,
          hostname: workload.hostname,
          node: workload.node,
          tunnelProtocol: workload.protocol === "HBONE"
            ? TunnelProtocol.HBONE
            : TunnelProtocol.NONE,
          trustDomain: unless(DEFAULT_TRUST_DOMAIN, workload.trustDomain),
          serviceAccount: unless(DEFAULT_SERVICE_ACCOUNT, workload.serviceAccount),
          canonicalName: workload.canonicalName,
          canonicalRevision: workload.canonicalRevision,
          workloadName: workload.workloadName,
          workloadType: WORKLOAD_TYPES[workload.workloadType] ?? WorkloadType.DEPLOYMENT,
          nativeTunnel: workload.nativeTunnel,
          authorizationPolicies: [...workload.authorizationPolicies],
          status: workload.status === "Healthy" ? WorkloadStatus.HEALTHY : WorkloadStatus.UNHEALTHY,
          clusterId: workload.clusterId,
          services: Object.fromEntries(
            [...workload.services].map(([key, ports]) => [key, { ports: portsOf(ports) }]),
          ),
          networkMode: workload.networkMode === "Standard"
            ? NetworkMode.STANDARD
            : NetworkMode.HOST_NETWORK,
          ...(workload.capacity !== 1 && { capacity: workload.capacity }),
          ...(isPlaced && { locality: { ...locality } }),
          ...(waypoint && { waypoint: gatewayOf(waypoint) }),
          ...(networkGateway && { networkGateway: gatewayOf(networkGateway) }),
          ...(tunnel && {
            applicationTunnel: {
              protocol: ApplicationTunnel_Protocol[tunnel.protocol],
              port: tunnel.port ?? 0,
            },
          }),
        },
      },
    }),
  );
}

const IP_FAMILIES = {
  Dual: IPFamilies.DUAL,
  IPv4: IPFamilies.IPV4_ONLY,
  IPv6: IPFamilies.IPV6_ONLY,
} as const;

/** `istio.workload.Address` with a service. */
export function serviceMessage(service: Service): Uint8Array {
  const { waypoint, loadBalancer, ipFamilies } = service;
  return toBinary(
    AddressSchema,
    create(AddressSchema, {
      type: {
        case: "service",
        value: {
          name: service.name,
          namespace: service.namespace,
          hostname: service.hostname,
          addresses: [
            ...service.vips.map(({ network, ip }) => ({ network, address: Ip.toBytes(ip) })),
            ...service.cidrVips.map(({ network, cidr }) => ({
              network,
              address: Ip.toBytes(cidr.base),
              length: cidr.prefixLength,
            })),
          ],
          ports: portsOf(service.ports),
          subjectAltNames: [...service.subjectAltNames],
          canonical: service.canonical,
          visibility: service.visibility === "Public" ? Visibility.PUBLIC : Visibility.NAMESPACE,
          weightedWaypoints: service.weightedWaypoints.map(({ destination, weight }) => ({
            destination: gatewayOf(destination),
            weight,
          })),
          ...(waypoint && { waypoint: gatewayOf(waypoint) }),
          ...(ipFamilies && { ipFamilies: IP_FAMILIES[ipFamilies] }),
          ...(loadBalancer && { loadBalancing: loadBalancingOf(loadBalancer) }),
        },
      },
    }),
  );
}

const MODES = {
  Standard: LoadBalancing_Mode.UNSPECIFIED_MODE,
  Strict: LoadBalancing_Mode.STRICT,
  Failover: LoadBalancing_Mode.FAILOVER,
  Passthrough: LoadBalancing_Mode.PASSTHROUGH,
} as const;

const PREFERENCES = {
  Region: LoadBalancing_Scope.REGION,
  Zone: LoadBalancing_Scope.ZONE,
  Subzone: LoadBalancing_Scope.SUBZONE,
  Node: LoadBalancing_Scope.NODE,
  Cluster: LoadBalancing_Scope.CLUSTER,
  Network: LoadBalancing_Scope.NETWORK,
} as const;

function loadBalancingOf({ mode, routingPreferences, healthPolicy }: LoadBalancer) {
  return {
    mode: MODES[mode],
    routingPreference: routingPreferences.map((preference) => PREFERENCES[preference]),
    healthPolicy: healthPolicy === "AllowAll"
      ? LoadBalancing_HealthPolicy.ALLOW_ALL
      : LoadBalancing_HealthPolicy.ONLY_HEALTHY,
  };
}

const SCOPES = {
  Global: Scope.GLOBAL,
  Namespace: Scope.NAMESPACE,
  WorkloadSelector: Scope.WORKLOAD_SELECTOR,
} as const;

/** `istio.security.Authorization`. */
export function policyMessage(policy: Policy): Uint8Array {
  return toBinary(
    AuthorizationSchema,
    create(AuthorizationSchema, {
      name: policy.name,
      namespace: policy.namespace,
      scope: SCOPES[policy.scope],
      action: policy.action === "Allow" ? Action.ALLOW : Action.DENY,
      dryRun: policy.dryRun,
      rules: policy.rules.map((clauses) => ({
        clauses: clauses.map((matches) => ({ matches: matches.map(matchOf) })),
      })),
    }),
  );
}

function matchOf(match: PolicyMatch) {
  return {
    namespaces: match.namespaces.map(stringMatchOf),
    notNamespaces: match.notNamespaces.map(stringMatchOf),
    principals: match.principals.map(stringMatchOf),
    notPrincipals: match.notPrincipals.map(stringMatchOf),
    serviceAccounts: match.serviceAccounts.map((account) => ({ ...account })),
    notServiceAccounts: match.notServiceAccounts.map((account) => ({ ...account })),
    sourceIps: match.sourceIps.map(rangeOf),
    notSourceIps: match.notSourceIps.map(rangeOf),
    destinationIps: match.destinationIps.map(rangeOf),
    notDestinationIps: match.notDestinationIps.map(rangeOf),
    destinationPorts: [...match.destinationPorts],
    notDestinationPorts: [...match.notDestinationPorts],
  };
}

function rangeOf({ base, prefixLength }: PolicyMatch["sourceIps"][number]) {
  return { address: Ip.toBytes(base), length: prefixLength };
}

function stringMatchOf(match: StringMatch) {
  switch (match.kind) {
    case "Exact":
      return { matchType: { case: "exact" as const, value: match.value } };
    case "Prefix":
      return { matchType: { case: "prefix" as const, value: match.value } };
    case "Suffix":
      return { matchType: { case: "suffix" as const, value: match.value } };
    case "Presence":
      return { matchType: { case: "presence" as const, value: {} } };
  }
}

function gatewayOf({ destination, hboneMtlsPort }: GatewayAddress) {
  return {
    hboneMtlsPort,
    destination: destination.kind === "address"
      ? {
        case: "address" as const,
        value: { network: destination.network, address: Ip.toBytes(destination.ip) },
      }
      : {
        case: "hostname" as const,
        value: { namespace: destination.namespace, hostname: destination.hostname },
      },
  };
}

function portsOf(ports: PortMap) {
  return [...ports].map(([servicePort, targetPort]) => ({ servicePort, targetPort }));
}

function unless(usual: string, text: string): string {
  return text === usual ? "" : text;
}
