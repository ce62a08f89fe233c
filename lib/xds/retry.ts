import type { Rng } from "#system";

/** How a stream ended. */
export type StreamEnd =
  /** The server could not be reached, or did not take the call. */
  | { readonly kind: "not_connected" }
  /** The server took the call, and ended it otherwise than with OK. */
  | { readonly kind: "status"; readonly code: number; readonly details: string }
  /** The server ended it with OK. */
  | { readonly kind: "ok" }
  /** We could not even try, or could not go on. */
  | { readonly kind: "local" };

/** The label of istio_xds_connection_terminations. */
export type TerminationReason = "ConnectionError" | "Reconnect" | "Error" | "Complete";

const BACKOFF_MIN_MS = 10;
const BACKOFF_MAX_MS = 15_000;
/** Waits differ by so much, so that the ztunnels of a thousand nodes do not all come back in one moment. */
const JITTER = 0.2;

const UNKNOWN = 2;
const CANCELLED = 1;
const DEADLINE_EXCEEDED = 4;
const UNAVAILABLE = 14;

/**
 * How long to wait before the next stream (behaviour.md 3.10). Two deviations keep a server that fails at once from
 * being called in a loop: a local error waits and doubles as others do (18.1), and so do streams that end well but
 * bring nothing, from the second in a row on.
 */
export class Retry {
  #backoffMs = BACKOFF_MIN_MS;
  #wasFruitless = false;

  constructor(private readonly rng: Rng) {}

  /** `gotSomething`: whether the stream brought a response. */
  after(
    end: StreamEnd,
    gotSomething: boolean,
  ): { readonly reason: TerminationReason; readonly waitMs: number } {
    const reason = reasonOf(end);
    const isExpected = reason === "Reconnect" || reason === "Complete";
    const isFirst = !this.#wasFruitless;
    this.#wasFruitless = !gotSomething;
    if (isExpected && (gotSomething || isFirst)) {
      this.#backoffMs = BACKOFF_MIN_MS;
      return { reason, waitMs: reason === "Complete" ? 0 : this.#jittered() };
    }
    this.#backoffMs = Math.min(BACKOFF_MAX_MS, 2 * this.#backoffMs);
    return { reason, waitMs: this.#jittered() };
  }

  #jittered(): number {
    return this.#backoffMs * (1 - JITTER + 2 * JITTER * this.rng.next());
  }
}

function reasonOf(end: StreamEnd): TerminationReason {
  switch (end.kind) {
    case "not_connected":
      return "ConnectionError";
    case "local":
      return "Error";
    case "ok":
      return "Complete";
    case "status":
      return isRoutine(end.code, end.details) ? "Reconnect" : "Error";
  }
}

/** The first two are a server's words; the others are ours for a connection that broke, which is UNKNOWN elsewhere. */
const LOST = /transport is closing|received prior goaway|connection dropped|ECONNRESET|ETIMEDOUT/i;

/** istiod ends streams about every 30 minutes, and whatever stands before it as it likes. */
function isRoutine(code: number, details: string): boolean {
  if (code === UNAVAILABLE) return LOST.test(details);
  return code === UNKNOWN || code === CANCELLED || code === DEADLINE_EXCEEDED;
}
