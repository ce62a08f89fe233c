/**
 * What was used lately, in two generations: when the young one is full it becomes the old one, and what is asked for
 * comes back from there. That costs one look-up per ask, and holds at most twice `youngMax`.
 */
export class DecodeCache<V> {
  #young = new Map<number, V>();
  #old = new Map<number, V>();

  constructor(private readonly youngMax: number) {}

  get(key: number): V | undefined {
    const young = this.#young.get(key);
    if (young !== undefined) return young;
    const old = this.#old.get(key);
    if (old !== undefined) this.set(key, old);
    return old;
  }

  set(key: number, value: V): void {
    if (this.#young.size >= this.youngMax) this.rotate();
    this.#young.set(key, value);
  }

  /** What is not asked for before the next rotation is forgotten. */
  rotate(): void {
    this.#old = this.#young;
    this.#young = new Map();
  }
}
