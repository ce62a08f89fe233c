/**
 * What `dev` starts, derived from the mesh's YAML: a proxy per meshed workload, a demo service per target port.
 * @module
 */
import type { Policy, Service, Workload } from "#mesh";
import { Ip, SocketAddress } from "#values";

export interface DevProxy {
  readonly workload: Workload;
  readonly ip: Ip;
}

export interface DevDemo {
  readonly name: string;
  readonly address: SocketAddress;
}

export interface DevPlan {
  readonly proxies: readonly DevProxy[];
  readonly demos: readonly DevDemo[];
  readonly services: readonly Service[];
  readonly policies: readonly Policy[];
}

/** More would be no laptop any more, and each proxy is a process. */
export const DEV_PROXIES_MAX = 8;

/** Throws an Error that says what the YAML must have for `dev`. */
export function planDev(
  mesh: {
    readonly workloads: readonly Workload[];
    readonly services: readonly Service[];
    readonly policies: readonly Policy[];
  },
): DevPlan {
  const proxies = mesh.workloads.filter((workload) => workload.protocol === "HBONE").map(
    (workload) => ({ workload, ip: loopbackOf(workload) }),
  );
  if (proxies.length === 0) throw new Error("no workload has `protocol: HBONE`: no proxy to start");
  if (proxies.length > DEV_PROXIES_MAX) {
    throw new Error(`${proxies.length} meshed workloads: dev starts at most ${DEV_PROXIES_MAX}`);
  }
  const shared = proxies.find((proxy, index) =>
    proxies.findIndex((other) => other.ip === proxy.ip) !== index
  );
  if (shared !== undefined) {
    throw new Error(`workload "${shared.workload.name}": another one has ${shared.ip} already`);
  }
  return {
    proxies,
    demos: mesh.workloads.filter(isOnLoopback).flatMap(demosOf),
    services: mesh.services,
    policies: mesh.policies,
  };
}

function loopbackOf(workload: Workload): Ip {
  const ip = workload.workloadIps[0];
  if (ip === undefined || !Ip.isLoopback(ip)) {
    throw new Error(
      `workload "${workload.name}": dev needs a loopback address first in workloadIps (127.0.1.1, say)`,
    );
  }
  return ip;
}

function isOnLoopback({ workloadIps: [ip] }: Workload): boolean {
  return ip !== undefined && Ip.isLoopback(ip);
}

/** One HTTP service per target port, on the first address; several services on one port share it. */
export function demosOf(workload: Workload): DevDemo[] {
  const ip = workload.workloadIps[0];
  if (ip === undefined) return [];
  const names = new Map<number, string>();
  for (const [key, ports] of workload.services) {
    for (const port of ports.values()) {
      const name = key.slice(key.indexOf("/") + 1).split(".")[0]!;
      if (port > 0 && !names.has(port)) names.set(port, name);
    }
  }
  return Array.from(names, ([port, name]) => ({ name, address: { ip, port } }));
}

/** A proxy that speaks for others: one that serves nothing itself, else the first. */
export function clientOf(plan: DevPlan): DevProxy {
  return plan.proxies.find((proxy) => proxy.workload.services.size === 0) ?? plan.proxies[0]!;
}

/** What to paste; which of the services a policy refuses is for the reader to find out, the YAML says it. */
export function commandsOf(plan: DevPlan): readonly string[] {
  const client = clientOf(plan);
  return plan.services.filter((service) => service.vips.length > 0).map((service) => {
    const port = [...service.ports.keys()][0] ?? 80;
    const host = port === 80 ? service.hostname : `${service.hostname}:${port}`;
    return `curl --socks5-hostname ${client.ip}:15080 http://${host}/`;
  });
}

/** What a changed YAML means for what runs: the demo services to start and to stop, and what needs a restart. */
export function compareDemos(
  before: readonly DevDemo[],
  after: readonly DevDemo[],
): { readonly gone: readonly DevDemo[]; readonly come: readonly DevDemo[] } {
  const has = (demos: readonly DevDemo[], demo: DevDemo) =>
    demos.some((other) =>
      other.name === demo.name && SocketAddress.equal(other.address, demo.address)
    );
  return {
    gone: before.filter((demo) => !has(after, demo)),
    come: after.filter((demo) => !has(before, demo)),
  };
}
