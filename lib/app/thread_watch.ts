/**
 * Notices a data thread whose turn does not end. Nothing can stop such a turn: the runtime's `terminate` waits for it.
 * @module
 */
import type { Clock, Timer } from "#system";

export interface WatchLimits {
  /** How often a thread is asked whether it is there. */
  readonly askMs: number;
  /** Silence that people should know of; no turn of ours takes this long. */
  readonly tellAfterMs: number;
  /** Silence that does not end by itself. */
  readonly loseAfterMs: number;
}

export interface WatchActs {
  /** Asks the thread; its answer is `answered()`. */
  readonly ask: () => void;
  readonly onSilent: (silentMs: number) => void;
  /** It answers after `onSilent`, before `onLost`. */
  readonly onBack: (silentMs: number) => void;
  /** The last that is heard of this watch. */
  readonly onLost: (silentMs: number) => void;
}

/**
 * Asks one thread again and again. Silence is counted in our own ticks and not by the clock: while the main thread itself
 * is held up, or the whole machine asleep, nobody counts.
 */
export class ThreadWatch {
  #missed = 0;
  #isWaiting = false;
  #timer: Timer | undefined;

  constructor(
    private readonly clock: Clock,
    private readonly limits: WatchLimits,
    private readonly acts: WatchActs,
  ) {
    this.#tick();
  }

  /** For how long it has owed an answer; 0 while it answers. */
  get silentMs(): number {
    return this.#missed * this.limits.askMs;
  }

  answered(): void {
    const { silentMs } = this;
    this.#isWaiting = false;
    this.#missed = 0;
    if (silentMs >= this.limits.tellAfterMs) this.acts.onBack(silentMs);
  }

  stop(): void {
    this.#timer?.cancel();
  }

  #tick(): void {
    const { askMs, tellAfterMs, loseAfterMs } = this.limits;
    if (this.#isWaiting) {
      const before = this.silentMs;
      this.#missed++;
      if (this.silentMs >= loseAfterMs) return this.acts.onLost(this.silentMs);
      if (before < tellAfterMs && this.silentMs >= tellAfterMs) this.acts.onSilent(this.silentMs);
    } else {
      this.#isWaiting = true;
      this.acts.ask();
    }
    this.#timer = this.clock.after(askMs, () => this.#tick(), { background: true });
  }
}
