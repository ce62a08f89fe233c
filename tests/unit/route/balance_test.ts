import { deepStrictEqual, strictEqual } from "node:assert/strict";
import type { LoadBalancer, RoutingPreference, Workload } from "#mesh";
import { planOutbound } from "#route";
import { seededRng } from "#system";
import { at, CART, cartService, gateway, meshOf, ports, web, workload } from "./world.ts";

const NETWORK_FIRST: readonly RoutingPreference[] = ["Network", "Region", "Zone"];
const source = workload("source", {
  network: "n1",
  locality: { region: "r", zone: "z", subzone: "" },
});

/** An endpoint of cart named after its scopes, `network,region,zone`. */
function endpoint(scopes: string, capacity = 1): Workload {
  const [network = "", region = "", zone = ""] = scopes.split(",");
  return workload(scopes, {
    network,
    locality: { region, zone, subzone: "" },
    capacity,
    ips: [`10.2.0.${++lastOctet}`],
    networkGateway: gateway("10.9.9.9", 15_009),
    services: { [CART]: ports() },
  });
}
let lastOctet = 0;

/** Who got how many of 400 connections; an endpoint of another network shows as "remote". */
function draws(
  endpoints: readonly Workload[],
  loadBalancer?: Partial<LoadBalancer>,
): Record<string, number> {
  const balancer = loadBalancer === undefined ? {} : { loadBalancer };
  const view = meshOf(cartService({ vips: ["n1/10.96.0.20"], ...balancer }), ...endpoints);
  const rng = seededRng(7);
  const counts: Record<string, number> = {};
  for (let i = 0; i < 400; i++) {
    const plan = planOutbound(view, {
      source,
      client: at("10.1.0.5:1"),
      target: at("10.96.0.20:80"),
      network: "n1",
      illegalPorts: new Set(),
    }, rng);
    if (plan.kind === "ask") throw new Error("nothing is on demand here");
    const winner = plan.kind !== "refuse"
      ? plan.workload!.name
      : plan.failure.kind === "unsupported"
      ? "remote"
      : plan.failure.kind;
    counts[winner] = (counts[winner] ?? 0) + 1;
  }
  return counts;
}

const winners = (...args: Parameters<typeof draws>): string[] => Object.keys(draws(...args)).sort();

/** [mode, preferences, endpoints, who is chosen] (behaviour.md C.3) */
const RANKS: readonly [
  LoadBalancer["mode"],
  readonly RoutingPreference[],
  readonly string[],
  readonly string[],
][] = [
  ["Failover", NETWORK_FIRST, ["n1,r,z", "n1,r,other", "n1,other,z", "n2,r,z"], ["n1,r,z"]],
  ["Failover", NETWORK_FIRST, ["n1,r,other", "n1,other,z", "n2,r,z"], ["n1,r,other"]],
  ["Failover", NETWORK_FIRST, ["n1,other,z", "n2,r,z", "n2,other,z"], ["n1,other,z"]],
  ["Failover", NETWORK_FIRST, ["n2,r,z", "n2,other,z"], ["remote"]],
  ["Failover", NETWORK_FIRST, ["n2,other,z"], ["remote"]],
  ["Failover", ["Region", "Zone"], ["n1,r,z", "n2,r,z", "n1,r,x"], ["n1,r,z", "remote"]],
  ["Failover", ["Region", "Zone"], ["n1,a,z", "n1,b,y"], ["n1,a,z", "n1,b,y"]],
  ["Failover", ["Zone", "Region"], ["n1,a,z", "n1,r,y"], ["n1,a,z"]],
  ["Failover", [], ["n1,a,z", "n1,r,y"], ["n1,a,z", "n1,r,y"]],
  ["Strict", NETWORK_FIRST, ["n1,r,z", "n1,r,other", "n2,r,z"], ["n1,r,z"]],
  ["Strict", NETWORK_FIRST, ["n1,r,other", "n1,other,z", "n2,r,z"], ["no_healthy_upstream"]],
  ["Strict", ["Region"], ["n1,r,z", "n1,r,other", "n1,x,z"], ["n1,r,other", "n1,r,z"]],
  ["Standard", NETWORK_FIRST, ["n1,r,z", "n1,x,y"], ["n1,r,z", "n1,x,y"]],
];

for (const [mode, routingPreferences, scopes, expected] of RANKS) {
  Deno.test(`planOutbound() balances ${mode} ${routingPreferences} over ${scopes.join(" ")}`, () => {
    const endpoints = scopes.map((scope) => endpoint(scope));
    deepStrictEqual(winners(endpoints, { mode, routingPreferences }), expected);
  });
}

Deno.test("planOutbound() prefers the remote endpoint of its own region among remote ones", () => {
  // The far one has no gateway, so that choosing it would show as another failure.
  const { networkGateway: _gateway, ...far } = endpoint("n3,other,z");
  const balancer = { mode: "Failover", routingPreferences: NETWORK_FIRST } as const;
  deepStrictEqual(draws([endpoint("n2,r,z"), far], balancer), { remote: 400 });
  deepStrictEqual(draws([far], balancer), { no_valid_destination: 400 });
});

Deno.test("planOutbound() compares node, cluster and subzone as plain text", () => {
  for (const preference of ["Node", "Cluster", "Subzone"] as const) {
    const same = endpoint("n1,r,z");
    const other = {
      ...endpoint("n1,x,y"),
      node: "far",
      clusterId: "far",
      locality: { region: "", zone: "", subzone: "far" },
    };
    const balancer = { mode: "Strict", routingPreferences: [preference] } as const;
    deepStrictEqual(winners([same, other], balancer), ["n1,r,z"]);
  }
});

Deno.test("planOutbound() shares by capacity", () => {
  const counts = draws([endpoint("n1,a,a", 3), endpoint("n1,b,b", 1), endpoint("n1,c,c", 0)]);
  strictEqual(counts["n1,c,c"], undefined);
  const big = counts["n1,a,a"]!;
  strictEqual(big > 260 && big < 340, true, `about 300 of 400, got ${big}`);
  strictEqual(counts["n1,b,b"], 400 - big);
});

Deno.test("planOutbound() finds nobody if all capacities are 0", () => {
  deepStrictEqual(winners([endpoint("n1,a,a", 0), endpoint("n1,b,b", 0)]), ["no_healthy_upstream"]);
});

Deno.test("planOutbound() never hits an endpoint without capacity, even by a draw of 0", () => {
  const view = meshOf(
    cartService(),
    workload("empty", { ips: ["10.1.0.7"], capacity: 0, services: { [CART]: ports() } }),
    workload("full", { ips: ["10.1.0.8"], capacity: 1, services: { [CART]: ports() } }),
  );
  for (const draw of [0, 1 - Number.EPSILON]) {
    const rng = { ...seededRng(1), next: () => draw };
    const ask = {
      source: web,
      client: at("10.1.0.5:1"),
      target: at("10.96.0.20:80"),
      network: "",
      illegalPorts: new Set<number>(),
    };
    const plan = planOutbound(view, ask, rng);
    strictEqual(plan.kind === "hbone" ? plan.workload?.name : plan.kind, "full");
  }
});
