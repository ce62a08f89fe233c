/** What is asked for before a decision is made, where addresses are fetched on demand (behaviour.md 3.8). */
import { deepStrictEqual } from "node:assert/strict";
import type { MeshView } from "#mesh";
import { planInbound, planOutbound } from "#route";
import { seededRng } from "#system";
import {
  at,
  cartPod,
  cartService,
  gateway,
  ip,
  meshOf,
  namedGateway,
  web,
  workload,
} from "./world.ts";

/** What is asked for, one question after another, until it is decided; then the decision's kind. */
function outbound(view: MeshView, target: string, network = "", source = web): string[] {
  const asked = new Set<string>();
  const steps: string[] = [];
  for (;;) {
    const client = at("10.1.0.5:1");
    const ask = { source, client, target: at(target), network, illegalPorts: new Set<number>() };
    const plan = planOutbound(view, { ...ask, asked }, seededRng(1));
    if (plan.kind !== "ask") return [...steps, plan.kind];
    steps.push(plan.name);
    asked.add(plan.name);
  }
}

Deno.test("3.8: an unknown address is asked for once, then it is unknown", () => {
  deepStrictEqual(outbound(meshOf(), "8.8.8.8:53"), ["/8.8.8.8", "tcp"]);
  deepStrictEqual(outbound(meshOf(), "[fd00::1]:53"), ["/fd00::1", "tcp"]);
});

Deno.test("3.8: what is known is not asked for, a VIP, a workload's address, an empty service", () => {
  const view = meshOf(cartService(), cartPod());
  deepStrictEqual(outbound(view, "10.96.0.20:80"), ["hbone"]);
  deepStrictEqual(outbound(view, "10.1.0.9:80"), ["hbone"]);
  deepStrictEqual(outbound(meshOf(cartService()), "10.96.0.20:80"), ["refuse"]);
});

Deno.test("3.8: the target is asked for on the configured network, and on the speaker's if that is another", () => {
  const source = { ...web, network: "east" };
  deepStrictEqual(outbound(meshOf(), "8.8.8.8:53", "west", source), [
    "west/8.8.8.8",
    "east/8.8.8.8",
    "tcp",
  ]);
});

Deno.test("3.8: a waypoint of the target is asked for by its address or its name", () => {
  const behind = (waypoint: ReturnType<typeof gateway>) => meshOf(cartPod({ waypoint }));
  deepStrictEqual(outbound(behind(gateway("10.1.0.77")), "10.1.0.9:80"), ["/10.1.0.77", "refuse"]);
  deepStrictEqual(outbound(behind(namedGateway("shop", "wp.shop")), "10.1.0.9:80"), [
    "shop/wp.shop",
    "refuse",
  ]);
});

Deno.test("3.8: without on-demand mode nothing is ever asked for", () => {
  const client = at("10.1.0.5:1");
  const target = at("8.8.8.8:53");
  const ask = { source: web, client, target, network: "", illegalPorts: new Set<number>() };
  deepStrictEqual(planOutbound(meshOf(), ask, seededRng(1)).kind, "tcp");
});

Deno.test("3.8: an inbound CONNECT for another's address asks who has it and who stands before that", () => {
  const inbound = (view: MeshView, address: string): string[] => {
    const asked = new Set<string>();
    const steps: string[] = [];
    for (;;) {
      const plan = planInbound(view, {
        workload: workload("waypoint", { ips: ["10.1.0.20"] }),
        connectedIp: ip("10.1.0.20"),
        authority: { kind: "address", address: at(address) },
        network: "",
        illegalPorts: new Set(),
        asked,
      });
      if (plan.kind !== "ask") return [...steps, plan.kind];
      steps.push(plan.name);
      asked.add(plan.name);
    }
  };
  deepStrictEqual(inbound(meshOf(), "10.1.0.20:80"), ["deliver"]);
  deepStrictEqual(inbound(meshOf(), "10.1.0.9:80"), ["/10.1.0.9", "refuse"]);
  const view = meshOf(cartPod({ waypoint: namedGateway("shop", "wp.shop") }));
  deepStrictEqual(inbound(view, "10.1.0.9:80"), ["shop/wp.shop", "refuse"]);
});
