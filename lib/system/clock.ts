/** A timer that has been started. Cancelling twice, or after it fired, does nothing. */
export interface Timer {
  cancel(): void;
}

/** All the time there is. */
export interface Clock {
  /** Wall clock, milliseconds since 1970 UTC; may jump. For certificates and log lines. */
  nowMs(): number;
  /** Never goes back; the origin is arbitrary. For durations and deadlines. */
  monotonicMs(): number;
  /** Calls `act` once after `delayMs`. A background timer does not keep the process alive. */
  after(delayMs: number, act: () => void, options?: { readonly background?: boolean }): Timer;
  /** Resolves after `delayMs`, or at once when `stop` aborts; never rejects. */
  sleep(delayMs: number, stop?: AbortSignal): Promise<void>;
}

/** setTimeout takes a 32-bit delay; a longer one would fire at once. */
const DELAY_MAX_MS = 2 ** 31 - 1;

export const realClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(delayMs, act, options) {
    let id = setTimeout(fire, Math.min(delayMs, DELAY_MAX_MS));
    let leftMs = delayMs - DELAY_MAX_MS;
    if (options?.background) Deno.unrefTimer(id);
    function fire(): void {
      if (leftMs <= 0) return act();
      id = setTimeout(fire, Math.min(leftMs, DELAY_MAX_MS));
      if (options?.background) Deno.unrefTimer(id);
      leftMs -= DELAY_MAX_MS;
    }
    return { cancel: () => clearTimeout(id) };
  },
  sleep(delayMs, stop) {
    if (stop?.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        timer.cancel();
        stop?.removeEventListener("abort", done);
        resolve();
      };
      const timer = realClock.after(delayMs, done);
      stop?.addEventListener("abort", done);
    });
  },
};

/**
 * Calls `act` when every socket has had its say in this turn of the runtime's loop: for work that is cheaper done once for
 * all of them. No time passes, so it is no business of a Clock.
 */
export function atEndOfTurn(act: () => void): void {
  setImmediate(act);
}
