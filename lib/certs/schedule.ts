/**
 * When to ask the authority again (behaviour.md 9.3, 9.7). Pure, but for the jitter.
 * @module
 */
import { Backoff, type Rng } from "#system";
import type { CertBundle } from "#tls";

export const SCHEDULE = {
  /** After the first failure; doubles from there. */
  retryFirstMs: 1_000,
  /** A CA that comes back is used within this time. */
  retryMaxMs: 150_000,
  retryJitter: 0.2,
  /** After failing for so long, jitter and doubling have done their work: constantly `retryMaxMs`. */
  retrySteadyAfterMs: 15 * 60_000,
  /** A certificate that is past its half-life when it arrives (skewed clocks) must not be asked for in a loop. */
  renewalMinMs: 1_000,
} as const;

/** Wall-clock time of the renewal: half of the certificate's life; its end if the two are inverted. */
export function renewalDueMs(bundle: CertBundle, nowMs: number): number {
  const { notBeforeMs, notAfterMs } = bundle;
  const halfLifeMs = notAfterMs < notBeforeMs
    ? notAfterMs
    : notBeforeMs + (notAfterMs - notBeforeMs) / 2;
  return Math.max(halfLifeMs, nowMs + SCHEDULE.renewalMinMs);
}

/** The waits of one identity between failed tries. */
export class Retries {
  readonly #backoff: Backoff;
  #failingSinceMs: number | undefined;

  constructor(rng: Rng) {
    const { retryFirstMs: firstMs, retryMaxMs: maxMs, retryJitter: jitter } = SCHEDULE;
    this.#backoff = new Backoff({ firstMs, maxMs, jitter }, rng);
  }

  /** How long to wait after a failure at `monotonicMs`. */
  nextMs(monotonicMs: number): number {
    this.#failingSinceMs ??= monotonicMs;
    const waitMs = Math.min(this.#backoff.nextMs(), SCHEDULE.retryMaxMs);
    const isSteady = monotonicMs - this.#failingSinceMs >= SCHEDULE.retrySteadyAfterMs;
    return isSteady ? SCHEDULE.retryMaxMs : waitMs;
  }

  /** After a success: the next failure is the first one again. */
  reset(): void {
    this.#backoff.reset();
    this.#failingSinceMs = undefined;
  }
}
