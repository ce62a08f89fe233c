/**
 * The three servers for people and tools, with what they may ask.
 * @module
 */
import {
  type HttpServer,
  type HttpServerOptions,
  type ListenAddress,
  type Readiness,
  startAdminServer,
  startReadinessServer,
  startStatsServer,
} from "#admin";
import { type Config, configDump } from "#config";
import type { DataReport } from "#link";
import { acceptKeeper, OwnProcess } from "#linux";
import type { LogHub } from "#log";
import { MeshDump } from "#mesh";
import type { Metrics } from "#metrics";
import type { Clock } from "#system";
import type { SocketAddress } from "#values";
import type { Control } from "./control.ts";
import type { DataThreads } from "./data_threads.ts";
import { versionFields } from "./process_facts.ts";
import type { Pods } from "./pods.ts";
import { hostOnly, wildcard } from "./settings.ts";
import type { Shutdown } from "./shutdown.ts";

export interface ServerParts {
  readonly clock: Clock;
  readonly hub: LogHub;
  readonly readiness: Readiness;
  readonly metrics: Metrics;
  readonly control: Control;
  readonly threads: DataThreads;
  /** Absent in dedicated mode. */
  readonly pods: Pods | undefined;
  readonly shutdown: Shutdown;
}

/** Readiness first, so that a probe is answered while the rest starts. Throws an Error that names a busy address. */
export async function startServers(
  config: Config,
  parts: ServerParts,
): Promise<{ drain(): Promise<void> }> {
  const servers: HttpServer[] = [];
  const drain = async () => void await Promise.all(servers.map((server) => server.drain()));
  const { ports } = config;
  const keepAccepting = acceptKeeper(parts.clock);
  const options = (component: string, at: readonly SocketAddress[]): HttpServerOptions => ({
    component,
    listen: at.map(({ ip, port }): ListenAddress => ({ hostname: ip, port })),
    clock: parts.clock,
    log: parts.hub.scope(`ztunnel::${component}`),
    keepAccepting,
  });
  try {
    const readiness = options("readiness", [wildcard(config, ports.readiness)]);
    servers.push(await startReadinessServer({ ...readiness, readiness: parts.readiness }));
    const stats = options("stats", [wildcard(config, ports.stats)]);
    servers.push(await startStatsServer({ ...stats, metrics: parts.metrics }));
    const admin = options("admin", hostOnly(config, ports.admin));
    servers.push(await startAdminServer({ ...admin, sources: adminSources(config, parts) }));
  } catch (error) {
    await drain();
    throw error;
  }
  return { drain };
}

function adminSources(config: Config, { hub, control, threads, pods, shutdown }: ServerParts) {
  return {
    logHub: hub,
    mesh: control.mesh.view,
    configDump: () => configDump(config),
    version: () => versionFields(config),
    certificates: () => control.certificates(),
    report: () => reportOf(threads, pods),
    xds: () => control.xds(),
    dumped: (recordsCount: number) => control.dumped(recordsCount),
    turn: OwnProcess.othersTurn,
    quit: () => shutdown.request("/quitquitquit"),
    staticConfig: () => Promise.resolve(staticConfig(control)),
  };
}

async function reportOf(
  threads: DataThreads,
  pods: Pods | undefined,
): Promise<DataReport & { readonly workloadState?: unknown }> {
  const instances = await threads.report();
  return {
    ...(pods === undefined ? {} : { workloadState: pods.state(instances) }),
    connections: {
      inbound: instances.flatMap(({ connections }) => connections.inbound),
      outbound: instances.flatMap(({ connections }) => connections.outbound),
    },
    tunnels: instances.flatMap(({ tunnels }) => tunnels),
    floods: instances.flatMap(({ floods }) => floods),
  };
}

/** The local source as it is in force; endpoints are the workloads' in it, as in the file. */
function staticConfig(control: Control): unknown {
  const { local } = control;
  return {
    workloads: (local?.workloads ?? []).map((each) => ({
      ...MeshDump.workload(each),
      // As in the file, and as ztunnel: here with their ports.
      services: Object.fromEntries(
        [...each.services].map(([service, ports]) => [service, Object.fromEntries(ports)]),
      ),
    })),
    policies: (local?.policies ?? []).map((each) => MeshDump.policy(each)),
    services: (local?.services ?? []).map((each) => MeshDump.service(each, [])),
  };
}
