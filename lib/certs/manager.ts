import type { Clock, Rng } from "#system";
import type { CertBundle } from "#tls";
import type { SpiffeId } from "#values";
import type { Authority, CertificateState } from "./authority.ts";

export interface CertManagerOptions {
  readonly authority: Authority;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly lifetimeMs: number;
  /** A bundle was issued or renewed. */
  readonly onBundle: (bundle: CertBundle) => void;
  /** A wanted bundle cannot be had now; the retry timer goes on. */
  readonly onFailed: (identity: SpiffeId, reason: string) => void;
}

export class CertManager implements Disposable {
  constructor(_options: CertManagerOptions) {}
  /** Answers by `onBundle` or `onFailed`: at once if the state is known, else when the fetch ends. */
  want(_identity: SpiffeId): void {}
  forget(_identity: SpiffeId): void {}
  states(): readonly CertificateState[] {
    return [];
  }
  [Symbol.dispose](): void {}
}
