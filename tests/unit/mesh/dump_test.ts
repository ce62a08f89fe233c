import { deepStrictEqual } from "node:assert/strict";
import { MeshDump, type PolicyMatch } from "#mesh";
import { cidr, ip, meshOf, policy, service, workload } from "./builders.ts";

/** What a reader of the JSON sees. */
const json = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

const gateway = {
  destination: { kind: "address", network: "east", ip: ip("10.20.9.9") },
  hboneMtlsPort: 15008,
} as const;
const waypoint = {
  destination: { kind: "hostname", namespace: "shop", hostname: "waypoint.example.org" },
  hboneMtlsPort: 15008,
} as const;

Deno.test("MeshDump.workload() leaves out what has its default", () => {
  const plain = workload("", {
    name: "",
    serviceAccount: "",
    trustDomain: "",
    workloadType: "",
    clusterId: "",
  });
  deepStrictEqual(json(MeshDump.workload(plain)), {
    workloadIps: [],
    protocol: "TCP",
    networkMode: "Standard",
    name: "",
    namespace: "shop",
    status: "Healthy",
    clusterId: "",
    capacity: 1,
  });
});

Deno.test("MeshDump.workload() shows every field that is set", () => {
  const full = workload("uid", {
    workloadIps: [ip("10.1.0.9"), ip("fd00::9")],
    waypoint,
    networkGateway: gateway,
    network: "east",
    hostname: "vm.example.org",
    node: "n1",
    protocol: "HBONE",
    nativeTunnel: true,
    applicationTunnel: { protocol: "PROXY", port: 15088 },
    workloadName: "cart",
    canonicalName: "cart",
    canonicalRevision: "v1",
    locality: { region: "r", zone: "", subzone: "" },
    authorizationPolicies: ["shop/p"],
    services: new Map([["shop/b.org", new Map([[80, 8080]])], ["shop/a.org", new Map()]]),
  });
  deepStrictEqual(json(MeshDump.workload(full)), {
    workloadIps: ["10.1.0.9", "fd00::9"],
    waypoint: { destination: "shop/waypoint.example.org", hboneMtlsPort: 15008 },
    networkGateway: { destination: "east/10.20.9.9", hboneMtlsPort: 15008 },
    protocol: "HBONE",
    networkMode: "Standard",
    uid: "uid",
    name: "uid",
    namespace: "shop",
    trustDomain: "cluster.local",
    serviceAccount: "default",
    network: "east",
    workloadName: "cart",
    workloadType: "deployment",
    canonicalName: "cart",
    canonicalRevision: "v1",
    hostname: "vm.example.org",
    node: "n1",
    nativeTunnel: true,
    applicationTunnel: { protocol: "PROXY", port: 15088 },
    authorizationPolicies: ["shop/p"],
    status: "Healthy",
    clusterId: "Kubernetes",
    locality: { region: "r", zone: "", subzone: "" },
    services: ["shop/a.org", "shop/b.org"],
    capacity: 1,
  });
});

Deno.test("MeshDump.workload() shows a tunnel without port as null", () => {
  const tunnelled = workload("u", { applicationTunnel: { protocol: "NONE" } });
  deepStrictEqual(json(MeshDump.workload(tunnelled).applicationTunnel), {
    protocol: "NONE",
    port: null,
  });
});

Deno.test("MeshDump.service() leaves out what is not set, and shows endpoints by uid", () => {
  const cart = service("cart.example.org", { vips: [{ network: "", ip: ip("10.96.0.20") }] });
  const share = new Map([["shop/cart.example.org", new Map([[80, 8080]])]] as const);
  const { view } = meshOf({
    services: [cart],
    workloads: [workload("b", { services: share }), workload("a", { services: share })],
  });
  const endpoint = (uid: string) => ({ workloadUid: uid, port: { "80": 8080 }, status: "Healthy" });
  const dump = json(MeshDump.service(cart, view.endpointsOf(cart)));
  deepStrictEqual(dump, {
    name: "cart",
    namespace: "shop",
    hostname: "cart.example.org",
    vips: ["/10.96.0.20"],
    ports: { "80": 8080 },
    endpoints: { a: endpoint("a"), b: endpoint("b") },
    subjectAltNames: [],
    canonical: false,
    visibility: "Public",
  });
  deepStrictEqual(Object.keys((dump as { endpoints: object }).endpoints), ["a", "b"]);
});

Deno.test("MeshDump.service() shows every field that is set", () => {
  const full = service("cart.example.org", {
    vips: [{ network: "east", ip: ip("fd00:96::20") }],
    cidrVips: [{ network: "east", cidr: cidr("10.97.0.0/24") }],
    subjectAltNames: ["spiffe://x"],
    waypoint,
    weightedWaypoints: [{ destination: gateway, weight: 90 }],
    loadBalancer: {
      mode: "Failover",
      routingPreferences: ["Network", "Region"],
      healthPolicy: "AllowAll",
    },
    ipFamilies: "Dual",
    canonical: true,
    visibility: "Namespace",
  });
  deepStrictEqual(json(MeshDump.service(full, [])), {
    name: "cart",
    namespace: "shop",
    hostname: "cart.example.org",
    vips: ["east/fd00:96::20"],
    cidrVips: [{ network: "east", cidr: "10.97.0.0/24" }],
    ports: { "80": 8080 },
    endpoints: {},
    subjectAltNames: ["spiffe://x"],
    waypoint: { destination: "shop/waypoint.example.org", hboneMtlsPort: 15008 },
    weightedWaypoints: [
      { destination: { destination: "east/10.20.9.9", hboneMtlsPort: 15008 }, weight: 90 },
    ],
    loadBalancer: {
      mode: "Failover",
      routingPreferences: ["Network", "Region"],
      healthPolicy: "AllowAll",
    },
    ipFamilies: "Dual",
    canonical: true,
    visibility: "Namespace",
  });
});

const NOTHING: PolicyMatch = {
  namespaces: [],
  notNamespaces: [],
  principals: [],
  notPrincipals: [],
  serviceAccounts: [],
  notServiceAccounts: [],
  sourceIps: [],
  notSourceIps: [],
  destinationIps: [],
  notDestinationIps: [],
  destinationPorts: [],
  notDestinationPorts: [],
};

Deno.test("MeshDump.policy() nests rules and leaves empty lists out of matches", () => {
  const rules = [
    [[
      {
        ...NOTHING,
        principals: [
          { kind: "Exact", value: "a" },
          { kind: "Prefix", value: "b" },
          { kind: "Suffix", value: "c" },
          { kind: "Presence" },
        ],
        serviceAccounts: [{ namespace: "shop", serviceAccount: "web" }],
        sourceIps: [cidr("10.0.0.0/8")],
        notDestinationPorts: [8080],
      } as const,
      NOTHING,
    ]],
    [],
  ];
  deepStrictEqual(json(MeshDump.policy(policy("shop/p", { rules, dryRun: true }))), {
    name: "p",
    namespace: "shop",
    scope: "Namespace",
    action: "Allow",
    dryRun: true,
    rules: [
      [[{
        principals: [{ Exact: "a" }, { Prefix: "b" }, { Suffix: "c" }, { Presence: [] }],
        serviceAccounts: [{ namespace: "shop", serviceAccount: "web" }],
        sourceIps: ["10.0.0.0/8"],
        notDestinationPorts: [8080],
      }, {}]],
      [],
    ],
  });
});
