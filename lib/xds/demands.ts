/** How long a connection waits for istiod to say who its destination is (behaviour.md 18.7). */
export const DEMAND_TIMEOUT_MS = 10_000;
/** Names that are asked for at one time: pods may dial as many unknown addresses as they like. */
export const DEMANDS_MAX = 4_096;

/** Names that somebody waits for, each asked for once, however many wait. */
export class Demands {
  /** Name to deadline, oldest first. */
  readonly #deadlines = new Map<string, number>();
  /** Of them, those that no stream was asked for yet. */
  readonly #unasked = new Set<string>();

  get size(): number {
    return this.#deadlines.size;
  }

  /** All of them, which are asked for with it. */
  takeAll(): string[] {
    this.#unasked.clear();
    return [...this.#deadlines.keys()];
  }

  /** The next one that is to be asked for. */
  takeNext(): string | undefined {
    const [name] = this.#unasked;
    if (name !== undefined) this.#unasked.delete(name);
    return name;
  }

  /** False if it is one too many. */
  add(name: string, monotonicMs: number): boolean {
    if (this.#deadlines.has(name)) return true;
    if (this.#deadlines.size >= DEMANDS_MAX) return false;
    this.#deadlines.set(name, monotonicMs + DEMAND_TIMEOUT_MS);
    this.#unasked.add(name);
    return true;
  }

  has(name: string): boolean {
    return this.#deadlines.has(name);
  }

  /** Whether somebody waited for the name. */
  answer(name: string): boolean {
    this.#unasked.delete(name);
    return this.#deadlines.delete(name);
  }

  /** Gives up those whose time is over. */
  expire(monotonicMs: number): string[] {
    const expired: string[] = [];
    for (const [name, deadlineMs] of this.#deadlines) {
      if (deadlineMs > monotonicMs) break;
      expired.push(name);
    }
    for (const name of expired) this.answer(name);
    return expired;
  }
}
