import type { CertBundle } from "#tls";
import type { SpiffeId } from "#values";

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
  /** Data may accept: the mesh is known. */
  | { readonly tell: "start" }
  | { readonly tell: "drain"; readonly deadlineMs: number }
  | { readonly tell: "list_connections"; readonly id: number };

/** Data to control. */
export type ToControl =
  | { readonly tell: "want_cert"; readonly identity: SpiffeId }
  | { readonly tell: "drained" }
  | {
    readonly tell: "connections";
    readonly id: number;
    readonly connections: ConnectionLists;
    readonly floods: readonly FloodRow[];
  };

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

/** One row of the dump (behaviour.md 14.3). */
export interface ConnectionRow {
  readonly src: string;
  readonly originalDst: string | null;
  readonly actualDst: string;
  readonly protocol: "TCP" | "HBONE" | "DOUBLEHBONE";
}
/** What a data side knows of its peers. */
export interface DataReport {
  readonly connections: ConnectionLists;
  readonly floods: readonly FloodRow[];
}
export interface ConnectionLists {
  readonly inbound: readonly ConnectionRow[];
  readonly outbound: readonly ConnectionRow[];
}
