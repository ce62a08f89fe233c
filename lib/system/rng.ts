/** All the chance there is. */
export interface Rng {
  /** Uniform in [0, 1). */
  next(): number;
  /** Uniform integer in [0, limit). */
  below(limit: number): number;
  /** `count` random bytes. */
  bytes(count: number): Uint8Array<ArrayBuffer>;
}

/** What is fetched from the system at once: a call for each connection's trace id costs more than its 16 bytes. */
const DRAWN_BYTES = 1_024;
const drawn = new Uint8Array(DRAWN_BYTES);
let drawnLeft = 0;

/** Every byte is given away once, and forgotten here. */
function randomBytes(count: number): Uint8Array<ArrayBuffer> {
  if (count > DRAWN_BYTES) return crypto.getRandomValues(new Uint8Array(count));
  if (count > drawnLeft) {
    crypto.getRandomValues(drawn);
    drawnLeft = DRAWN_BYTES;
  }
  const bytes = drawn.slice(drawnLeft - count, drawnLeft);
  drawn.fill(0, drawnLeft - count, drawnLeft);
  drawnLeft -= count;
  return bytes;
}

export const realRng: Rng = {
  next: () => Math.random(),
  below: (limit) => Math.floor(Math.random() * limit),
  bytes: randomBytes,
};

/** The same seed gives the same night again (xorshift32; for tests and simulations, not for secrets). */
export function seededRng(seed: number): Rng {
  let state = (seed | 0) || 0x9e3779b9;
  const next = (): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
  return {
    next,
    below: (limit) => Math.floor(next() * limit),
    bytes: (count) => Uint8Array.from({ length: count }, () => Math.floor(next() * 256)),
  };
}
