import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { type OutboundAsk, type OutboundPlan, planOutbound } from "#route";
import { seededRng } from "#system";
import { SocketAddress } from "#values";
import type { MeshView } from "#mesh";
import {
  at,
  CART,
  cartPod,
  cartService,
  gateway,
  identity,
  meshOf,
  namedGateway,
  ports,
  service,
  web,
  workload,
} from "./world.ts";

const ILLEGAL_PORTS = new Set([15_001, 15_006, 15_008]);

function plan(view: MeshView, target: string, ask: Partial<OutboundAsk> = {}): OutboundPlan {
  const asked: OutboundAsk = {
    source: web,
    client: at("10.1.0.5:40000"),
    target: at(target),
    network: "",
    illegalPorts: ILLEGAL_PORTS,
    ...ask,
  };
  return planOutbound(view, asked, seededRng(1));
}

/** One line per plan, so that a table shows decisions side by side. */
function brief(plan: OutboundPlan): string {
  if (plan.kind === "ask") return `ask ${plan.name}`;
  if (plan.kind === "refuse") {
    const { failure } = plan;
    return failure.kind === "unsupported" ? `unsupported: ${failure.feature}` : failure.kind;
  }
  const to = [plan.workload?.name, plan.service?.hostname].filter((name) => name !== undefined);
  const hop = SocketAddress.format(plan.hop);
  const road = plan.kind === "hbone" ? `hbone ${hop} / ${plan.authority}` : `tcp ${hop}`;
  return [road, ...to].join(" ");
}

const HBONE_TO_CART = "hbone 10.1.0.9:15008 / 10.1.0.9:8080 cart-7d";
const TO_CART_SERVICE = `${HBONE_TO_CART} cart.shop.svc.cluster.local`;
const WAYPOINT_FOR_SERVICE = "unsupported: a waypoint for a service";
const WAYPOINT_FOR_WORKLOAD = "unsupported: a waypoint for a workload";
const NETWORK_GATEWAY = "unsupported: a network gateway (double HBONE)";
const waypointPod = workload("waypoint", { ips: ["10.1.0.20"] });
const eastGateway = workload("east-gateway", { ips: ["10.9.9.9"] });
const passthrough = service("pass.example.com", {
  vips: ["10.96.0.30"],
  loadBalancer: { mode: "Passthrough" },
});

const DECISIONS: readonly [string, MeshView, string, string][] = [
  ["an unknown address", meshOf(), "8.8.8.8:53", "tcp 8.8.8.8:53"],
  ["an unknown IPv6 address", meshOf(), "[2001:db8::1]:53", "tcp [2001:db8::1]:53"],
  [
    "a TCP pod",
    meshOf(cartPod({ protocol: "TCP" })),
    "10.1.0.9:8080",
    "tcp 10.1.0.9:8080 cart-7d",
  ],
  ["an HBONE pod", meshOf(cartPod()), "10.1.0.9:8080", HBONE_TO_CART],
  ["an HBONE pod elsewhere", meshOf(cartPod({ node: "x" })), "10.1.0.9:8080", HBONE_TO_CART],
  ["a service", meshOf(cartService(), cartPod()), "10.96.0.20:80", TO_CART_SERVICE],
  [
    "a service with a TCP endpoint",
    meshOf(cartService(), cartPod({ protocol: "TCP" })),
    "10.96.0.20:80",
    "tcp 10.1.0.9:8080 cart-7d cart.shop.svc.cluster.local",
  ],
  ["a service without endpoints", meshOf(cartService()), "10.96.0.20:80", "no_healthy_upstream"],
  [
    "a service whose endpoint is unhealthy",
    meshOf(cartService(), cartPod({ status: "Unhealthy" })),
    "10.96.0.20:80",
    "no_healthy_upstream",
  ],
  [
    "an undefined port of a service",
    meshOf(cartService(), cartPod()),
    "10.96.0.20:81",
    "no_healthy_upstream",
  ],
  [
    "a pod of a service, by its own address",
    meshOf(cartService(), cartPod()),
    "10.1.0.9:1234",
    "hbone 10.1.0.9:15008 / 10.1.0.9:1234 cart-7d",
  ],
  [
    "a service with a waypoint",
    meshOf(cartService({ waypoint: gateway("10.1.0.20") }), cartPod(), waypointPod),
    "10.96.0.20:80",
    WAYPOINT_FOR_SERVICE,
  ],
  [
    "a service with a waypoint that nobody knows",
    meshOf(cartService({ waypoint: gateway("10.1.0.20") }), cartPod()),
    "10.96.0.20:80",
    WAYPOINT_FOR_SERVICE,
  ],
  [
    "a service with a waypoint and no endpoints",
    meshOf(cartService({ waypoint: gateway("10.1.0.20") })),
    "10.96.0.20:80",
    WAYPOINT_FOR_SERVICE,
  ],
  [
    "a service with weighted waypoints",
    meshOf(
      cartService({
        weightedWaypoints: [
          { destination: gateway("10.1.0.20"), weight: 0 },
          { destination: gateway("10.1.0.21"), weight: 1 },
        ],
      }),
      cartPod(),
    ),
    "10.96.0.20:80",
    WAYPOINT_FOR_SERVICE,
  ],
  [
    "a service whose weighted waypoints weigh nothing",
    meshOf(
      cartService({ weightedWaypoints: [{ destination: gateway("10.1.0.20"), weight: 0 }] }),
      cartPod(),
    ),
    "10.96.0.20:80",
    TO_CART_SERVICE,
  ],
  [
    "a service with a single waypoint beside weightless ones",
    meshOf(
      cartService({
        waypoint: gateway("10.1.0.20"),
        weightedWaypoints: [{ destination: gateway("10.1.0.21"), weight: 0 }],
      }),
      cartPod(),
    ),
    "10.96.0.20:80",
    WAYPOINT_FOR_SERVICE,
  ],
  [
    "a pod with a waypoint",
    meshOf(cartPod({ waypoint: gateway("10.1.0.20") }), waypointPod),
    "10.1.0.9:8080",
    WAYPOINT_FOR_WORKLOAD,
  ],
  [
    "a TCP pod with a waypoint",
    meshOf(cartPod({ waypoint: gateway("10.1.0.20"), protocol: "TCP" })),
    "10.1.0.9:8080",
    WAYPOINT_FOR_WORKLOAD,
  ],
  [
    "a service without a waypoint whose pod has one",
    meshOf(cartService(), cartPod({ waypoint: gateway("10.1.0.20") }), waypointPod),
    "10.96.0.20:80",
    TO_CART_SERVICE,
  ],
  ["a passthrough service", meshOf(passthrough), "10.96.0.30:80", "tcp 10.96.0.30:80"],
  [
    "a passthrough service by CIDR",
    meshOf(service("wide.example.com", {
      cidrVips: ["10.97.0.0/16"],
      loadBalancer: { mode: "Passthrough" },
    })),
    "10.97.1.2:443",
    "tcp 10.97.1.2:443",
  ],
  [
    "a passthrough service with a waypoint",
    meshOf({ ...passthrough, waypoint: gateway("10.1.0.20") }, waypointPod),
    "10.96.0.30:80",
    WAYPOINT_FOR_SERVICE,
  ],
  [
    "an endpoint on another network behind a gateway",
    meshOf(
      cartService(),
      cartPod({ network: "west", networkGateway: gateway("10.9.9.9", 15_009) }),
      eastGateway,
    ),
    "10.96.0.20:80",
    NETWORK_GATEWAY,
  ],
  [
    "an endpoint without IP on another network behind a gateway",
    meshOf(
      cartService(),
      cartPod({ ips: [], network: "west", networkGateway: gateway("10.9.9.9", 15_009) }),
    ),
    "10.96.0.20:80",
    NETWORK_GATEWAY,
  ],
  [
    "an endpoint on another network without a gateway",
    meshOf(cartService(), cartPod({ network: "west" })),
    "10.96.0.20:80",
    "no_valid_destination",
  ],
  [
    "an endpoint without any address",
    meshOf(cartService(), cartPod({ ips: [] })),
    "10.96.0.20:80",
    "no_healthy_upstream",
  ],
  [
    "an endpoint with only a hostname",
    meshOf(cartService(), cartPod({ ips: [], hostname: "cart.example.com" })),
    "10.96.0.20:80",
    "unsupported: on-demand DNS",
  ],
  [
    "an endpoint whose IPs the service excludes",
    meshOf(cartService({ ipFamilies: "IPv6" }), cartPod()),
    "10.96.0.20:80",
    "no_valid_destination",
  ],
  [
    "a HostNetwork pod by its address",
    meshOf(cartPod({ networkMode: "HostNetwork" })),
    "10.1.0.9:80",
    "tcp 10.1.0.9:80",
  ],
  [
    "a HostNetwork pod by its service",
    meshOf(cartService(), cartPod({ networkMode: "HostNetwork" })),
    "10.96.0.20:80",
    TO_CART_SERVICE,
  ],
  [
    "a service of another namespace that is visible only there",
    meshOf(service("cart.bank.svc.cluster.local", {
      vips: ["10.96.0.20"],
      visibility: "Namespace",
    })),
    "10.96.0.20:80",
    "tcp 10.96.0.20:80",
  ],
  [
    "an endpoint with its own mapping",
    meshOf(cartService(), cartPod({ services: { [CART]: ports([80, 9090]) } })),
    "10.96.0.20:80",
    "hbone 10.1.0.9:15008 / 10.1.0.9:9090 cart-7d cart.shop.svc.cluster.local",
  ],
  [
    "a named port that the endpoint maps",
    meshOf(
      cartService({ ports: ports([80, 0]) }),
      cartPod({ services: { [CART]: ports([80, 9090]) } }),
    ),
    "10.96.0.20:80",
    "hbone 10.1.0.9:15008 / 10.1.0.9:9090 cart-7d cart.shop.svc.cluster.local",
  ],
  [
    "a named port that nobody maps",
    meshOf(cartService({ ports: ports([80, 0]) }), cartPod()),
    "10.96.0.20:80",
    "no_healthy_upstream",
  ],
  ["our own outbound port on loopback", meshOf(), "127.0.0.1:15001", "self_call"],
  ["our own port on another loopback address", meshOf(), "127.9.9.9:15008", "self_call"],
  ["our own port on IPv6 loopback", meshOf(), "[::1]:15006", "self_call"],
  ["a harmless port on loopback", meshOf(), "127.0.0.1:8080", "tcp 127.0.0.1:8080"],
  [
    "another pod's inbound port",
    meshOf(cartPod({ protocol: "TCP" })),
    "10.1.0.9:15008",
    "tcp 10.1.0.9:15008 cart-7d",
  ],
];

for (const [name, view, target, expected] of DECISIONS) {
  Deno.test(`planOutbound() to ${name}`, () => {
    strictEqual(brief(plan(view, target)), expected);
  });
}

Deno.test("planOutbound() names what it refuses", () => {
  const view = meshOf(cartService({ waypoint: gateway("10.1.0.20") }));
  deepStrictEqual(plan(view, "10.96.0.20:80"), {
    kind: "refuse",
    failure: {
      kind: "unsupported",
      feature: "a waypoint for a service",
      target: "10.96.0.20:80",
    },
  });
  deepStrictEqual(plan(meshOf(cartService()), "10.96.0.20:80"), {
    kind: "refuse",
    failure: { kind: "no_healthy_upstream", target: at("10.96.0.20:80") },
  });
});

Deno.test("planOutbound() prefers a workload to a service of the same address only for the waypoint", () => {
  const shadow = workload("shadow", { ips: ["10.96.0.20"] });
  const view = meshOf(cartService({ waypoint: gateway("10.1.0.20") }), cartPod(), shadow);
  strictEqual(brief(plan(view, "10.96.0.20:80")), TO_CART_SERVICE);
});

Deno.test("planOutbound() says no_service for another network that no service led to", () => {
  const shadow = workload("shadow", { ips: ["10.96.0.20"] });
  const west = cartPod({ network: "west", networkGateway: gateway("10.9.9.9") });
  strictEqual(brief(plan(meshOf(cartService(), west, shadow), "10.96.0.20:80")), "no_service");
});

Deno.test("planOutbound() goes direct when the speaker is the waypoint itself", () => {
  const waypoint = service("waypoint.shop.svc.cluster.local", { vips: ["10.96.0.99"] });
  const pod = workload("waypoint", {
    ips: ["10.1.0.20"],
    services: { "shop/waypoint.shop.svc.cluster.local": ports() },
  });
  const references = [
    gateway("10.1.0.20"),
    gateway("10.96.0.99"),
    namedGateway("shop", "waypoint.shop.svc.cluster.local"),
  ];
  for (const reference of references) {
    const view = meshOf(waypoint, pod, cartPod({ waypoint: reference }));
    const from = (source: typeof pod, client: string) =>
      brief(plan(view, "10.1.0.9:8080", { source, client: at(client) }));
    strictEqual(from(pod, "10.1.0.20:5"), HBONE_TO_CART);
    strictEqual(from(pod, "10.1.0.21:5"), WAYPOINT_FOR_WORKLOAD);
    strictEqual(from({ ...pod, serviceAccount: "web" }, "10.1.0.20:5"), WAYPOINT_FOR_WORKLOAD);
    strictEqual(from(web, "10.1.0.5:5"), WAYPOINT_FOR_WORKLOAD);
  }
});

Deno.test("planOutbound() expects the workload and the service's SPIFFE names, sorted, once each", () => {
  const view = meshOf(
    cartService({
      subjectAltNames: [identity("zebra"), "not-a-spiffe-id", identity("cart"), identity("ant")],
    }),
    cartPod(),
  );
  const expectedOf = (target: string) => {
    const planned = plan(view, target);
    return planned.kind === "hbone" ? planned.expected : undefined;
  };
  deepStrictEqual(expectedOf("10.96.0.20:80"), [
    identity("ant"),
    identity("cart"),
    identity("zebra"),
  ]);
  deepStrictEqual(expectedOf("10.1.0.9:8080"), [identity("cart")]);
});

Deno.test("planOutbound() dials the configured HBONE port", () => {
  const planned = plan(meshOf(cartPod()), "10.1.0.9:8080", { hbonePort: 25_008 });
  strictEqual(brief(planned), "hbone 10.1.0.9:25008 / 10.1.0.9:8080 cart-7d");
});

Deno.test("planOutbound() brackets an IPv6 authority", () => {
  const view = meshOf(cartPod({ ips: ["fd00::9"] }));
  strictEqual(
    brief(plan(view, "[fd00::9]:8080")),
    "hbone [fd00::9]:15008 / [fd00::9]:8080 cart-7d",
  );
});

/** [IPs of the pod, ipFamilies of the service, what was dialled, IP of the hop] */
const FAMILIES: readonly [
  readonly string[],
  "Dual" | "IPv4" | "IPv6" | undefined,
  string,
  string | undefined,
][] = [
  [["10.1.0.9", "fd00::9"], undefined, "10.96.0.20:80", "10.1.0.9"],
  [["10.1.0.9", "fd00::9"], undefined, "[fd00::20]:80", "fd00::9"],
  [["fd00::9", "10.1.0.9"], "Dual", "10.96.0.20:80", "10.1.0.9"],
  [["fd00::9", "10.1.0.9"], "IPv6", "10.96.0.20:80", "fd00::9"],
  [["fd00::9", "10.1.0.9"], "IPv4", "[fd00::20]:80", "10.1.0.9"],
  [["10.1.0.9"], undefined, "[fd00::20]:80", "10.1.0.9"],
  [["fd00::9"], "IPv4", "[fd00::20]:80", undefined],
  [["10.1.0.8", "10.1.0.9"], undefined, "10.1.0.9:80", "10.1.0.9"],
];

for (const [ips, ipFamilies, target, expected] of FAMILIES) {
  Deno.test(`planOutbound() to ${target} picks ${expected} of ${ips} (${ipFamilies})`, () => {
    const families = ipFamilies === undefined ? {} : { ipFamilies };
    const view = meshOf(
      cartService({ vips: ["10.96.0.20", "fd00::20"], ...families }),
      cartPod({ ips }),
    );
    const planned = plan(view, target);
    strictEqual("hop" in planned ? planned.hop.ip : undefined, expected);
  });
}
