/**
 * Plans: plain data that says what to do, so that every decision is tested by a table.
 * @module
 */
import type { Service, Workload } from "#mesh";
import type { Failure, Ip, SocketAddress, SpiffeId } from "#values";

export interface OutboundAsk {
  /** The local workload that speaks. */
  readonly source: Workload;
  readonly client: SocketAddress;
  /** Where the application wanted to go. */
  readonly target: SocketAddress;
  /** The configured NETWORK. */
  readonly network: string;
  /** Our own ports (behaviour.md 2.3). */
  readonly illegalPorts: ReadonlySet<number>;
  /** Where peers listen for HBONE: the port of our own inbound listener. 15008 if absent. */
  readonly hbonePort?: number;
  /** What was asked for already; absent where addresses are not fetched on demand (behaviour.md 3.8). */
  readonly asked?: ReadonlySet<string> | undefined;
}

/** What metrics and the access line call the destination. */
export interface Destination {
  readonly workload?: Workload;
  readonly service?: Service;
}

export type OutboundPlan =
  | ({ readonly kind: "tcp"; readonly hop: SocketAddress } & Destination)
  | ({
    readonly kind: "hbone";
    readonly hop: SocketAddress;
    /** `:authority` of the CONNECT: `ip:port` or `host:port`. */
    readonly authority: string;
    /** Any of these may answer; ordered, since it is part of the pool key (behaviour.md 7.7). */
    readonly expected: readonly SpiffeId[];
  } & Destination)
  | Ask
  | { readonly kind: "refuse"; readonly failure: Failure };

/** The mesh lacks something that the control plane may know: ask for the name, then decide again. */
export interface Ask {
  readonly kind: "ask";
  /** `network/ip` or `namespace/hostname`. */
  readonly name: string;
}

/** How a CONNECT names its target. */
export type Authority =
  | { readonly kind: "address"; readonly address: SocketAddress }
  | { readonly kind: "hostname"; readonly hostname: string; readonly port: number };

export interface InboundAsk {
  /** The local workload that is spoken to. */
  readonly workload: Workload;
  /** The address that the peer's TCP connection reached. */
  readonly connectedIp: Ip;
  readonly authority: Authority;
  /** Service hostname from the `forwarded` header. */
  readonly forwardedHost?: string;
  readonly network: string;
  readonly illegalPorts: ReadonlySet<number>;
  /** As in OutboundAsk. */
  readonly asked?: ReadonlySet<string> | undefined;
}

export type InboundPlan =
  | {
    readonly kind: "deliver";
    /** Where the application listens; also the destination that policies see. */
    readonly target: SocketAddress;
    readonly service?: Service;
  }
  | Ask
  | { readonly kind: "refuse"; readonly failure: Failure };
