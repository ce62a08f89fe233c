import type { Clock } from "./clock.ts";

/** Between two slices connections, readiness, admin and the CNI get their turn. */
export const SLICE_MS = 4;

export interface Pace {
  readonly clock: Clock;
  /** Resolves when everyone else on this thread has had a turn. */
  readonly turn: () => Promise<void>;
}

/** Long work, a few milliseconds at a time. */
export class Slices {
  #endMs: number;

  constructor(private readonly pace: Pace) {
    this.#endMs = pace.clock.monotonicMs() + SLICE_MS;
  }

  get isOver(): boolean {
    return this.pace.clock.monotonicMs() >= this.#endMs;
  }

  /** Everyone else's turn; then the next slice begins. */
  async rest(): Promise<void> {
    await this.pace.turn();
    this.#endMs = this.pace.clock.monotonicMs() + SLICE_MS;
  }
}
