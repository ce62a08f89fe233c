/** What istiod would send for a local mesh is, read by the proxy's own reader, that mesh. */
import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { fromBinary } from "@bufbuild/protobuf";
import { createMesh } from "#mesh";
import { wireMeshOf } from "#standin";
import { answerBytes, resourceOf } from "../../../lib/standin/wire_mesh.ts";
import { AddressSchema } from "../../../proto/gen/workload_pb.ts";
import { DeltaDiscoveryResponseSchema } from "../../../proto/gen/xds_pb.ts";
import { localMesh, SHOP, shop } from "./example.ts";

/** Every field of the format, with another value than its default. */
const FULL = `
workloads:
- uid: c//v1/Pod/shop/cart
  name: cart
  namespace: shop
  serviceAccount: cart
  trustDomain: example.org
  workloadIps: ["10.20.1.7", "fd00::7"]
  network: east
  hostname: cart.example.org
  node: worker-1
  protocol: HBONE
  networkMode: HostNetwork
  nativeTunnel: true
  applicationTunnel: { protocol: PROXY, port: 15088 }
  waypoint: { destination: "east/10.20.9.9", hboneMtlsPort: 15008 }
  networkGateway: { destination: "infra/ew.example.org", hboneMtlsPort: 15009 }
  workloadName: cart
  workloadType: cronjob
  canonicalName: cart
  canonicalRevision: v3
  clusterId: c
  locality: { region: eu, zone: eu-1, subzone: rack4 }
  authorizationPolicies: ["shop/p"]
  status: Unhealthy
  capacity: 7
  services:
    shop/cart.shop.svc: { 80: 8080, 443: 8443 }
services:
- name: cart
  namespace: shop
  hostname: cart.shop.svc
  vips: ["east/10.96.0.20", "/fd00::1"]
  cidrVips: [ { network: east, cidr: 10.97.0.0/24 } ]
  ports: { 80: 0, 443: 8443 }
  subjectAltNames: ["spiffe://cluster.local/ns/shop/sa/cart"]
  waypoint: { destination: "shop/waypoint.shop", hboneMtlsPort: 15008 }
  weightedWaypoints:
  - { destination: { destination: "east/10.20.9.9", hboneMtlsPort: 15008 }, weight: 90 }
  loadBalancer: { mode: Failover, routingPreferences: [Network, Region, Zone], healthPolicy: AllowAll }
  ipFamilies: Dual
  canonical: true
  visibility: Namespace
policies:
- name: p
  namespace: shop
  scope: WorkloadSelector
  action: Allow
  dryRun: true
  rules:
  - - - principals: [ !Exact a/ns/b/sa/c, !Prefix a, !Suffix c, !Presence [] ]
        notPrincipals: [ !Exact x ]
        namespaces: [ !Exact web ]
        notNamespaces: [ !Prefix test- ]
        serviceAccounts: [ { namespace: a, serviceAccount: b } ]
        notServiceAccounts: [ { namespace: a, serviceAccount: c } ]
        sourceIps: ["10.20.0.0/16"]
        notSourceIps: ["10.20.1.0/24"]
        destinationIps: ["fd00::/8"]
        notDestinationIps: ["fd00::/16"]
        destinationPorts: [8080]
        notDestinationPorts: [8081]
`;

for (const [what, yaml] of [["every field", FULL], ["few fields", SHOP]] as const) {
  Deno.test(`a mesh is the same by YAML and by wire: ${what}`, () => {
    const local = localMesh(yaml);
    const { address, authorization } = wireMeshOf(local);
    const { view, writer } = createMesh({});
    for (const type of ["address", "authorization"] as const) {
      const resources = [...(type === "address" ? address : authorization).values()];
      const bytes = answerBytes({ type, nonce: "n", resources, removed: ["a", "b"] });
      const response = fromBinary(DeltaDiscoveryResponseSchema, bytes);
      deepStrictEqual([response.nonce, response.removedResources], ["n", ["a", "b"]]);
      for (const { name, resource } of response.resources) {
        const reason = type === "address"
          ? writer.upsertAddressBytes(resource!.value)
          : writer.upsertAuthorizationBytes(name, resource!.value);
        strictEqual(reason, undefined, `${name}: ${reason}`);
      }
    }
    writer.commit();
    for (const workload of local.workloads) {
      // An empty cluster is Kubernetes, and an empty type is a deployment, on the wire.
      deepStrictEqual(view.workload(workload.uid), {
        ...workload,
        clusterId: workload.clusterId || "Kubernetes",
        workloadType: workload.workloadType || "deployment",
      });
    }
    deepStrictEqual(view.services(), local.services);
    deepStrictEqual(view.policies(), local.policies);
  });
}

Deno.test("istiod leaves out what has a default", () => {
  const yaml = SHOP.replaceAll("serviceAccount: web", "serviceAccount: default");
  const bytes = answerBytes({
    type: "address",
    nonce: "n",
    resources: [...wireMeshOf(localMesh(yaml)).address.values()],
    removed: [],
  });
  const { resources } = fromBinary(DeltaDiscoveryResponseSchema, bytes);
  const { type } = fromBinary(AddressSchema, resources[1]!.resource!.value);
  ok(type.case === "workload");
  deepStrictEqual([type.value.trustDomain, type.value.serviceAccount], ["", ""]);
  deepStrictEqual([type.value.capacity, type.value.locality], [undefined, undefined]);
});

Deno.test("a workload is named by its uid, or as a pod of its name; its addresses are aliases", () => {
  const { address } = shop();
  deepStrictEqual(address.get("c//Pod/shop/cart")!.aliases, ["east/10.0.0.2", "east/fd00::2"]);
  const yaml = SHOP.replace("uid: c//Pod/shop/web, ", "");
  const nameless = wireMeshOf(localMesh(yaml)).address.get("Kubernetes//Pod/shop/web");
  strictEqual(nameless?.account, "shop/web");
});

Deno.test("padding makes a message longer and stays unread", () => {
  const answer = { type: "address", nonce: "n", resources: [], removed: [] } as const;
  const bytes = answerBytes(answer, 100_000);
  ok(bytes.length > 100_000);
  strictEqual(fromBinary(DeltaDiscoveryResponseSchema, bytes).nonce, "n");
});

Deno.test("a resource without a payload has a name and nothing else", () => {
  const resources = [resourceOf("address", "bad", undefined)];
  const bytes = answerBytes({ type: "address", nonce: "n", resources, removed: [] });
  const [only] = fromBinary(DeltaDiscoveryResponseSchema, bytes).resources;
  deepStrictEqual([only!.name, only!.resource, only!.version], ["bad", undefined, ""]);
});
