/**
 * A large mesh as istiod would send it: workloads in a tenth as many services, a hundred on each node, 279 bytes a
 * workload on the wire.
 * @module
 */
import { create, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { AddressSchema } from "#proto/workload_pb.ts";

const ADDRESS_TYPE = "type.googleapis.com/istio.workload.Address";
const NAMESPACES_COUNT = 500;

export interface LargeMesh {
  readonly workloadsCount: number;
  readonly servicesCount: number;
  readonly nodesCount: number;
}

export function largeMesh(workloadsCount: number): LargeMesh {
  return {
    workloadsCount,
    servicesCount: Math.ceil(workloadsCount / 10),
    nodesCount: Math.ceil(workloadsCount / 100),
  };
}

export function nodeOf(index: number): string {
  return `node-${index}`;
}

function serviceOf({ servicesCount }: LargeMesh, index: number) {
  const service = index % servicesCount;
  const namespace = `ns-${service % NAMESPACES_COUNT}`;
  return {
    name: `svc-${service}`,
    namespace,
    host: `svc-${service}.${namespace}.svc.cluster.local`,
  };
}

export function uidOf(mesh: LargeMesh, index: number): string {
  const { name, namespace } = serviceOf(mesh, index);
  return `Kubernetes//Pod/${namespace}/${name}-${index.toString(36).padStart(5, "0")}`;
}

export function serviceName(mesh: LargeMesh, index: number): string {
  const { namespace, host } = serviceOf(mesh, index);
  return `${namespace}/${host}`;
}

export function ipOf(index: number): Uint8Array {
  return Uint8Array.of(10, index >> 16, index >> 8, index);
}

export function vipOf(index: number): Uint8Array {
  return Uint8Array.of(172, 16 + (index >> 16), index >> 8, index);
}

export function workloadResource(mesh: LargeMesh, index: number, revision: number): Uint8Array {
  const { name, namespace, host } = serviceOf(mesh, index);
  const uid = uidOf(mesh, index);
  const value = toBinary(
    AddressSchema,
    create(AddressSchema, {
      type: {
        case: "workload",
        value: {
          uid,
          name: uid.slice(uid.lastIndexOf("/") + 1),
          namespace,
          addresses: [ipOf(index)],
          tunnelProtocol: 1,
          serviceAccount: name,
          node: nodeOf(index % mesh.nodesCount),
          canonicalRevision: `v${revision}`,
          workloadName: name,
          workloadType: 2,
          services: {
            [`${namespace}/${host}`]: { ports: [{ servicePort: 80, targetPort: 8080 }] },
          },
        },
      },
    }),
  );
  return resource(uid, revision, value);
}

/** A pod of namespace `shop` without HBONE, so that a request to it costs no TLS. */
export function podResource(name: string, address: Uint8Array): Uint8Array {
  const uid = `Kubernetes//Pod/shop/${name}`;
  const workload = { uid, name, namespace: "shop", addresses: [address], serviceAccount: name };
  const type = { case: "workload", value: workload } as const;
  return resource(uid, 1, toBinary(AddressSchema, create(AddressSchema, { type })));
}

export function serviceResource(mesh: LargeMesh, index: number, revision: number): Uint8Array {
  const { name, namespace, host } = serviceOf(mesh, index);
  const value = toBinary(
    AddressSchema,
    create(AddressSchema, {
      type: {
        case: "service",
        value: {
          name,
          namespace,
          hostname: host,
          addresses: [{ address: vipOf(index) }],
          ports: [{ servicePort: 80, targetPort: 8080 }],
        },
      },
    }),
  );
  return resource(`${namespace}/${host}`, revision, value);
}

/** As little as an endpoint can be, so that a million of them fit into a message; all of them of one service. */
export function endpointResource(index: number): Uint8Array {
  return lean(`e-${index}`, Uint8Array.of(11, index >> 16, index >> 8, index), "big");
}

/** An endpoint of that name at that address, and its service at that VIP. */
export function* pairResources(
  name: string,
  address: Uint8Array,
  vip: Uint8Array,
): Generator<Uint8Array> {
  yield leanService(name, vip);
  yield lean(name, address, name);
}

function lean(uid: string, address: Uint8Array, service: string): Uint8Array {
  const services = { [`shop/${service}`]: { ports: [{ servicePort: 80, targetPort: 8080 }] } };
  const value = { uid, name: uid, namespace: "shop", addresses: [address], services };
  const type = { case: "workload", value } as const;
  return resource(uid, 1, toBinary(AddressSchema, create(AddressSchema, { type })));
}

/** Its host name is its name. */
export function leanService(name: string, vip: Uint8Array): Uint8Array {
  const ports = [{ servicePort: 80, targetPort: 8080 }];
  const value = { name, namespace: "shop", hostname: name, addresses: [{ address: vip }], ports };
  const type = { case: "service", value } as const;
  return resource(`shop/${name}`, 1, toBinary(AddressSchema, create(AddressSchema, { type })));
}

/** Resource: version = 1, resource = 2 (Any), name = 3; istiod's versions are hashes in decimal. */
function resource(name: string, revision: number, value: Uint8Array): Uint8Array {
  let hash = BigInt(revision + 1);
  for (let at = 0; at < name.length; at++) {
    hash = (hash * 0x100000001b3n + BigInt(name.charCodeAt(at))) & 0xffffffffffffffffn;
  }
  const any = new BinaryWriter().tag(1, 2).string(ADDRESS_TYPE).tag(2, 2).bytes(value).finish();
  return new BinaryWriter().tag(1, 2).string(String(hash)).tag(2, 2).bytes(any).tag(3, 2)
    .string(name).finish();
}

/** DeltaDiscoveryResponse: resources = 2, type_url = 4, nonce = 5, removed_resources = 6. */
export function responseOf(
  typeUrl: string,
  nonce: string,
  resources: Iterable<Uint8Array>,
  removed: Iterable<string> = [],
): Uint8Array {
  const writer = new BinaryWriter();
  for (const each of resources) writer.tag(2, 2).bytes(each);
  writer.tag(4, 2).string(typeUrl).tag(5, 2).string(nonce);
  for (const name of removed) writer.tag(6, 2).string(name);
  return writer.finish();
}

export { ADDRESS_TYPE };
