import { strictEqual } from "node:assert/strict";
import type { MeshView, Workload } from "#mesh";
import { attributeService, type Authority, type InboundPlan, planInbound } from "#route";
import { SocketAddress } from "#values";
import {
  at,
  CART,
  cartPod,
  cartService,
  gateway,
  ip,
  meshOf,
  namedGateway,
  ports,
  service,
  workload,
} from "./world.ts";

function authorityOf(text: string): Authority {
  const address = SocketAddress.parse(text);
  if (address !== undefined) return { kind: "address", address };
  const [hostname, port] = text.split(":");
  return { kind: "hostname", hostname: hostname!, port: Number(port) };
}

function plan(
  view: MeshView,
  local: Workload,
  authority: string,
  forwardedHost?: string,
): InboundPlan {
  return planInbound(view, {
    workload: local,
    connectedIp: local.workloadIps[0]!,
    authority: authorityOf(authority),
    ...(forwardedHost === undefined ? {} : { forwardedHost }),
    network: "",
    illegalPorts: new Set([15_001, 15_006, 15_008]),
  });
}

function brief(plan: InboundPlan): string {
  if (plan.kind === "ask") return `ask ${plan.name}`;
  if (plan.kind === "refuse") {
    const { failure } = plan;
    return failure.kind === "unsupported" ? `unsupported: ${failure.feature}` : failure.kind;
  }
  const target = SocketAddress.format(plan.target);
  return plan.service === undefined ? target : `${target} ${plan.service.hostname}`;
}

const CART_HOST = "cart.shop.svc.cluster.local";
const SANDWICHED = "unsupported: a sandwiched waypoint";
const PROXY = "unsupported: an application tunnel with PROXY protocol";
const WAYPOINT_SERVICE = "shop/waypoint.shop.svc.cluster.local";
const waypointPod = workload("waypoint", {
  ips: ["10.1.0.20"],
  services: { [WAYPOINT_SERVICE]: ports() },
});
const waypointService = service("waypoint.shop.svc.cluster.local", { vips: ["10.96.0.99"] });
const tunnelled = (applicationTunnel: NonNullable<Workload["applicationTunnel"]>) =>
  cartPod({ applicationTunnel });

const DECISIONS: readonly [string, MeshView, Workload, string, string][] = [
  ["its own address", meshOf(), cartPod(), "10.1.0.9:8080", "10.1.0.9:8080"],
  [
    "its own address for a service",
    meshOf(cartService()),
    cartPod(),
    "10.1.0.9:8080",
    `10.1.0.9:8080 ${CART_HOST}`,
  ],
  [
    "a port that no service leads to",
    meshOf(cartService()),
    cartPod(),
    "10.1.0.9:9999",
    "10.1.0.9:9999",
  ],
  ["a foreign address", meshOf(), cartPod(), "10.1.0.7:8080", "ip_mismatch"],
  ["another pod's address", meshOf(waypointPod), cartPod(), "10.1.0.20:8080", "ip_mismatch"],
  ["an IPv6 address where IPv4 was dialled", meshOf(), cartPod(), "[fd00::9]:80", "ip_mismatch"],
  ["loopback", meshOf(), cartPod(), "127.0.0.1:8080", "ip_mismatch"],
  ["our own port", meshOf(), cartPod(), "10.1.0.9:15006", "self_call"],
  [
    "our own port through a tunnel port",
    meshOf(),
    tunnelled({ protocol: "NONE", port: 1 }),
    "10.1.0.9:15008",
    "self_call",
  ],
  ["a hostname", meshOf(cartService()), cartPod(), `${CART_HOST}:80`, `10.1.0.9:8080 ${CART_HOST}`],
  [
    "a hostname with the pod's own mapping",
    meshOf(cartService()),
    cartPod({ services: { [CART]: ports([80, 9090]) } }),
    `${CART_HOST}:80`,
    `10.1.0.9:9090 ${CART_HOST}`,
  ],
  [
    "a named port of a hostname",
    meshOf(cartService({ ports: ports([80, 0]) })),
    cartPod({ services: { [CART]: ports([80, 9090]) } }),
    `${CART_HOST}:80`,
    `10.1.0.9:9090 ${CART_HOST}`,
  ],
  [
    "a named port that the pod does not map",
    meshOf(cartService({ ports: ports([80, 0]) })),
    cartPod(),
    `${CART_HOST}:80`,
    "no_port",
  ],
  [
    "an undefined port of a hostname",
    meshOf(cartService()),
    cartPod(),
    `${CART_HOST}:81`,
    "no_port",
  ],
  ["an unknown hostname", meshOf(cartService()), cartPod(), "nobody.example.com:80", "no_hostname"],
  [
    "a hostname that is visible elsewhere only",
    meshOf(service("priv.bank.svc.cluster.local", { visibility: "Namespace" })),
    cartPod(),
    "priv.bank.svc.cluster.local:80",
    "no_hostname",
  ],
  [
    "a hostname whose target is our own port",
    meshOf(cartService({ ports: ports([80, 15_008]) })),
    cartPod(),
    `${CART_HOST}:80`,
    "self_call",
  ],
  [
    "a tunnel without PROXY",
    meshOf(),
    tunnelled({ protocol: "NONE", port: 9000 }),
    "10.1.0.9:8080",
    "10.1.0.9:9000",
  ],
  [
    "a tunnel without PROXY for a foreign address",
    meshOf(),
    tunnelled({ protocol: "NONE", port: 9000 }),
    "10.96.0.20:80",
    "10.1.0.9:9000",
  ],
  [
    "a tunnel without PROXY and port",
    meshOf(),
    tunnelled({ protocol: "NONE" }),
    "10.1.0.9:8080",
    "10.1.0.9:8080",
  ],
  [
    "a tunnel with PROXY",
    meshOf(),
    tunnelled({ protocol: "PROXY", port: 15_088 }),
    "10.96.0.20:80",
    PROXY,
  ],
  [
    "a tunnel with PROXY and a hostname",
    meshOf(cartService()),
    tunnelled({ protocol: "PROXY", port: 15_088 }),
    `${CART_HOST}:80`,
    PROXY,
  ],
  [
    "a pod whose waypoint it is, by address",
    meshOf(waypointPod, cartPod({ waypoint: gateway("10.1.0.20") })),
    waypointPod,
    "10.1.0.9:8080",
    SANDWICHED,
  ],
  [
    "a pod whose waypoint service it belongs to",
    meshOf(
      waypointPod,
      waypointService,
      cartPod({ waypoint: namedGateway("shop", "waypoint.shop.svc.cluster.local") }),
    ),
    waypointPod,
    "10.1.0.9:8080",
    SANDWICHED,
  ],
  [
    "a service whose waypoint it is",
    meshOf(waypointPod, waypointService, cartService({ waypoint: gateway("10.96.0.99") })),
    waypointPod,
    "10.96.0.20:80",
    SANDWICHED,
  ],
  [
    "a service whose weighted waypoint it is",
    meshOf(
      waypointPod,
      cartService({
        weightedWaypoints: [{ destination: gateway("10.1.0.20"), weight: 1 }],
      }),
    ),
    waypointPod,
    "10.96.0.20:80",
    SANDWICHED,
  ],
  [
    "a pod with somebody else's waypoint",
    meshOf(waypointPod, cartPod({ waypoint: gateway("10.1.0.77") })),
    waypointPod,
    "10.1.0.9:8080",
    "ip_mismatch",
  ],
  [
    "a pod of a service whose waypoint it is",
    meshOf(waypointPod, cartPod(), cartService({ waypoint: gateway("10.1.0.20") })),
    waypointPod,
    "10.1.0.9:8080",
    "ip_mismatch",
  ],
];

for (const [name, view, local, authority, expected] of DECISIONS) {
  Deno.test(`planInbound() to ${name}`, () => {
    strictEqual(brief(plan(view, local, authority)), expected);
  });
}

const other = service("other.shop.svc.cluster.local", { ports: ports([81, 8080]) });
const both = cartPod({
  services: { [CART]: ports([80, 9090]), "shop/other.shop.svc.cluster.local": ports() },
});

/** [destination port, forwarded host, service] */
const ATTRIBUTIONS: readonly [number, string | undefined, string | undefined][] = [
  [8080, undefined, CART_HOST],
  [8080, other.hostname, other.hostname],
  [8080, "unknown.example.com", CART_HOST],
  [9090, undefined, CART_HOST],
  [1234, undefined, undefined],
  [1234, other.hostname, other.hostname],
];

for (const [port, host, expected] of ATTRIBUTIONS) {
  Deno.test(`attributeService() credits ${expected} for port ${port} and host ${host}`, () => {
    const view = meshOf(cartService(), other, both);
    strictEqual(attributeService(view, both, port, host)?.hostname, expected);
    const planned = plan(view, both, `10.1.0.9:${port}`, host);
    strictEqual(planned.kind === "deliver" && planned.service?.hostname, expected);
  });
}

Deno.test("planInbound() reports both addresses of a mismatch", () => {
  const planned = plan(meshOf(), cartPod(), "10.1.0.7:8080");
  strictEqual(planned.kind, "refuse");
  const failure = planned.kind === "refuse" ? planned.failure : undefined;
  strictEqual(failure?.kind === "ip_mismatch" && failure.connected, ip("10.1.0.9"));
  strictEqual(failure?.kind === "ip_mismatch" && failure.authority, at("10.1.0.7:1").ip);
});
