/** Meshes and requests for tests of the stand-ins: name what matters, the rest has its default. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { loadLocal, type LocalMesh } from "#xds";
import { type WireMesh, wireMeshOf } from "#standin";
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
} from "../../../proto/gen/xds_pb.ts";

export const URLS = {
  address: "type.googleapis.com/istio.workload.Address",
  authorization: "type.googleapis.com/istio.security.Authorization",
} as const;

export function localMesh(yaml: string): LocalMesh {
  const parsed = loadLocal(yaml, "test.yaml");
  if ("problems" in parsed) throw new Error(JSON.stringify(parsed.problems));
  return parsed.mesh;
}

export const SHOP = `
workloads:
- { uid: c//Pod/shop/web, name: web, namespace: shop, serviceAccount: web, workloadIps: ["10.0.0.1"], protocol: HBONE, node: n1, trustDomain: cluster.local }
- { uid: c//Pod/shop/cart, name: cart, namespace: shop, serviceAccount: cart, workloadIps: ["10.0.0.2", "fd00::2"], protocol: HBONE, node: n2, network: east, trustDomain: cluster.local, services: { shop/cart.shop.svc.cluster.local: { 80: 8080 } }, authorizationPolicies: [shop/p1] }
services:
- { name: cart, namespace: shop, hostname: cart.shop.svc.cluster.local, vips: ["east/10.96.0.2"], ports: { 80: 8080 } }
policies:
- { name: p1, namespace: shop, scope: WorkloadSelector, action: Allow, rules: [] }
- { name: p2, namespace: shop, scope: Namespace, action: Deny, rules: [] }
`;

export const shop = (): WireMesh => wireMeshOf(localMesh(SHOP));

export function request(
  type: keyof typeof URLS | string,
  fields: MessageInitShape<typeof DeltaDiscoveryRequestSchema> = {},
): DeltaDiscoveryRequest {
  const typeUrl = type === "address" || type === "authorization" ? URLS[type] : type;
  return create(DeltaDiscoveryRequestSchema, { typeUrl, ...fields });
}
