const FNV_PRIME = 0x01000193;
const FNV_OFFSET = 0x811c9dc5;

/** FNV-1a over the UTF-16 units, before the last mixing. */
function add(hash: number, text: string): number {
  for (let index = 0; index < text.length; index++) {
    hash = Math.imul(hash ^ text.charCodeAt(index), FNV_PRIME);
  }
  return hash;
}

/** Spreads what the last characters did over all bits: the tables look at the upper ones (MurmurHash3's finalizer). */
function finish(hash: number): number {
  hash = Math.imul(hash ^ hash >>> 16, 0x85ebca6b);
  hash = Math.imul(hash ^ hash >>> 13, 0xc2b2ae35);
  return (hash ^ hash >>> 16) >>> 0;
}

/**
 * Hashes of 32 bits. Every look-up verifies what it finds, so two keys of one hash only cost time; but who knows the seed
 * finds thousands of names with the hash of somebody else's in a minute, and each look-up of that one decodes them all.
 */
export class Hashes {
  readonly #start: number;

  /** `seed`: 32 bits, the same for all threads of a mesh. */
  constructor(seed: number) {
    this.#start = FNV_OFFSET ^ seed;
  }

  of(text: string): number {
    return finish(add(this.#start, text));
  }

  ofPair(first: string, second: string): number {
    return finish(add(Math.imul(add(this.#start, first) ^ 0x100, FNV_PRIME), second));
  }

  ofTriple(first: string, second: string, third: string): number {
    const pair = add(Math.imul(add(this.#start, first) ^ 0x100, FNV_PRIME), second);
    return finish(add(Math.imul(pair ^ 0x100, FNV_PRIME), third));
  }
}
