/** What the mesh writes of typed values, by the generated code of its messages. */
import { Ip } from "#values";
import { create, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { Action, AuthorizationSchema, Scope } from "#proto/authorization_pb.ts";
import {
  ApplicationTunnel_Protocol,
  IPFamilies,
  LoadBalancing_HealthPolicy,
  LoadBalancing_Mode,
  LoadBalancing_Scope,
  NetworkMode,
  ServiceSchema,
  TunnelProtocol,
  Visibility,
  WorkloadSchema,
  WorkloadStatus,
} from "#proto/workload_pb.ts";
import type {
  GatewayAddress,
  Policy,
  PolicyMatch,
  PortMap,
  Service,
  StringMatch,
  Workload,
} from "#mesh";
import { bytesTag } from "../../../lib/mesh/cursor.ts";
import { LOCAL_TYPE_FIELD, WORKLOAD_TYPES } from "../../../lib/mesh/read_workload.ts";

export function encodeWorkload(workload: Workload): Uint8Array {
  const { waypoint, networkGateway, applicationTunnel: tunnel, locality } = workload;
  const typeIndex = WORKLOAD_TYPES.indexOf(workload.workloadType);
  const bytes = toBinary(
    WorkloadSchema,
    create(WorkloadSchema, {
      name: workload.name,
      namespace: workload.namespace,
      addresses: workload.workloadIps.map(Ip.toBytes),
      network: workload.network,
      tunnelProtocol: workload.protocol === "HBONE" ? TunnelProtocol.HBONE : TunnelProtocol.NONE,
      trustDomain: workload.trustDomain,
      serviceAccount: workload.serviceAccount,
      node: workload.node,
      canonicalName: workload.canonicalName,
      canonicalRevision: workload.canonicalRevision,
      workloadType: Math.max(typeIndex, 0),
      workloadName: workload.workloadName,
      nativeTunnel: workload.nativeTunnel,
      authorizationPolicies: [...workload.authorizationPolicies],
      status: workload.status === "Healthy" ? WorkloadStatus.HEALTHY : WorkloadStatus.UNHEALTHY,
      clusterId: workload.clusterId,
      uid: workload.uid,
      hostname: workload.hostname,
      services: Object.fromEntries(
        [...workload.services].map(([key, ports]) => [key, { ports: portsOf(ports) }]),
      ),
      locality: { region: locality.region, zone: locality.zone, subzone: locality.subzone },
      networkMode: workload.networkMode === "Standard"
        ? NetworkMode.STANDARD
        : NetworkMode.HOST_NETWORK,
      capacity: workload.capacity,
      ...(waypoint && { waypoint: gateway(waypoint) }),
      ...(networkGateway && { networkGateway: gateway(networkGateway) }),
      ...(tunnel && {
        applicationTunnel: {
          protocol: ApplicationTunnel_Protocol[tunnel.protocol],
          port: tunnel.port ?? 0,
        },
      }),
    }),
  );
  return typeIndex >= 0 ? bytes : withText(bytes, workload.workloadType);
}

export function encodeService(service: Service): Uint8Array {
  const { waypoint, loadBalancer, ipFamilies } = service;
  return toBinary(
    ServiceSchema,
    create(ServiceSchema, {
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
        destination: gateway(destination),
        weight,
      })),
      ...(waypoint && { waypoint: gateway(waypoint) }),
      ...(ipFamilies && {
        ipFamilies: {
          Dual: IPFamilies.DUAL,
          IPv4: IPFamilies.IPV4_ONLY,
          IPv6: IPFamilies.IPV6_ONLY,
        }[ipFamilies],
      }),
      ...(loadBalancer && {
        loadBalancing: {
          mode: {
            Standard: LoadBalancing_Mode.UNSPECIFIED_MODE,
            Strict: LoadBalancing_Mode.STRICT,
            Failover: LoadBalancing_Mode.FAILOVER,
            Passthrough: LoadBalancing_Mode.PASSTHROUGH,
          }[loadBalancer.mode],
          routingPreference: loadBalancer.routingPreferences.map((scope) => LOCAL_SCOPES[scope]),
          healthPolicy: loadBalancer.healthPolicy === "AllowAll"
            ? LoadBalancing_HealthPolicy.ALLOW_ALL
            : LoadBalancing_HealthPolicy.ONLY_HEALTHY,
        },
      }),
    }),
  );
}

const LOCAL_SCOPES = {
  Region: LoadBalancing_Scope.REGION,
  Zone: LoadBalancing_Scope.ZONE,
  Subzone: LoadBalancing_Scope.SUBZONE,
  Node: LoadBalancing_Scope.NODE,
  Cluster: LoadBalancing_Scope.CLUSTER,
  Network: LoadBalancing_Scope.NETWORK,
};

export function encodePolicy(policy: Policy): Uint8Array {
  return toBinary(
    AuthorizationSchema,
    create(AuthorizationSchema, {
      name: policy.name,
      namespace: policy.namespace,
      scope: {
        Global: Scope.GLOBAL,
        Namespace: Scope.NAMESPACE,
        WorkloadSelector: Scope.WORKLOAD_SELECTOR,
      }[policy.scope],
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
    namespaces: match.namespaces.map(stringMatch),
    notNamespaces: match.notNamespaces.map(stringMatch),
    principals: match.principals.map(stringMatch),
    notPrincipals: match.notPrincipals.map(stringMatch),
    sourceIps: match.sourceIps.map(rangeOf),
    notSourceIps: match.notSourceIps.map(rangeOf),
    destinationIps: match.destinationIps.map(rangeOf),
    notDestinationIps: match.notDestinationIps.map(rangeOf),
    destinationPorts: [...match.destinationPorts],
    notDestinationPorts: [...match.notDestinationPorts],
    serviceAccounts: match.serviceAccounts.map((account) => ({ ...account })),
    notServiceAccounts: match.notServiceAccounts.map((account) => ({ ...account })),
  };
}

function rangeOf({ base, prefixLength }: PolicyMatch["sourceIps"][number]) {
  return { address: Ip.toBytes(base), length: prefixLength };
}

function stringMatch(each: StringMatch) {
  switch (each.kind) {
    case "Exact":
      return { matchType: { case: "exact" as const, value: each.value } };
    case "Prefix":
      return { matchType: { case: "prefix" as const, value: each.value } };
    case "Suffix":
      return { matchType: { case: "suffix" as const, value: each.value } };
    case "Presence":
      return { matchType: { case: "presence" as const, value: {} } };
  }
}

function portsOf(ports: PortMap) {
  return [...ports].map(([servicePort, targetPort]) => ({ servicePort, targetPort }));
}

function gateway({ destination, hboneMtlsPort }: GatewayAddress) {
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

function withText(bytes: Uint8Array, text: string): Uint8Array {
  return new BinaryWriter().raw(bytes).uint32(bytesTag(LOCAL_TYPE_FIELD)).string(text).finish();
}
