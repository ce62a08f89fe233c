import type { Rng } from "./rng.ts";

export interface BackoffOptions {
  readonly firstMs: number;
  readonly maxMs: number;
  /** Share of the wait by which it is made longer or shorter, at random: 0.2 is plus or minus 20 %. */
  readonly jitter?: number;
}

/** Waits that double from `firstMs` to `maxMs`. */
export class Backoff {
  #nextMs: number;
  constructor(private readonly options: BackoffOptions, private readonly rng: Rng) {
    this.#nextMs = options.firstMs;
  }

  /** How long to wait before the next try. */
  nextMs(): number {
    const waitMs = this.#nextMs;
    this.#nextMs = Math.min(this.options.maxMs, waitMs * 2);
    const jitter = this.options.jitter ?? 0;
    return waitMs * (1 - jitter + 2 * jitter * this.rng.next());
  }

  /** After a success: the next failure waits `firstMs` again. */
  reset(): void {
    this.#nextMs = this.options.firstMs;
  }
}
