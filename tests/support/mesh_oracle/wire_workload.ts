import {
  type ApplicationTunnel as WireTunnel,
  ApplicationTunnel_Protocol,
  NetworkMode,
  TunnelProtocol,
  type Workload as WireWorkload,
  WorkloadStatus,
  WorkloadType,
} from "#proto/workload_pb.ts";
import type {
  ApplicationTunnel,
  Health,
  Locality,
  PortMap,
  Protocol,
  ServiceKey,
  Workload,
} from "#mesh";
import {
  type Decoded,
  decoded,
  ipOf,
  named,
  portOf,
  quoted,
  reject,
  segment,
} from "../../../lib/mesh/wire_shared.ts";
import { gatewayOf, portMapOf } from "./wire_common.ts";

const NO_PLACE: Locality = { region: "", zone: "", subzone: "" };

/** LEGACY_ISTIO_MTLS is left out on purpose: nobody here speaks it. */
const PROTOCOLS: Readonly<Record<number, Protocol>> = {
  [TunnelProtocol.NONE]: "TCP",
  [TunnelProtocol.HBONE]: "HBONE",
};

const NETWORK_MODES: Readonly<Record<number, Workload["networkMode"]>> = {
  [NetworkMode.STANDARD]: "Standard",
  [NetworkMode.HOST_NETWORK]: "HostNetwork",
};

const STATUSES: Readonly<Record<number, Health>> = {
  [WorkloadStatus.HEALTHY]: "Healthy",
  [WorkloadStatus.UNHEALTHY]: "Unhealthy",
};

const TYPES: Readonly<Record<number, string>> = {
  [WorkloadType.DEPLOYMENT]: "deployment",
  [WorkloadType.CRONJOB]: "cronjob",
  [WorkloadType.POD]: "pod",
  [WorkloadType.JOB]: "job",
};

const TUNNELS: Readonly<Record<number, ApplicationTunnel["protocol"]>> = {
  [ApplicationTunnel_Protocol.NONE]: "NONE",
  [ApplicationTunnel_Protocol.PROXY]: "PROXY",
};

/** A workload as istiod sends it, with the defaults and the refusals of behaviour.md 3.12. Pure; never throws. */
export function decodeWorkload(wire: WireWorkload): Decoded<Workload> {
  return decoded(() => workloadOf(wire));
}

function workloadOf(wire: WireWorkload): Workload {
  const { applicationTunnel, waypoint, networkGateway, locality } = wire;
  return {
    uid: wire.uid,
    name: wire.name,
    namespace: segment(wire.namespace, "namespace"),
    serviceAccount: segment(wire.serviceAccount, "service_account") || "default",
    trustDomain: segment(wire.trustDomain, "trust_domain") || "cluster.local",
    workloadIps: wire.addresses.map((bytes) => ipOf(bytes, "address")),
    network: wire.network,
    hostname: wire.hostname,
    node: wire.node,
    protocol: named(PROTOCOLS, wire.tunnelProtocol, "tunnel_protocol"),
    networkMode: named(NETWORK_MODES, wire.networkMode, "network_mode"),
    nativeTunnel: wire.nativeTunnel,
    ...(applicationTunnel && { applicationTunnel: tunnelOf(applicationTunnel) }),
    ...(waypoint && { waypoint: gatewayOf(waypoint, "waypoint") }),
    ...(networkGateway && { networkGateway: gatewayOf(networkGateway, "network_gateway") }),
    workloadName: wire.workloadName,
    workloadType: TYPES[wire.workloadType] ?? "deployment",
    canonicalName: wire.canonicalName,
    canonicalRevision: wire.canonicalRevision,
    clusterId: wire.clusterId || "Kubernetes",
    locality: locality === undefined
      ? NO_PLACE
      : { region: locality.region, zone: locality.zone, subzone: locality.subzone },
    authorizationPolicies: wire.authorizationPolicies,
    status: named(STATUSES, wire.status, "status"),
    capacity: wire.capacity ?? 1,
    services: servicesOf(wire.services),
  };
}

function tunnelOf(wire: WireTunnel): ApplicationTunnel {
  const protocol = named(TUNNELS, wire.protocol, "application_tunnel protocol");
  const port = portOf(wire.port);
  return { protocol, ...(port !== 0 && { port }) };
}

function servicesOf(wire: WireWorkload["services"]): ReadonlyMap<ServiceKey, PortMap> {
  const services = new Map<ServiceKey, PortMap>();
  for (const [key, { ports }] of Object.entries(wire)) {
    if (!isServiceKey(key)) reject(`service ${quoted(key)}, expected namespace/hostname`);
    services.set(key, portMapOf(ports));
  }
  return services;
}

function isServiceKey(key: string): key is ServiceKey {
  return key.includes("/");
}
