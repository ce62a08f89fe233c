import type { BuildInfo } from "./build.ts";
import type { Ip, SocketAddress, SpiffeId } from "#values";

/** Where roots of the control plane come from (behaviour.md 1.2). */
export type RootSource =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "system" }
  | { readonly kind: "inline"; readonly pem: string };

export type LocalSource =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "inline"; readonly text: string };

export interface WorkloadNames {
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

/** A listener's address; `localhost` is 127.0.0.1, and ::1 where the node has it. */
export type ConfigAddress =
  | { readonly kind: "localhost"; readonly port: number }
  | { readonly kind: "address"; readonly address: SocketAddress };

/** What ztunnel's own resolv.conf says (behaviour.md 1.5). */
export interface ResolverConfig {
  readonly nameServers: readonly Ip[];
  readonly domain: string | undefined;
  readonly search: readonly string[];
  readonly ndots: number;
  readonly attempts: number;
  readonly timeoutMs: number;
}

/** All settings, parsed, checked and frozen. Names are those of the config dump where it has them (behaviour.md 14.3). */
export interface Config {
  readonly proxy: boolean;
  readonly dnsProxy: boolean;
  readonly proxyMode: "shared" | "dedicated";
  readonly proxyWorkload: WorkloadNames | undefined;
  /** Ours, ZTUNNEL_BIND_ADDRESS: every listener binds it and every dial leaves from it. */
  readonly bindAddress: Ip | undefined;
  readonly xdsAddress: string | undefined;
  readonly caAddress: string | undefined;
  readonly xdsRoot: RootSource;
  readonly caRoot: RootSource;
  readonly altXdsHostname: string | undefined;
  readonly altCaHostname: string | undefined;
  readonly authToken: { readonly kind: "file" | "literal"; readonly value: string } | undefined;
  readonly xdsHeaders: readonly (readonly [string, string])[];
  readonly caHeaders: readonly (readonly [string, string])[];
  readonly xdsOnDemand: boolean;
  readonly localSource: LocalSource | undefined;
  readonly clusterId: string;
  readonly clusterDomain: string;
  readonly network: string;
  readonly localNode: string | undefined;
  /** POD_NAME, POD_NAMESPACE, SERVICE_ACCOUNT, when all are set. */
  readonly ownWorkload: WorkloadNames | undefined;
  readonly ownIdentity: SpiffeId | undefined;
  /** For the xDS node, each by itself (behaviour.md 3.2). */
  readonly podName: string | undefined;
  readonly podNamespace: string | undefined;
  readonly instanceIp: string | undefined;
  readonly preferredServiceNamespace: string | undefined;
  readonly secretTtlMs: number;
  readonly fakeCa: boolean;
  readonly crlPath: string | undefined;
  readonly tls12Enabled: boolean;
  readonly packetMark: number | undefined;
  /** true required, false off, undefined = where the socket option can be set. */
  readonly requireOriginalSource: boolean | undefined;
  readonly localhostAppTunnel: boolean;
  readonly responseBaggage: boolean;
  readonly ipv6Enabled: boolean;
  /** Whether listeners on localhost take ::1 too: IPV6_ENABLED, and the loopback device has it. */
  readonly ipv6LoopbackEnabled: boolean;
  readonly keepalive: {
    readonly enabled: boolean;
    readonly timeMs: number;
    readonly intervalMs: number;
    readonly retries: number;
    readonly userTimeoutEnabled: boolean;
  };
  readonly http2: {
    readonly streamWindowBytes: number;
    readonly connectionWindowBytes: number;
    readonly frameBytes: number;
    /** HTTP2_STREAM_WINDOW_SIZE was set by hand: every stream has just this, from its start. */
    readonly explicitStreamWindow: boolean;
  };
  /** Ours, ZTUNNEL_LOCAL_WORKLOAD_WAIT: how long a connection waits for its own pod to be known (behaviour.md 4.2). */
  readonly localWorkloadWaitMs: number;
  readonly poolStreamsPerConnectionMax: number;
  readonly poolUnusedReleaseMs: number;
  /** Ours, ZTUNNEL_HALF_CLOSED_LINGER; 0 is for ever. */
  readonly halfClosedLingerMs: number;
  /** Ours, ZTUNNEL_IDLE_TIMEOUT; 0 is never. */
  readonly idleTimeoutMs: number;
  readonly drainDeadlineMs: number;
  readonly inpodUds: string;
  readonly inpodPortReuse: boolean;
  readonly socks5: boolean;
  readonly workerThreads: number;
  /** Ours, ZTUNNEL_INLINE: no worker threads, the main thread serves. */
  readonly inline: boolean;
  readonly proxyMetadata: Readonly<Record<string, string>>;
  readonly proxyMetadataJson: Readonly<Record<string, unknown>>;
  readonly istioVersion: string;
  readonly build: BuildInfo;
  readonly ports: {
    readonly outbound: number;
    readonly inbound: number;
    readonly inboundPlaintext: number;
    readonly socks5: number;
    readonly admin: number;
    readonly stats: number;
    readonly readiness: number;
  };
  /** Our DNS listener: `localhost` binds 127.0.0.1 and ::1. */
  readonly dnsAddress: ConfigAddress;
  readonly resolver: ResolverConfig;
  readonly logFilter: string;
  readonly logFormat: "plain" | "json";
  readonly policyInfoLogging: boolean;
  /** The command line, joined by spaces. */
  readonly proxyArgs: string;
  /** Ours, ZTUNNEL_EXIT_WITH_PARENT: end when the process that started us ends. */
  readonly exitWithParent: boolean;
}

export interface ConfigProblem {
  readonly variable: string;
  readonly value: string;
  readonly reason: string;
}

export interface ParsedConfig {
  /** Absent if there is any problem. */
  readonly config: Config | undefined;
  /** All of them, each enough to refuse the start. */
  readonly problems: readonly ConfigProblem[];
  /** Said at start, and then we go on. */
  readonly warnings: readonly string[];
}
