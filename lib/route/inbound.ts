import type { MeshView, Service, Workload } from "#mesh";
import { type Failure, type Ip, SocketAddress } from "#values";
import { attribute, servicesOf } from "./attribution.ts";
import type { Authority, InboundAsk, InboundPlan } from "./plan.ts";
import { missingAddress, missingGateway } from "./on_demand.ts";
import { referenceOf, waypointsOf } from "./waypoint.ts";

/**
 * Where a CONNECT is delivered, or why not (behaviour.md 8.3 to 8.6, 8.10). The target's IP is always the one the
 * peer connected to: an authority never makes us dial for somebody else.
 */
export function planInbound(view: MeshView, ask: InboundAsk): InboundPlan {
  const { authority, workload } = ask;
  const missing = missingOwner(view, ask);
  if (missing !== undefined) return { kind: "ask", name: missing };
  const misdirection = misdirected(view, ask);
  if (misdirection !== undefined) return refuse(misdirection);

  const resolved = resolve(view, workload, authority);
  if ("failure" in resolved) return refuse(resolved.failure);
  if (ask.illegalPorts.has(resolved.port)) return refuse({ kind: "self_call" });

  const tunnel = workload.applicationTunnel;
  if (tunnel?.protocol === "PROXY") {
    return unsupported("an application tunnel with PROXY protocol", authority);
  }
  const port = tunnel?.port ?? resolved.port;
  const service = attribute(resolved.candidates, workload, port, ask.forwardedHost);
  const target = { ip: ask.connectedIp, port };
  return service === undefined ? { kind: "deliver", target } : { kind: "deliver", target, service };
}

/** Who has the address of a CONNECT that is not ours, and whether we stand before them: both may have to be fetched. */
function missingOwner(view: MeshView, ask: InboundAsk): string | undefined {
  const { asked, authority, connectedIp, workload, network } = ask;
  if (asked === undefined || authority.kind === "hostname") return undefined;
  const { ip } = authority.address;
  if (ip === connectedIp || workload.applicationTunnel !== undefined) return undefined;
  const missing = missingAddress(view, asked, network, ip);
  if (missing !== undefined) return missing;
  const owner = view.workloadAt(network, ip) ?? view.serviceAt(network, ip);
  if (owner === undefined) return undefined;
  return waypointsOf(owner).map((gateway) => missingGateway(view, asked, gateway))
    .find((name) => name !== undefined);
}

/** behaviour.md 8.3: an address is only taken if it is ours, or ours to stand for. */
function misdirected(view: MeshView, ask: InboundAsk): Failure | undefined {
  const { authority, connectedIp, workload } = ask;
  if (authority.kind === "hostname") return undefined;
  const { ip } = authority.address;
  if (ip === connectedIp || workload.applicationTunnel !== undefined) return undefined;
  if (standsBefore(view, ask, ip)) {
    return {
      kind: "unsupported",
      feature: "a sandwiched waypoint",
      target: SocketAddress.format(authority.address),
    };
  }
  return { kind: "ip_mismatch", connected: connectedIp, authority: ip };
}

/** Whether the local workload is a waypoint of whoever has this address; weighted ones count too (behaviour.md 18.8). */
function standsBefore(view: MeshView, ask: InboundAsk, ip: Ip): boolean {
  const owner = view.workloadAt(ask.network, ip) ?? view.serviceAt(ask.network, ip);
  if (owner === undefined) return false;
  return waypointsOf(owner).some((gateway) => {
    const reference = referenceOf(view, gateway);
    if (reference === undefined) return false;
    return "service" in reference
      ? hasEndpoint(view, reference.service, ask.workload)
      : reference.workload.workloadIps.includes(ask.connectedIp);
  });
}

function hasEndpoint(view: MeshView, service: Service, workload: Workload): boolean {
  for (const endpoint of view.endpointsOf(service)) {
    if (endpoint.workloadUid === workload.uid) return true;
  }
  return false;
}

type Resolved =
  | { readonly port: number; readonly candidates: readonly Service[] }
  | { readonly failure: Failure };

/** behaviour.md 8.4: the port, and the services that may take the credit. */
function resolve(view: MeshView, workload: Workload, authority: Authority): Resolved {
  if (authority.kind === "address") {
    return { port: authority.address.port, candidates: servicesOf(view, workload) };
  }
  const { hostname, port } = authority;
  const service = view.serviceNamed(hostname, workload.namespace);
  if (service === undefined) return { failure: { kind: "no_hostname", hostname } };
  const mapped = workload.services.get(`${service.namespace}/${service.hostname}`)?.get(port);
  const target = mapped ?? service.ports.get(port) ?? 0;
  if (target === 0) return { failure: { kind: "no_port", hostname, port } };
  return { port: target, candidates: [service] };
}

function unsupported(feature: string, authority: Authority): InboundPlan {
  const target = authority.kind === "address"
    ? SocketAddress.format(authority.address)
    : `${authority.hostname}:${authority.port}`;
  return refuse({ kind: "unsupported", feature, target });
}

const refuse = (failure: Failure): InboundPlan => ({ kind: "refuse", failure });
