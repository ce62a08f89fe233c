/** The mesh as istiod keeps it: named resources, each in the bytes that a response carries. */
import { createHash } from "node:crypto";
import { BinaryWriter } from "@bufbuild/protobuf/wire";
import type { Policy, Service, Workload } from "#mesh";
import { policyMessage, serviceMessage, workloadMessage } from "./wire_encode.ts";

export type WireType = "address" | "authorization";

export const WIRE_TYPE_URLS: Readonly<Record<WireType, string>> = {
  address: "type.googleapis.com/istio.workload.Address",
  authorization: "type.googleapis.com/istio.security.Authorization",
};

/** One resource, ready to be sent. */
export interface WireResource {
  /** A workload's uid, `namespace/hostname` of a service, `namespace/name` of a policy. */
  readonly name: string;
  /** A hash of what it says; empty for a policy (behaviour.md 17.1). */
  readonly version: string;
  /** `network/ip` of every address: what it may have been asked for by. */
  readonly aliases: readonly string[];
  /** The node that a workload runs on, and the services that it serves. */
  readonly node: string;
  readonly services: readonly string[];
  /** `namespace/service account` of a workload; empty for others. Says whose certificates its node may ask for. */
  readonly account: string;
  /** A `resources` field of DeltaDiscoveryResponse, tag and length included. */
  readonly entry: Uint8Array;
}

export type WireResources = ReadonlyMap<string, WireResource>;

/** Everything there is, by type and name, in the order it is sent. */
export type WireMesh = Readonly<Record<WireType, WireResources>>;

export const EMPTY_WIRE_MESH: WireMesh = { address: new Map(), authorization: new Map() };

/** A mesh of the local YAML (behaviour.md 3.11). */
export interface TypedMesh {
  readonly workloads: readonly Workload[];
  readonly services: readonly Service[];
  readonly policies: readonly Policy[];
}

/** The resources that istiod would have for a mesh. A workload without a uid gets the one of a pod of its name. */
export function wireMeshOf({ workloads, services, policies }: TypedMesh): WireMesh {
  const address = new Map<string, WireResource>();
  for (const service of services) {
    const resource = serviceResource(service);
    address.set(resource.name, resource);
  }
  for (const workload of workloads) {
    const resource = workloadResource(workload);
    address.set(resource.name, resource);
  }
  const authorization = new Map<string, WireResource>();
  for (const policy of policies) {
    authorization.set(policy.key, resourceOf("authorization", policy.key, policyMessage(policy)));
  }
  return { address, authorization };
}

export function workloadResource(workload: Workload): WireResource {
  const { namespace, name, clusterId, network, serviceAccount } = workload;
  const uid = workload.uid || `${clusterId || "Kubernetes"}//Pod/${namespace}/${name}`;
  return resourceOf("address", uid, workloadMessage(workload, uid), {
    aliases: workload.networkMode === "HostNetwork"
      ? []
      : workload.workloadIps.map((ip) => `${network}/${ip}`),
    node: workload.node,
    services: [...workload.services.keys()],
    account: `${namespace}/${serviceAccount || "default"}`,
  });
}

export function serviceResource(service: Service): WireResource {
  const name = `${service.namespace}/${service.hostname}`;
  return resourceOf("address", name, serviceMessage(service), {
    aliases: service.vips.map(({ network, ip }) => `${network}/${ip}`),
  });
}

interface About {
  readonly aliases?: readonly string[];
  readonly node?: string;
  readonly services?: readonly string[];
  readonly account?: string;
}

/** A resource around a message, which may as well be none. Undefined stands for a resource without a payload. */
export function resourceOf(
  type: WireType,
  name: string,
  message: Uint8Array | undefined,
  { aliases = NONE, node = "", services = NONE, account = "" }: About = {},
): WireResource {
  const version = type === "address" && message !== undefined ? hashOf(message) : "";
  return {
    name,
    version,
    aliases,
    node,
    services,
    account,
    entry: entryOf(type, name, version, aliases, message),
  };
}

const NONE: readonly string[] = [];
/** 64 bits of a hash tell the states of one resource apart. */
const VERSION_CHARS = 16;

function hashOf(message: Uint8Array): string {
  return createHash("sha256").update(message).digest("hex").slice(0, VERSION_CHARS);
}

/** Field numbers of appendix A, as tags of length-delimited fields. */
const tag = (field: number): number => (field << 3) | 2;
const RESOURCES = tag(2);
const RESOURCE = { version: tag(1), resource: tag(2), name: tag(3), aliases: tag(4) } as const;
const ANY = { typeUrl: tag(1), value: tag(2) } as const;
const RESPONSE = { typeUrl: tag(4), nonce: tag(5), removed: tag(6) } as const;

function entryOf(
  type: WireType,
  name: string,
  version: string,
  aliases: readonly string[],
  message: Uint8Array | undefined,
): Uint8Array {
  const writer = new BinaryWriter().uint32(RESOURCES).fork();
  if (version !== "") writer.uint32(RESOURCE.version).string(version);
  if (message !== undefined) {
    writer.uint32(RESOURCE.resource).fork();
    writer.uint32(ANY.typeUrl).string(WIRE_TYPE_URLS[type]).uint32(ANY.value).bytes(message);
    writer.join();
  }
  writer.uint32(RESOURCE.name).string(name);
  for (const alias of aliases) writer.uint32(RESOURCE.aliases).string(alias);
  return writer.join().finish();
}

/** One DeltaDiscoveryResponse, to be sent. */
export interface WireAnswer {
  readonly type: WireType;
  readonly nonce: string;
  readonly resources: readonly WireResource[];
  readonly removed: readonly string[];
}

/**
 * The bytes of a response: the resources' own, copied once, so that 28 MB of them cost 28 MB. `paddingBytes` of an
 * unknown field make a message that is too large.
 */
export function answerBytes(answer: WireAnswer, paddingBytes = 0): Uint8Array<ArrayBuffer> {
  const { type, nonce, resources, removed } = answer;
  const rest = new BinaryWriter().uint32(RESPONSE.typeUrl).string(WIRE_TYPE_URLS[type]);
  rest.uint32(RESPONSE.nonce).string(nonce);
  for (const name of removed) rest.uint32(RESPONSE.removed).string(name);
  if (paddingBytes > 0) rest.uint32(tag(PADDING_FIELD)).bytes(new Uint8Array(paddingBytes));
  const tail = rest.finish();
  const length = resources.reduce((sum, { entry }) => sum + entry.length, tail.length);
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const { entry } of resources) {
    bytes.set(entry, at);
    at += entry.length;
  }
  bytes.set(tail, at);
  return bytes;
}

/** No field of DeltaDiscoveryResponse. */
const PADDING_FIELD = 100;

/** What a change of the mesh means for who has the mesh before it. */
export interface WireDifference {
  readonly type: WireType;
  readonly changed: readonly WireResource[];
  readonly removed: readonly string[];
}

/** Per type, and only where there is a difference. */
export function differencesBetween(before: WireMesh, after: WireMesh): WireDifference[] {
  return (["address", "authorization"] as const).flatMap((type) => {
    const [old, now] = [before[type], after[type]];
    if (old === now) return [];
    const changed = [...now.values()].filter((resource) =>
      !isSame(old.get(resource.name), resource)
    );
    const removed = [...old.keys()].filter((name) => !now.has(name));
    return changed.length + removed.length === 0 ? [] : [{ type, changed, removed }];
  });
}

function isSame(old: WireResource | undefined, now: WireResource): boolean {
  if (old === undefined || old === now) return old === now;
  if (now.version !== "" || old.version !== "") return old.version === now.version;
  return old.entry.length === now.entry.length &&
    old.entry.every((byte, at) => byte === now.entry[at]);
}
