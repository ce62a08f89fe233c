/**
 * From Config to what each room wants to know.
 * @module
 */
import type { Config } from "#config";
import type { Component, InstanceSpec } from "#link";
import type { InstanceOptions } from "#proxy";
import type { KeepaliveOptions, ListenOptions } from "#stream";
import type { Clock } from "#system";
import { Ip, type SocketAddress } from "#values";

/** behaviour.md 7.6; the sizes that have no variable. */
const HTTP2 = {
  clientHeaderListBytesMax: 16 * 1024,
  serverHeaderListBytesMax: 64 * 1024,
  serverConcurrentStreamsMax: 200,
  pingIntervalMs: 10_000,
  pingTimeoutMs: 20_000,
} as const;

/** What a proxy instance is to be. */
export function instanceOptions(
  config: Config,
  spec: InstanceSpec,
  clock: Clock,
): InstanceOptions {
  const keepalive = keepaliveOf(config);
  const mark = markOf(config);
  const { info } = spec;
  const http2 = {
    streamWindowBytes: config.http2.streamWindowBytes,
    connectionWindowBytes: config.http2.connectionWindowBytes,
    frameBytesMax: config.http2.frameBytes,
    explicitWindows: config.http2.explicitStreamWindow,
    pingIntervalMs: HTTP2.pingIntervalMs,
    pingTimeoutMs: HTTP2.pingTimeoutMs,
  };
  return {
    settings: {
      info,
      network: config.network,
      clusterDomain: config.clusterDomain,
      preferredServiceNamespace: config.preferredServiceNamespace,
      searchDomains: config.resolver.search,
      ipv6Enabled: config.ipv6Enabled,
      illegalPorts: new Set([
        config.ports.inbound,
        config.ports.inboundPlaintext,
        config.ports.outbound,
        ...(config.socks5 ? [config.ports.socks5] : []),
      ]),
      responseBaggage: config.responseBaggage,
      from: config.bindAddress,
      policyInfoLogging: config.policyInfoLogging,
      localWorkloadWaitMs: config.localWorkloadWaitMs,
      quiet: {
        halfClosedLingerMs: config.halfClosedLingerMs,
        idleTimeoutMs: config.idleTimeoutMs,
      },
      onDemand: config.xdsOnDemand,
      tunnelServer: {
        clock,
        settings: {
          ...http2,
          headerListBytesMax: HTTP2.serverHeaderListBytesMax,
          concurrentStreamsMax: HTTP2.serverConcurrentStreamsMax,
        },
      },
    },
    listeners: listenersOf(config, spec, mark, keepalive),
    dialer: { ...(spec.kind === "self" ? {} : mark), ...keepalive },
    pool: {
      settings: { ...http2, headerListBytesMax: HTTP2.clientHeaderListBytesMax },
      streamsPerConnectionMax: config.poolStreamsPerConnectionMax,
      idleReleaseMs: config.poolUnusedReleaseMs,
    },
  };
}

/** Where a wildcard listener of ours binds (behaviour.md 2.2). */
export function wildcard(config: Config, port: number): SocketAddress {
  return { ip: config.bindAddress ?? Ip.unspecified(config.ipv6Enabled ? 6 : 4), port };
}

/** Where a listener for this host alone binds: 127.0.0.1, and ::1 where there is one. */
export function hostOnly(config: Config, port: number): SocketAddress[] {
  if (config.bindAddress !== undefined) return [{ ip: config.bindAddress, port }];
  const families = config.ipv6LoopbackEnabled ? [4, 6] as const : [4] as const;
  return families.map((family) => ({ ip: Ip.loopback(family), port }));
}

function listenersOf(
  config: Config,
  spec: InstanceSpec,
  mark: { readonly mark?: number },
  keepalive: { readonly keepalive?: KeepaliveOptions },
): InstanceOptions["listeners"] {
  const { requireOriginalSource, ports } = config;
  const shared = spec.listenerFds ?? {};
  const fdOf = (component: Component) => {
    const fd = shared[component];
    return fd === undefined ? {} : { fd };
  };
  const transparent = requireOriginalSource === undefined
    ? "try"
    : requireOriginalSource
    ? "required"
    : "off";
  // Towards our own servers nobody's address is kept and nothing is redirected (behaviour.md 2.5).
  if (spec.kind === "self") {
    const at = wildcard(config, ports.inbound);
    return { inbound: { ...fdOf("inbound"), at, transparent: "off", redirected: false } };
  }
  // A pod's ports are shared by our threads, and with our successor (behaviour.md 10.11).
  const reusePort = spec.kind === "pod" && config.inpodPortReuse;
  const base = { transparent, reusePort, ...mark } as const;
  const captured = (component: Component, port: number): ListenOptions => ({
    ...base,
    ...keepalive,
    ...fdOf(component),
    at: wildcard(config, port),
    redirected: true,
  });
  return {
    // HTTP/2 PING finds dead peers on 15008, so no keepalive there (behaviour.md 2.4).
    inbound: {
      ...base,
      ...fdOf("inbound"),
      at: wildcard(config, ports.inbound),
      redirected: false,
    },
    plaintext: captured("plaintext", ports.inboundPlaintext),
    outbound: captured("outbound", ports.outbound),
    ...(config.socks5
      ? {
        socks5: {
          ...base,
          ...fdOf("socks5"),
          at: { ip: config.bindAddress ?? Ip.loopback(4), port: ports.socks5 },
          redirected: false,
        },
      }
      : {}),
  };
}

function markOf(config: Config): { readonly mark?: number } {
  return config.packetMark === undefined ? {} : { mark: config.packetMark };
}

function keepaliveOf(config: Config): { readonly keepalive?: KeepaliveOptions } {
  const { enabled, timeMs, intervalMs, retries, userTimeoutEnabled } = config.keepalive;
  if (!enabled && !userTimeoutEnabled) return {};
  const userTimeout = userTimeoutEnabled ? { userTimeoutMs: timeMs + retries * intervalMs } : {};
  return { keepalive: { probes: enabled, idleMs: timeMs, intervalMs, retries, ...userTimeout } };
}
