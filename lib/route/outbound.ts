import { identityOf, type MeshView, type Service } from "#mesh";
import type { Rng } from "#system";
import { type Failure, Ip, SocketAddress, SpiffeId } from "#values";
import type { OutboundAsk, OutboundPlan } from "./plan.ts";
import { missingAddress, missingGateway } from "./on_demand.ts";
import { findUpstream, type Upstream } from "./upstream.ts";
import { hasWaypoint, isWaypointOf } from "./waypoint.ts";

const HBONE_PORT = 15_008;

/**
 * Where the local workload's connection goes (behaviour.md 6.2, 6.4; the letters are its branches). What needs a
 * waypoint, a gateway or on-demand DNS is refused as `unsupported`: sending it anywhere else would slip past policy.
 */
export function planOutbound(view: MeshView, ask: OutboundAsk, rng: Rng): OutboundPlan {
  const { source, target } = ask;
  if (Ip.isLoopback(target.ip) && ask.illegalPorts.has(target.port)) {
    return refuse({ kind: "self_call" });
  }

  const missing = missingTarget(view, ask);
  if (missing !== undefined) return { kind: "ask", name: missing };

  const addressed = addressedService(view, ask); // A
  if (addressed !== undefined && hasWaypoint(addressed)) {
    return unsupported("a waypoint for a service", target);
  }

  const resolution = findUpstream(view, source, target, rng); // B
  if (resolution.kind === "failed") return refuse(resolution.failure);
  if (resolution.kind === "nothing") {
    const isPassthrough = addressed === undefined || addressed.loadBalancer?.mode === "Passthrough";
    return isPassthrough
      ? { kind: "tcp", hop: target }
      : refuse({ kind: "no_healthy_upstream", target });
  }

  const { upstream } = resolution;
  if (upstream.workload.network !== source.network) { // C
    return refuse(gatewayFailure(upstream, addressed, target));
  }
  const waypoint = addressed === undefined ? upstream.workload.waypoint : undefined; // E
  const unknown = waypoint && missingGateway(view, ask.asked, waypoint);
  if (unknown !== undefined) return { kind: "ask", name: unknown };
  if (waypoint !== undefined && !isWaypointOf(view, waypoint, source, ask.client.ip)) {
    return unsupported("a waypoint for a workload", target);
  }
  return direct(upstream, ask.hbonePort ?? HBONE_PORT); // F
}

/** Both look-ups of the target, A's on the configured network and B's on the speaker's, which are normally one. */
function missingTarget(view: MeshView, ask: OutboundAsk): string | undefined {
  const { asked, network, source, target } = ask;
  return missingAddress(view, asked, network, target.ip, source.namespace) ??
    missingAddress(view, asked, source.network, target.ip, source.namespace);
}

/** The service behind the address; a workload of that very address comes first, and is no service traffic. */
function addressedService(view: MeshView, ask: OutboundAsk): Service | undefined {
  const { network, source, target } = ask;
  if (view.workloadAt(network, target.ip) !== undefined) return undefined;
  return view.serviceAt(network, target.ip, source.namespace);
}

/** D, as far as it goes: why an endpoint on another network cannot be reached. */
function gatewayFailure(
  upstream: Upstream,
  addressed: Service | undefined,
  target: SocketAddress,
): Failure {
  if (addressed === undefined) return { kind: "no_service", target };
  if (upstream.workload.networkGateway === undefined) {
    return { kind: "no_valid_destination", workload: upstream.workload.name };
  }
  return {
    kind: "unsupported",
    feature: "a network gateway (double HBONE)",
    target: SocketAddress.format(target),
  };
}

function direct(upstream: Upstream, hbonePort: number): OutboundPlan {
  const { workload, ip, port, service } = upstream;
  if (ip === undefined) return refuse({ kind: "no_valid_destination", workload: workload.name });
  const application = { ip, port };
  const destination = service === undefined ? { workload } : { workload, service };
  if (workload.protocol === "TCP") return { kind: "tcp", hop: application, ...destination };
  return {
    kind: "hbone",
    hop: { ip, port: hbonePort },
    authority: SocketAddress.format(application),
    expected: expectedIdentities(upstream),
    ...destination,
  };
}

/** Sorted and without repetition, since the list is part of a tunnel's key. SANs that are no SPIFFE id prove nothing here. */
function expectedIdentities({ workload, service }: Upstream): readonly SpiffeId[] {
  const identities = new Set([identityOf(workload)]);
  for (const name of service?.subjectAltNames ?? []) {
    const identity = SpiffeId.parse(name);
    if (identity !== undefined) identities.add(identity);
  }
  return [...identities].sort();
}

function unsupported(feature: string, target: SocketAddress): OutboundPlan {
  return refuse({ kind: "unsupported", feature, target: SocketAddress.format(target) });
}

const refuse = (failure: Failure): OutboundPlan => ({ kind: "refuse", failure });
