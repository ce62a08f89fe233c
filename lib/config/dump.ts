/**
 * The `config` object of the config dump (behaviour.md 14.3). Kiali decodes it with fixed types: a key may be
 * missing, but none may have another JSON type than ztunnel's, and there are no keys of our own.
 * @module
 */
import { Ip, SocketAddress } from "#values";
import type { Config, ConfigAddress, ResolverConfig, RootSource } from "./config.ts";

const DNS_PORT = 53;
/** behaviour.md 1.5. */
const DNS_CACHE_ENTRIES = 4096;

/** Plain JSON data, keys in alphabetical order. Tokens, the local mesh and the values of headers are not in it. */
export function configDump(config: Config): Record<string, unknown> {
  const at = listeners(config);
  return {
    adminAddr: named(adminAddress(config), config),
    altCaHostname: config.altCaHostname ?? null,
    altXdsHostname: config.altXdsHostname ?? null,
    caAddress: config.caAddress ?? null,
    caHeaders: headers(config.caHeaders),
    caRootCert: rootCert(config.caRoot),
    clusterDomain: config.clusterDomain,
    clusterId: config.clusterId,
    connectionWindowSize: config.http2.connectionWindowBytes,
    crlPath: config.crlPath ?? null,
    dnsProxy: config.dnsProxy,
    dnsProxyAddr: named(config.dnsAddress, config),
    dnsResolverCfg: resolverConfig(config.resolver),
    dnsResolverOpts: resolverOptions(config),
    enableEnhancedBaggage: config.responseBaggage,
    fakeCa: config.fakeCa,
    fakeSelfInbound: false,
    frameSize: config.http2.frameBytes,
    illegalPorts: illegalPorts(config),
    inboundAddr: at(config.ports.inbound),
    inboundPlaintextAddr: at(config.ports.inboundPlaintext),
    inpodPortReuse: config.inpodPortReuse,
    inpodUds: config.inpodUds,
    ipv6Enabled: config.ipv6Enabled,
    localNode: config.localNode ?? null,
    localhostAppTunnel: config.localhostAppTunnel,
    network: config.network,
    numWorkerThreads: config.inline ? 0 : config.workerThreads,
    outboundAddr: at(config.ports.outbound),
    packetMark: config.packetMark ?? null,
    poolMaxStreamsPerConn: config.poolStreamsPerConnectionMax,
    poolUnusedReleaseTimeout: duration(config.poolUnusedReleaseMs),
    preferedServiceNamespace: config.preferredServiceNamespace ?? null,
    proxy: config.proxy,
    proxyArgs: config.proxyArgs,
    proxyMetadata: config.proxyMetadata,
    proxyMode: config.proxyMode === "shared" ? "Shared" : "Dedicated",
    proxyWorkloadInformation: config.proxyWorkload ?? null,
    readinessAddr: { SocketAddr: at(config.ports.readiness) },
    requireOriginalSource: config.requireOriginalSource ?? null,
    secretTtl: duration(config.secretTtlMs),
    selfTerminationDeadline: duration(config.drainDeadlineMs),
    socketConfig: socketConfig(config),
    socks5Addr: config.socks5 ? socks5Address(config) : null,
    statsAddr: { SocketAddr: at(config.ports.stats) },
    windowSize: config.http2.streamWindowBytes,
    xdsAddress: config.xdsAddress ?? null,
    xdsHeaders: headers(config.xdsHeaders),
    xdsOnDemand: config.xdsOnDemand,
    xdsRootCert: rootCert(config.xdsRoot),
    ztunnelIdentity: config.ownIdentity ?? null,
    ztunnelWorkload: config.ownWorkload ?? null,
  };
}

/** Where listeners on all addresses are. */
function listeners({ bindAddress, ipv6Enabled }: Config): (port: number) => string {
  const ip = bindAddress ?? Ip.unspecified(ipv6Enabled ? 6 : 4);
  return (port) => SocketAddress.format({ ip, port });
}

function adminAddress({ bindAddress, ports }: Config): ConfigAddress {
  if (bindAddress === undefined) return { kind: "localhost", port: ports.admin };
  return { kind: "address", address: { ip: bindAddress, port: ports.admin } };
}

function socks5Address({ bindAddress, ports }: Config): string {
  return SocketAddress.format({ ip: bindAddress ?? Ip.loopback(4), port: ports.socks5 });
}

function named(address: ConfigAddress, { ipv6LoopbackEnabled }: Config): Record<string, unknown> {
  switch (address.kind) {
    case "localhost":
      return { Localhost: [ipv6LoopbackEnabled, address.port] };
    case "address":
      return { SocketAddr: SocketAddress.format(address.address) };
  }
}

function rootCert(root: RootSource): unknown {
  switch (root.kind) {
    case "file":
      return { File: root.path };
    case "inline":
      return "Static";
    case "system":
      return "Default";
  }
}

/** Only the names: a header is a usual place for a credential. */
function headers(pairs: Config["xdsHeaders"]): unknown {
  return pairs.map(([key]) => [key, "(hidden)"]);
}

function duration(ms: number): Record<string, number> {
  const secs = Math.floor(ms / 1_000);
  return { nanos: Math.floor((ms - secs * 1_000) * 1e6), secs };
}

function illegalPorts({ ports, socks5 }: Config): readonly number[] {
  const { inbound, inboundPlaintext, outbound } = ports;
  return [inbound, inboundPlaintext, outbound, ...(socks5 ? [ports.socks5] : [])];
}

function socketConfig({ keepalive }: Config): Record<string, unknown> {
  return {
    keepaliveEnabled: keepalive.enabled,
    keepaliveInterval: duration(keepalive.intervalMs),
    keepaliveRetries: keepalive.retries,
    keepaliveTime: duration(keepalive.timeMs),
    userTimeoutEnabled: keepalive.userTimeoutEnabled,
  };
}

function resolverConfig({ nameServers, domain, search }: ResolverConfig): Record<string, unknown> {
  const connection = (type: string) => ({ bind_addr: null, port: DNS_PORT, protocol: { type } });
  return {
    domain: domain ?? null,
    name_servers: nameServers.map((ip) => ({
      connections: [connection("udp"), connection("tcp")],
      ip,
      trust_negative_responses: true,
    })),
    search,
  };
}

/** The names of the resolver library that ztunnel uses; what we have no say in has that library's default. */
function resolverOptions({ resolver, ipv6Enabled }: Config): Record<string, unknown> {
  return {
    allow_answers: [],
    attempts: resolver.attempts,
    avoid_local_udp_ports: [],
    cache_size: DNS_CACHE_ENTRIES,
    case_randomization: false,
    deny_answers: [],
    edns0: false,
    edns_payload_len: 1232,
    ip_strategy: ipv6Enabled ? "Ipv4AndIpv6" : "Ipv4Only",
    max_active_requests: 32,
    ndots: resolver.ndots,
    negative_max_ttl: null,
    negative_min_ttl: null,
    num_concurrent_reqs: 2,
    os_port_selection: false,
    positive_max_ttl: null,
    positive_min_ttl: null,
    preserve_intermediates: true,
    recursion_desired: true,
    server_ordering_strategy: "QueryStatistics",
    timeout: Math.floor(resolver.timeoutMs / 1_000),
    trust_anchor: null,
    try_tcp_on_error: false,
    use_hosts_file: "Auto",
  };
}
