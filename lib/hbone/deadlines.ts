import type { Clock, Timer } from "#system";

/** A wait that may be called off. */
export interface Deadline {
  cancel(): void;
}

interface Waiting extends Deadline {
  readonly dueMs: number;
  readonly act: () => void;
}

/** Waits of one length, by one timer for all of them: one of its own for each request costs more than the request. */
export class Deadlines {
  /** In the order of their ends. */
  readonly #waiting = new Set<Waiting>();
  #timer: Timer | undefined;

  constructor(private readonly clock: Clock, readonly afterMs: number) {}

  /** Calls `act` after `afterMs`, unless it is cancelled before. */
  start(act: () => void): Deadline {
    const waiting: Waiting = {
      dueMs: this.clock.monotonicMs() + this.afterMs,
      act,
      cancel: () => void this.#waiting.delete(waiting),
    };
    this.#waiting.add(waiting);
    if (this.#timer === undefined) this.#arm(this.afterMs);
    return waiting;
  }

  /** It is left to run out when nobody waits any more, and does not keep the process alive. */
  #arm(delayMs: number): void {
    this.#timer = this.clock.after(delayMs, () => this.#ring(), { background: true });
  }

  #ring(): void {
    this.#timer = undefined;
    const nowMs = this.clock.monotonicMs();
    for (const waiting of this.#waiting) {
      if (waiting.dueMs > nowMs) return this.#arm(waiting.dueMs - nowMs);
      this.#waiting.delete(waiting);
      waiting.act();
    }
  }
}
