/**
 * Which workload answers for an address, and at which of its IPs (behaviour.md 4.8, 4.9).
 * @module
 */
import type { MeshView, Service, Workload } from "#mesh";
import type { Rng } from "#system";
import { type Failure, Ip, type SocketAddress } from "#values";
import { balance } from "./balance.ts";

export interface Upstream {
  readonly workload: Workload;
  /** Absent for an endpoint that only its network's gateway can reach. */
  readonly ip?: Ip;
  readonly port: number;
  /** The service that was asked for, with the names its endpoints may prove. */
  readonly service?: Service;
}

export type Resolution =
  | { readonly kind: "found"; readonly upstream: Upstream }
  /** Nobody known: an unknown address, a Passthrough service, or a service without a usable endpoint. */
  | { readonly kind: "nothing" }
  | { readonly kind: "failed"; readonly failure: Failure };

/** Service by VIP first, else workload by IP, as `source` sees them. */
export function findUpstream(
  view: MeshView,
  source: Workload,
  target: SocketAddress,
  rng: Rng,
): Resolution {
  const service = view.serviceAt(source.network, target.ip, source.namespace);
  if (service !== undefined) {
    if (service.loadBalancer?.mode === "Passthrough") return { kind: "nothing" };
    const choice = balance(view, source, service, target.port, rng);
    return choice === undefined
      ? { kind: "nothing" }
      : withIp(choice.workload, choice.port, target, service);
  }
  const workload = view.workloadAt(source.network, target.ip);
  return workload === undefined ? { kind: "nothing" } : withIp(workload, target.port, target);
}

function withIp(
  workload: Workload,
  port: number,
  target: SocketAddress,
  service?: Service,
): Resolution {
  const named = service === undefined ? {} : { service };
  const ip = pickIp(workload, target.ip, service);
  if (ip !== undefined) return { kind: "found", upstream: { workload, ip, port, ...named } };
  if (workload.hostname !== "") {
    const failure: Failure = {
      kind: "unsupported",
      feature: "on-demand DNS",
      target: `${workload.hostname}:${port}`,
    };
    return { kind: "failed", failure };
  }
  if (workload.networkGateway !== undefined) {
    return { kind: "found", upstream: { workload, port, ...named } };
  }
  return { kind: "failed", failure: { kind: "no_valid_destination", workload: workload.name } };
}

/** The address that was dialled if the workload has it, else one that the service allows, of the same family if possible. */
function pickIp(workload: Workload, dialled: Ip, service: Service | undefined): Ip | undefined {
  if (workload.workloadIps.includes(dialled)) return dialled;
  const allowed = workload.workloadIps.filter((ip) => allowsFamily(service, Ip.family(ip)));
  return allowed.find((ip) => Ip.family(ip) === Ip.family(dialled)) ?? allowed[0];
}

function allowsFamily(service: Service | undefined, family: 4 | 6): boolean {
  switch (service?.ipFamilies) {
    case "IPv4":
      return family === 4;
    case "IPv6":
      return family === 6;
    case "Dual":
    case undefined:
      return true;
  }
}
