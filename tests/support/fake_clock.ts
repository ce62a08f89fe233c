/**
 * A clock that stands still until a test moves it.
 * @module
 */
import type { Clock, Timer } from "#system";

/** 2026-01-01T00:00:00Z, so that a test's certificates and log lines have a plausible date. */
const START_MS = Date.UTC(2026, 0, 1);

/** How many promise reactions in a row `advance` lets run after each timer. */
const FLUSH_ROUNDS = 64;

interface Waiting {
  readonly dueMs: number;
  readonly order: number;
  readonly act: () => void;
}

export class FakeClock implements Clock {
  #elapsedMs = 0;
  #order = 0;
  #jumpMs = 0;
  readonly #waiting = new Set<Waiting>();

  constructor(private readonly startMs: number = START_MS) {}

  nowMs(): number {
    return this.startMs + this.#elapsedMs + this.#jumpMs;
  }

  monotonicMs(): number {
    return this.#elapsedMs;
  }

  after(delayMs: number, act: () => void): Timer {
    const entry: Waiting = {
      dueMs: this.#elapsedMs + Math.max(0, delayMs),
      order: this.#order++,
      act,
    };
    this.#waiting.add(entry);
    return { cancel: () => void this.#waiting.delete(entry) };
  }

  sleep(delayMs: number, stop?: AbortSignal): Promise<void> {
    if (stop?.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        timer.cancel();
        stop?.removeEventListener("abort", done);
        resolve();
      };
      const timer = this.after(delayMs, done);
      stop?.addEventListener("abort", done);
    });
  }

  /** How many timers are waiting: a test's way to see that none was left behind. */
  get timersCount(): number {
    return this.#waiting.size;
  }

  /** Makes the wall clock jump without any timer noticing, as NTP or a suspended machine does. */
  jump(ms: number): void {
    this.#jumpMs += ms;
  }

  /** Moves time by `ms`: runs what falls due, in order, each followed by the promise reactions it caused. */
  async advance(ms: number): Promise<void> {
    const targetMs = this.#elapsedMs + ms;
    await flush();
    for (let next = this.#next(targetMs); next !== undefined; next = this.#next(targetMs)) {
      this.#waiting.delete(next);
      this.#elapsedMs = Math.max(this.#elapsedMs, next.dueMs);
      next.act();
      await flush();
    }
    this.#elapsedMs = targetMs;
    await flush();
  }

  #next(untilMs: number): Waiting | undefined {
    let first: Waiting | undefined;
    for (const entry of this.#waiting) {
      if (entry.dueMs > untilMs) continue;
      if (
        first === undefined || entry.dueMs < first.dueMs ||
        (entry.dueMs === first.dueMs && entry.order < first.order)
      ) first = entry;
    }
    return first;
  }
}

async function flush(): Promise<void> {
  for (let round = 0; round < FLUSH_ROUNDS; round++) await Promise.resolve();
}
