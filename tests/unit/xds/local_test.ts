import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { EXAMPLE } from "./example.ts";
import { meshOf, wrongWith } from "./support.ts";

const NO_MATCH = {
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

Deno.test("loadLocal() reads every field of a workload", () => {
  deepStrictEqual(meshOf(EXAMPLE).workloads, [{
    uid: "cluster-a//v1/Pod/shop/cart-7d4f",
    name: "cart-7d4f",
    namespace: "shop",
    serviceAccount: "cart",
    trustDomain: "cluster.local",
    workloadIps: ["10.20.1.7", "fd00::7"],
    network: "east",
    hostname: "",
    node: "worker-1",
    protocol: "HBONE",
    networkMode: "Standard",
    nativeTunnel: false,
    applicationTunnel: { protocol: "PROXY", port: 15088 },
    waypoint: {
      destination: { kind: "address", network: "east", ip: "10.20.9.9" },
      hboneMtlsPort: 15008,
    },
    networkGateway: {
      destination: { kind: "hostname", namespace: "infra", hostname: "ew.example.org" },
      hboneMtlsPort: 15009,
    },
    workloadName: "cart",
    workloadType: "deployment",
    canonicalName: "cart",
    canonicalRevision: "v3",
    clusterId: "cluster-a",
    locality: { region: "eu", zone: "eu-1", subzone: "rack4" },
    authorizationPolicies: ["shop/only-frontend"],
    status: "Healthy",
    capacity: 1,
    services: new Map([["shop/cart.shop.svc.cluster.local", new Map([[80, 8080]])]]),
  }]);
});

Deno.test("loadLocal() reads every field of a service", () => {
  deepStrictEqual(meshOf(EXAMPLE).services, [{
    name: "cart",
    namespace: "shop",
    hostname: "cart.shop.svc.cluster.local",
    vips: [{ network: "east", ip: "10.96.0.20" }],
    cidrVips: [{ network: "east", cidr: { base: "10.97.0.0", prefixLength: 24 } }],
    ports: new Map([[80, 0], [443, 8443]]),
    subjectAltNames: ["spiffe://cluster.local/ns/shop/sa/cart"],
    waypoint: {
      destination: {
        kind: "hostname",
        namespace: "shop",
        hostname: "waypoint.shop.svc.cluster.local",
      },
      hboneMtlsPort: 15008,
    },
    weightedWaypoints: [{
      destination: {
        destination: { kind: "address", network: "east", ip: "10.20.9.9" },
        hboneMtlsPort: 15008,
      },
      weight: 90,
    }],
    loadBalancer: {
      mode: "Failover",
      routingPreferences: ["Network", "Region", "Zone"],
      healthPolicy: "OnlyHealthy",
    },
    ipFamilies: "Dual",
    canonical: true,
    visibility: "Public",
  }]);
});

Deno.test("loadLocal() reads every field of a policy", () => {
  deepStrictEqual(meshOf(EXAMPLE).policies, [{
    key: "shop/only-frontend",
    name: "only-frontend",
    namespace: "shop",
    scope: "WorkloadSelector",
    action: "Allow",
    dryRun: false,
    rules: [[
      [{
        ...NO_MATCH,
        principals: [{ kind: "Exact", value: "cluster.local/ns/web/sa/frontend" }],
        notNamespaces: [{ kind: "Prefix", value: "test-" }],
      }],
      [{
        ...NO_MATCH,
        destinationPorts: [8080],
        sourceIps: [{ base: "10.20.0.0", prefixLength: 16 }],
      }],
    ]],
  }]);
});

Deno.test("loadLocal() fills in the defaults", () => {
  const { workloads: [workload], services: [service], policies: [policy] } = meshOf(`
workloads: [{ namespace: shop, workloadIps: [] }]
services: [{ name: a, namespace: shop, hostname: a.org, vips: ["/10.96.0.20"], ports: {} }]
policies: [{ name: p, namespace: shop, scope: Global, action: Deny, rules: [] }]
`);
  deepStrictEqual(workload, {
    uid: "",
    name: "",
    namespace: "shop",
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
    workloadType: "",
    canonicalName: "",
    canonicalRevision: "",
    clusterId: "",
    locality: { region: "", zone: "", subzone: "" },
    authorizationPolicies: [],
    status: "Healthy",
    capacity: 1,
    services: new Map(),
  });
  deepStrictEqual(service, {
    name: "a",
    namespace: "shop",
    hostname: "a.org",
    vips: [{ network: "", ip: "10.96.0.20" }],
    cidrVips: [],
    ports: new Map(),
    subjectAltNames: [],
    weightedWaypoints: [],
    canonical: false,
    visibility: "Public",
  });
  deepStrictEqual(policy, {
    key: "shop/p",
    name: "p",
    namespace: "shop",
    scope: "Global",
    action: "Deny",
    dryRun: false,
    rules: [],
  });
});

for (
  const text of [
    "",
    "\n\n",
    "# nothing\n",
    "---\n",
    "null",
    "{}",
    "workloads:\nservices:\n",
    "\uFEFF",
  ]
) {
  Deno.test(`loadLocal() takes ${JSON.stringify(text)} for an empty mesh`, () => {
    deepStrictEqual(meshOf(text), { workloads: [], services: [], policies: [] });
  });
}

const matching = (match: string) =>
  `policies: [{ name: p, namespace: n, scope: Global, action: Deny, rules: [[[${match}]]] }]`;

for (
  const [written, expected] of [
    ["!Exact a", { kind: "Exact", value: "a" }],
    ["{ Exact: a }", { kind: "Exact", value: "a" }],
    ['!Prefix "a b"', { kind: "Prefix", value: "a b" }],
    ["{ Prefix: a }", { kind: "Prefix", value: "a" }],
    ["!Suffix a", { kind: "Suffix", value: "a" }],
    ["{ Suffix: 1.10 }", { kind: "Suffix", value: "1.10" }],
    ["!Presence []", { kind: "Presence" }],
    ["{ Presence: [] }", { kind: "Presence" }],
    ["{ Presence: }", { kind: "Presence" }],
  ] as const
) {
  Deno.test(`loadLocal() reads ${written} as a string match`, () => {
    const { policies } = meshOf(matching(`{ principals: [${written}] }`));
    deepStrictEqual(policies[0]?.rules[0]?.[0]?.[0]?.principals, [expected]);
  });
}

Deno.test("loadLocal() reads every field of a match", () => {
  const fields = Object.keys(NO_MATCH);
  const valueOf = (field: string) =>
    /Ports/i.test(field)
      ? "1"
      : /Ips/.test(field)
      ? "10.0.0.9/8"
      : /Accounts/.test(field)
      ? "{ namespace: n, serviceAccount: a }"
      : "!Exact a";
  const { policies } = meshOf(
    matching(`{ ${fields.map((field) => `${field}: [${valueOf(field)}]`).join(", ")} }`),
  );
  const match = policies[0]!.rules[0]![0]![0]!;
  for (const field of fields) strictEqual(match[field as keyof typeof match].length, 1, field);
  deepStrictEqual(match.notSourceIps, [{ base: "10.0.0.9", prefixLength: 8 }]);
  deepStrictEqual(match.serviceAccounts, [{ namespace: "n", serviceAccount: "a" }]);
});

Deno.test("loadLocal() keeps the spelling of text that looks like a number", () => {
  const { workloads } = meshOf(
    "workloads: [{ namespace: 1e3, workloadIps: [], canonicalRevision: 1.10, name: yes, node: true }]",
  );
  const { namespace, canonicalRevision, name, node } = workloads[0]!;
  deepStrictEqual([namespace, canonicalRevision, name, node], ["1e3", "1.10", "yes", "true"]);
});

Deno.test("loadLocal() follows anchors and aliases", () => {
  const { workloads } = meshOf(`
workloads:
- { uid: a, namespace: shop, workloadIps: [], locality: &here { region: r, zone: z, subzone: "" } }
- { uid: b, namespace: shop, workloadIps: [], locality: *here }
`);
  deepStrictEqual(workloads[1]?.locality, { region: "r", zone: "z", subzone: "" });
});

Deno.test("loadLocal() has no port for an application tunnel of port 0 or null", () => {
  const { workloads } = meshOf(`
workloads:
- { uid: a, namespace: shop, workloadIps: [], applicationTunnel: { protocol: PROXY, port: 0 } }
- { uid: b, namespace: shop, workloadIps: [], applicationTunnel: { protocol: NONE, port: null } }
`);
  deepStrictEqual(workloads.map((each) => each.applicationTunnel), [
    { protocol: "PROXY" },
    { protocol: "NONE" },
  ]);
});

const withEndpoint = (endpoint: string) =>
  `\
workloads:
- { uid: a, namespace: shop, workloadIps: [], services: { shop/one.org: { 80: 8080 } } }
services:
- name: one
  namespace: shop
  hostname: one.org
  vips: []
  ports: { 80: 80 }
- name: two
  namespace: shop
  hostname: two.org
  vips: []
  ports: { 80: 80 }
  endpoints: ${endpoint}
`;

Deno.test("loadLocal() takes endpoints of a service for shares of their workloads", () => {
  const { workloads } = meshOf(
    withEndpoint("{ a: { workloadUid: a, port: { 80: 9090 }, status: Healthy } }"),
  );
  deepStrictEqual(
    workloads[0]?.services,
    new Map([["shop/one.org", new Map([[80, 8080]])], ["shop/two.org", new Map([[80, 9090]])]]),
  );
});

for (
  const [endpoint, message] of [
    [
      "{ b: { port: { 80: 1 } } }",
      "Cannot have an endpoint without its workload: no workload has that uid",
    ],
    ["{ a: { port: {}, status: Unhealthy } }", "Cannot be Unhealthy: its workload is Healthy"],
  ] as const
) {
  Deno.test(`loadLocal() refuses the endpoint ${endpoint}`, () => {
    const uid = endpoint[2];
    deepStrictEqual(wrongWith(withEndpoint(endpoint)), [
      `mesh.yaml:14:19: services[1].endpoints.${uid}: ${message}`,
    ]);
  });
}
