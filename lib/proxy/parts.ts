/**
 * What a proxy instance is made of. `app` puts the parts together; a test may bring its own.
 * @module
 */
import type { TunnelPool, TunnelServerOptions } from "#hbone";
import type { Log } from "#log";
import type { MeshView, WorkloadInfo } from "#mesh";
import type { Metrics } from "#metrics";
import type { Dialer } from "#stream";
import type { Clock, Rng } from "#system";
import type { Tls } from "#tls";
import type { Ip } from "#values";
import type { Addresses } from "./addresses.ts";
import type { Bundles } from "./bundles.ts";
import type { Connections } from "./connections.ts";
import type { Floods } from "./floods.ts";
import type { LocalWorkload } from "./local_workload.ts";
import type { QuietLimits } from "./reaper.ts";

/** How long things may take and how many there may be (behaviour.md Appendix B, and ours where it is silent). */
export const PROXY_LIMITS = {
  /** A TCP connection to the application or to a plain destination. */
  connectTimeoutMs: 10_000,
  /** Names that one connection may make us ask for: its target on two networks, and a waypoint's chain. */
  asksMax: 8,
  /** How long labels may hold a peer's connection up: the name of a source decides nothing. */
  attributionWaitMs: 1_000,
  /** In a drain: for peers that are in their handshake, or idle and yet to hear of it. Both take milliseconds. */
  peersLeaveMs: 2_000,
  /** After a drain's deadline: what was cut off gets this long to write its access line. */
  forcedEndMs: 500,
  /** Greeting and request together; a client that takes longer is not speaking SOCKS. */
  socksHandshakeTimeoutMs: 10_000,
  /** Greeting (257), request (262) and what a hasty client sends behind them in the same segments. */
  socksHandshakeBytesMax: 4_096,
} as const;

/** The settings of one proxy instance. */
export interface ProxySettings {
  readonly info: WorkloadInfo;
  readonly network: string;
  readonly clusterDomain: string;
  readonly preferredServiceNamespace: string | undefined;
  /** Search domains for names that come by SOCKS5 (behaviour.md 11.4). */
  readonly searchDomains: readonly string[];
  readonly ipv6Enabled: boolean;
  readonly illegalPorts: ReadonlySet<number>;
  /** The local workload may be a moment late from the control plane (behaviour.md 4.2). */
  readonly localWorkloadWaitMs: number;
  /** Send baggage on 200 responses and trust that of requests (ENABLE_RESPONSE_BAGGAGE). */
  readonly responseBaggage: boolean;
  /** Every dial leaves from here, if set. */
  readonly from: Ip | undefined;
  /** Policy notes at info instead of debug (AUTHZ_POLICY_INFO_LOGGING). */
  readonly policyInfoLogging: boolean;
  /** Addresses are fetched when somebody needs them (XDS_ON_DEMAND). */
  readonly onDemand: boolean;
  readonly tunnelServer: TunnelServerOptions;
  /** For how long connections may be silent. */
  readonly quiet: QuietLimits;
}

export interface ProxyParts {
  readonly settings: ProxySettings;
  readonly view: MeshView;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly metrics: Metrics;
  readonly tls: Tls;
  readonly dialer: Dialer;
  readonly access: Log;
  readonly log: Log;
  readonly bundles: Bundles;
  readonly addresses: Addresses;
  readonly local: LocalWorkload;
  readonly connections: Connections;
  readonly floods: Floods;
  /** Outbound and SOCKS5 have pools of their own (behaviour.md 7.7). */
  readonly pool: TunnelPool;
}
