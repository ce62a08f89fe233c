import type {
  ApplicationTunnel,
  Health,
  Locality,
  PortMap,
  Protocol,
  ServiceKey,
  Workload,
} from "./types.ts";
import { type Mutable, port, readGateway, readPortList } from "./read_common.ts";
import { bytesTag, type Cursor, varintTag } from "./cursor.ts";
import { ipOf, limitElements, named, quoted, reject, segment } from "./wire_shared.ts";

export const WORKLOAD_TYPES = ["deployment", "cronjob", "pod", "job"];
const STATUSES = { 0: "Healthy", 1: "Unhealthy" } as const;
const NETWORK_MODES = { 0: "Standard", 1: "HostNetwork" } as const;
const TUNNEL_PROTOCOLS = { 0: "NONE", 1: "PROXY" } as const;
const PROTOCOLS: Readonly<Record<number, Protocol>> = { 0: "TCP", 1: "HBONE" };
/** Reserved by the schema: in records of our own, a workload type that the wire has no word for. */
export const LOCAL_TYPE_FIELD = 15;

type Draft = Mutable<Workload> & {
  workloadIps: Workload["workloadIps"][number][];
  authorizationPolicies: string[];
  services: Map<ServiceKey, PortMap>;
};

/**
 * A workload from the message that ends at `end`, by the rules of behaviour.md 3.12. `isLocal`: our own record of a value
 * that was given typed; in those an empty text is empty, instead of standing for the default.
 */
export function readWorkload(cursor: Cursor, end: number, isLocal: boolean): Workload {
  const draft: Draft = {
    uid: "",
    name: "",
    namespace: "",
    serviceAccount: "",
    trustDomain: "",
    workloadIps: [],
    network: "",
    hostname: "",
    node: "",
    protocol: "TCP",
    networkMode: "Standard",
    nativeTunnel: false,
    workloadName: "",
    workloadType: "deployment",
    canonicalName: "",
    canonicalRevision: "",
    clusterId: "",
    locality: NOWHERE,
    authorizationPolicies: [],
    status: "Healthy",
    capacity: 1,
    services: new Map(),
  };
  for (let tag = cursor.tag(end); tag !== 0; tag = cursor.tag(end)) {
    if (!readText(cursor, tag, draft) && !readRest(cursor, tag, draft, isLocal)) cursor.skip(tag);
  }
  cursor.close(end);
  if (isLocal) return draft;
  segment(draft.namespace, "namespace");
  segment(draft.serviceAccount, "service_account");
  segment(draft.trustDomain, "trust_domain");
  draft.trustDomain ||= "cluster.local";
  draft.serviceAccount ||= "default";
  draft.clusterId ||= "Kubernetes";
  return draft;
}

const NOWHERE: Locality = { region: "", zone: "", subzone: "" };

function readText(cursor: Cursor, tag: number, draft: Draft): boolean {
  switch (tag) {
    case bytesTag(1):
      draft.name = cursor.text();
      return true;
    case bytesTag(2):
      draft.namespace = cursor.text();
      return true;
    case bytesTag(4):
      draft.network = cursor.text();
      return true;
    case bytesTag(6):
      draft.trustDomain = cursor.text();
      return true;
    case bytesTag(7):
      draft.serviceAccount = cursor.text();
      return true;
    case bytesTag(9):
      draft.node = cursor.text();
      return true;
    case bytesTag(10):
      draft.canonicalName = cursor.text();
      return true;
    case bytesTag(11):
      draft.canonicalRevision = cursor.text();
      return true;
    case bytesTag(13):
      draft.workloadName = cursor.text();
      return true;
    case bytesTag(16):
      draft.authorizationPolicies.push(cursor.text());
      return true;
    case bytesTag(18):
      draft.clusterId = cursor.text();
      return true;
    case bytesTag(20):
      draft.uid = cursor.text();
      return true;
    case bytesTag(21):
      draft.hostname = cursor.text();
      return true;
    default:
      return false;
  }
}

function readRest(cursor: Cursor, tag: number, draft: Draft, isLocal: boolean): boolean {
  switch (tag) {
    case bytesTag(3):
      draft.workloadIps.push(ipOf(cursor.bytes(), "address"));
      if (!isLocal) limitElements(draft.workloadIps.length, "addresses");
      return true;
    case varintTag(5):
      draft.protocol = named(PROTOCOLS, cursor.int32(), "tunnel_protocol");
      return true;
    case bytesTag(8):
      draft.waypoint = readGateway(cursor, "waypoint");
      return true;
    case varintTag(12):
      draft.workloadType = WORKLOAD_TYPES[cursor.uint32()] ?? "deployment";
      return true;
    case varintTag(14):
      draft.nativeTunnel = cursor.bool();
      return true;
    case varintTag(17):
      draft.status = named<Health>(STATUSES, cursor.int32(), "status");
      return true;
    case bytesTag(19):
      draft.networkGateway = readGateway(cursor, "network_gateway");
      return true;
    case bytesTag(22):
      readShare(cursor, draft, isLocal);
      return true;
    case bytesTag(23):
      draft.applicationTunnel = readTunnel(cursor);
      return true;
    case bytesTag(24):
      draft.locality = readLocality(cursor);
      return true;
    case varintTag(25):
      draft.networkMode = named<Workload["networkMode"]>(
        NETWORK_MODES,
        cursor.int32(),
        "network_mode",
      );
      return true;
    case bytesTag(27):
      draft.capacity = readWrapped(cursor);
      return true;
    case bytesTag(LOCAL_TYPE_FIELD):
      if (isLocal) draft.workloadType = cursor.text();
      else cursor.skip(tag);
      return true;
    default:
      return false;
  }
}

/** An entry of the map `services`: key = 1, value = 2. */
function readShare(cursor: Cursor, draft: Draft, isLocal: boolean): void {
  const end = cursor.length();
  let key = "";
  let ports: PortMap | undefined;
  for (let tag = cursor.tag(end); tag !== 0; tag = cursor.tag(end)) {
    if (tag === bytesTag(1)) key = cursor.text();
    else if (tag === bytesTag(2)) ports = readPortList(cursor);
    else cursor.skip(tag);
  }
  cursor.close(end);
  if (!isLocal && !key.includes("/")) reject(`service ${quoted(key)}, expected namespace/hostname`);
  draft.services.set(key as ServiceKey, ports ?? new Map());
  if (!isLocal) limitElements(draft.services.size, "services");
}

function readTunnel(cursor: Cursor): ApplicationTunnel {
  const end = cursor.length();
  let protocol: ApplicationTunnel["protocol"] = "NONE";
  let tunnelPort = 0;
  for (let tag = cursor.tag(end); tag !== 0; tag = cursor.tag(end)) {
    if (tag === varintTag(1)) {
      protocol = named<ApplicationTunnel["protocol"]>(
        TUNNEL_PROTOCOLS,
        cursor.int32(),
        "application_tunnel protocol",
      );
    } else if (tag === varintTag(2)) tunnelPort = port(cursor);
    else cursor.skip(tag);
  }
  cursor.close(end);
  return { protocol, ...(tunnelPort !== 0 && { port: tunnelPort }) };
}

function readLocality(cursor: Cursor): Locality {
  const end = cursor.length();
  const read = { region: "", zone: "", subzone: "" };
  for (let tag = cursor.tag(end); tag !== 0; tag = cursor.tag(end)) {
    if (tag === bytesTag(1)) read.region = cursor.text();
    else if (tag === bytesTag(2)) read.zone = cursor.text();
    else if (tag === bytesTag(3)) read.subzone = cursor.text();
    else cursor.skip(tag);
  }
  cursor.close(end);
  return read;
}

/** UInt32Value: value = 1. A wrapper that is there and empty means 0. */
function readWrapped(cursor: Cursor): number {
  const end = cursor.length();
  let value = 0;
  for (let tag = cursor.tag(end); tag !== 0; tag = cursor.tag(end)) {
    if (tag === varintTag(1)) value = cursor.uint32();
    else cursor.skip(tag);
  }
  cursor.close(end);
  return value;
}
