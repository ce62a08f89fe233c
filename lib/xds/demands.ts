/** How long a connection waits for istiod to say who its destination is (behaviour.md 18.7). */
export const DEMAND_TIMEOUT_MS = 10_000;
/** Names that are asked for at one time: pods may dial as many unknown addresses as they like. */
export const DEMANDS_MAX = 4_096;

/** Names that somebody waits for, each asked for once, however many wait. */
export class Demands {
  /** Name to deadline, oldest first. */
  readonly #deadlines = new Map<string, number>();

  get size(): number {
    return this.#deadlines.size;
  }

  names(): Iterable<string> {
    return this.#deadlines.keys();
  }

  /** "new" is to be asked for; "waiting" was; "full" is one too many. */
  add(name: string, monotonicMs: number): "new" | "waiting" | "full" {
    if (this.#deadlines.has(name)) return "waiting";
    if (this.#deadlines.size >= DEMANDS_MAX) return "full";
    this.#deadlines.set(name, monotonicMs + DEMAND_TIMEOUT_MS);
    return "new";
  }

  /** Whether somebody waited for the name. */
  answer(name: string): boolean {
    return this.#deadlines.delete(name);
  }

  /** Gives up those whose time is over. */
  expire(monotonicMs: number): string[] {
    const expired: string[] = [];
    for (const [name, deadlineMs] of this.#deadlines) {
      if (deadlineMs > monotonicMs) break;
      expired.push(name);
    }
    for (const name of expired) this.#deadlines.delete(name);
    return expired;
  }
}
