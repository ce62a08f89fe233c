import type { SocketAddress, SpiffeId } from "#values";

/** What policies may ask about a connection (behaviour.md 5.1). The destination is the real target, not port 15008. */
export interface ConnectionFacts {
  readonly source: SocketAddress;
  /** Absent without mutual TLS, or for a trusted certificate without a SPIFFE name. */
  readonly identity?: SpiffeId;
  readonly destination: SocketAddress;
}

/** One line of the policy log (behaviour.md 5.7). */
export interface PolicyNote {
  /** `namespace/name`; absent for notes about the whole set. */
  readonly policy?: string;
  readonly message: string;
}

export type Verdict =
  & {
    /** In the order of evaluation; empty only if there was no policy at all. */
    readonly notes: readonly PolicyNote[];
  }
  & (
    | { readonly allowed: true }
    /** `reason` is the text after `connection closed due to policy rejection: ` (behaviour.md 5.3). */
    | { readonly allowed: false; readonly reason: string }
  );
