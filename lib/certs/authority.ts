import type { CertBundle } from "#tls";
import type { SpiffeId } from "#values";

/** Signs. Rejects with an Error whose message is the reason. */
export interface Authority {
  sign(identity: SpiffeId, lifetimeMs: number): Promise<CertBundle>;
}

/** For the dump (behaviour.md 9.9, 14.3); private keys are not in it. */
export interface CertificateState {
  readonly identity: SpiffeId;
  /** `Initializing`, `Available`, `Unavailable: <reason>`. */
  readonly state: string;
  /** Empty unless available. */
  readonly chainPem: string;
  /** Empty unless available. */
  readonly rootsPem: string;
}
