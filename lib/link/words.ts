import type { WorkloadInfo } from "#mesh";
import type { NewSeries } from "#metrics";
import type { CertBundle, PackedList } from "#tls";
import type { SpiffeId } from "#values";

/** The listeners of an instance. */
export type Component = "inbound" | "plaintext" | "outbound" | "socks5";

/**
 * One proxy instance, as a data thread has to open it: its listeners, its pools, its connections. Plain data; the file
 * descriptors in it are the thread's own, which closes them.
 */
export interface InstanceSpec {
  /** `self` is ztunnel's own inbound (behaviour.md 2.5). */
  readonly kind: "dedicated" | "pod" | "self";
  readonly info: WorkloadInfo;
  /** The network namespace to work in; the process's own where absent. */
  readonly netnsFd?: number;
  /** Sockets that listen already and are shared by all threads. What is not named here the thread binds itself. */
  readonly listenerFds?: Readonly<Partial<Record<Component, number>>>;
}

/** Control to data. */
export type ToData =
  | {
    readonly tell: "mesh";
    readonly epoch: number;
    readonly policiesChanged: boolean;
    readonly workloadsChanged: boolean;
  }
  | { readonly tell: "cert"; readonly identity: SpiffeId; readonly bundle: CertBundle }
  | { readonly tell: "cert_failed"; readonly identity: SpiffeId; readonly reason: string }
  /** Whether the control plane can tell us of changes; at first it can. */
  | { readonly tell: "control_plane"; readonly isConnected: boolean }
  /** Answered by `opened` or `open_failed`. Accepts at once if `start` was said before. */
  | { readonly tell: "open"; readonly instance: number; readonly spec: InstanceSpec }
  /** Nobody here has the identity any more: its key is not kept. */
  | { readonly tell: "cert_gone"; readonly identity: SpiffeId }
  /** What the control plane knows of `name` is in the mesh; false if it did not say in time. */
  | { readonly tell: "address_answered"; readonly name: string; readonly isAnswered: boolean }
  /** Certificate revocation lists, in memory that all threads share; they replace earlier ones. */
  | { readonly tell: "revocations"; readonly lists: readonly PackedList[] }
  /** Data may accept: the mesh is known. */
  | { readonly tell: "start" }
  /** Answered by `closed`. A deadline of 0 cuts what is left at once. */
  | { readonly tell: "close"; readonly instance: number; readonly deadlineMs: number }
  /** All instances; answered by `drained`. */
  | { readonly tell: "drain"; readonly deadlineMs: number }
  | { readonly tell: "list_connections"; readonly id: number }
  /** The whole filter, as the log prints it. */
  | { readonly tell: "log_filter"; readonly filter: string }
  /** So many lines have left control's queue: there is room for as many more. */
  | { readonly tell: "log_taken"; readonly linesCount: number }
  /** The last values of these cells are counted: they may be used for other series. */
  | { readonly tell: "series_freed"; readonly slots: readonly number[] }
  /** Answered by `here`, in a turn of its own. */
  | { readonly tell: "are_you_there" }
  /** Somebody reads the metrics: a good moment to forget idle series. */
  | { readonly tell: "sweep_series" };

/** Data to control. */
export type ToControl =
  | { readonly tell: "want_cert"; readonly identity: SpiffeId }
  /** Every listener of the instance is bound. */
  | { readonly tell: "opened"; readonly instance: number }
  /** None of its listeners is; `code` is the errno's name. */
  | {
    readonly tell: "open_failed";
    readonly instance: number;
    readonly code: string;
    readonly errno: number;
    readonly reason: string;
  }
  | { readonly tell: "closed"; readonly instance: number }
  /** On demand only (behaviour.md 3.8): `network/ip`, a workload's uid or `namespace/hostname`. Always answered. */
  | { readonly tell: "want_address"; readonly name: string }
  | { readonly tell: "drained" }
  | { readonly tell: "here" }
  | {
    readonly tell: "connections";
    readonly id: number;
    /** What one instance has may come in parts. */
    readonly instances: readonly InstanceReport[];
    readonly isLast: boolean;
  }
  /** Finished lines. */
  | { readonly tell: "log"; readonly text: string; readonly linesCount: number }
  /** What the cells of this thread mean from now on, and which have nobody any more. */
  | {
    readonly tell: "series";
    readonly added: readonly NewSeries[];
    readonly gone: readonly number[];
  }
  /** The last word: a bug of ours has ended this thread. */
  | { readonly tell: "dying"; readonly reason: string };

/** What one instance of one thread knows of its peers. */
export interface InstanceReport extends DataReport {
  readonly instance: number;
}

/** What one peer did too often, in the dump. */
export interface FloodRow {
  /** Null: not verified, so that only the address is known. */
  readonly identity: string | null;
  /** Of the last violation. */
  readonly address: string;
  /** How often, by kind. */
  readonly violations: Readonly<Record<string, number>>;
  /** RFC 3339, of the last violation. */
  readonly lastSeen: string;
}

/** One HBONE connection in the dump, whatever the number of tunnels in it. */
export interface TunnelRow {
  /** `outbound`: we made it. */
  readonly direction: "inbound" | "outbound";
  /** The other end of the TCP connection. */
  readonly peer: string;
  readonly identity: string | null;
  /** Tunnels in it. */
  readonly streams: number;
  /** Of the last keepalive PING, which is one in ten seconds; null before the first. */
  readonly roundTripMs: number | null;
}

/** One row of the dump (behaviour.md 14.3). */
export interface ConnectionRow {
  readonly src: string;
  readonly originalDst: string | null;
  readonly actualDst: string;
  readonly protocol: "TCP" | "HBONE" | "DOUBLEHBONE";
}
/** What the data side knows of its peers. */
export interface DataReport {
  readonly connections: ConnectionLists;
  readonly tunnels: readonly TunnelRow[];
  readonly floods: readonly FloodRow[];
}
export interface ConnectionLists {
  readonly inbound: readonly ConnectionRow[];
  readonly outbound: readonly ConnectionRow[];
}
