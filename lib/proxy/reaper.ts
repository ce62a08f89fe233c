/**
 * Ends connections that nobody ends: half-closed pairs, and, where asked for, idle ones (users.md, pains 1 to 3).
 * @module
 */
import type { Log } from "#log";
import type { Clock, Timer } from "#system";
import type { Failure } from "#values";

export interface QuietLimits {
  /** A half-closed connection on which no byte moves for so long is ended; 0 is never. */
  readonly halfClosedLingerMs: number;
  /** The same for any connection; 0 is never. */
  readonly idleTimeoutMs: number;
}

/** How often the table is looked through: by a share of the shortest limit, within these. */
const SWEEP_SHARE = 8;
const SWEEP_MS_MIN = 100;
const SWEEP_MS_MAX = 30_000;

/** What a sweep knows of one connection. */
export class Quiet {
  isHalfClosed = false;
  #seenBytes = -1;
  #wasHalfClosed = false;
  #sinceMs = 0;

  /** `movedBytes` says how many have gone through in both directions so far. */
  constructor(private readonly movedBytes: () => number) {}

  /** Why the connection has to end now, if it has. Silence counts from the first look that found it. */
  judge(nowMs: number, limits: QuietLimits): Failure | undefined {
    const bytes = this.movedBytes();
    if (bytes !== this.#seenBytes || this.isHalfClosed !== this.#wasHalfClosed) {
      this.#seenBytes = bytes;
      this.#wasHalfClosed = this.isHalfClosed;
      this.#sinceMs = nowMs;
      return undefined;
    }
    const quietMs = nowMs - this.#sinceMs;
    const { halfClosedLingerMs, idleTimeoutMs } = limits;
    if (this.isHalfClosed && halfClosedLingerMs > 0 && quietMs >= halfClosedLingerMs) {
      return { kind: "half_closed", quietMs: halfClosedLingerMs };
    }
    if (idleTimeoutMs > 0 && quietMs >= idleTimeoutMs) {
      return { kind: "idle", quietMs: idleTimeoutMs };
    }
    return undefined;
  }
}

/** Whatever can be looked through; returns how many it ended. */
export interface Sweepable {
  sweep(nowMs: number, limits: QuietLimits): number;
}

/** Looks through a table again and again until it is stopped. */
export class Reaper {
  readonly #everyMs: number | undefined;
  #timer: Timer | undefined;

  constructor(
    private readonly table: Sweepable,
    private readonly limits: QuietLimits,
    private readonly clock: Clock,
    private readonly log: Log,
  ) {
    const wanted = [limits.halfClosedLingerMs, limits.idleTimeoutMs].filter((ms) => ms > 0);
    if (wanted.length === 0) return;
    const share = Math.min(...wanted) / SWEEP_SHARE;
    this.#everyMs = Math.min(SWEEP_MS_MAX, Math.max(SWEEP_MS_MIN, share));
  }

  start(): void {
    if (this.#everyMs === undefined) return;
    this.#timer = this.clock.after(this.#everyMs, () => {
      const endedCount = this.table.sweep(this.clock.monotonicMs(), this.limits);
      if (endedCount > 0) this.log.info?.("silent connections ended", { endedCount });
      this.start();
    }, { background: true });
  }

  stop(): void {
    this.#timer?.cancel();
  }
}
