/**
 * Where a connection's plaintext arrives. A buffer is filled again only when nobody holds a view of it: streams lend such
 * views on, and TCP writes from them.
 * @module
 */

/** For a connection that says little: an idle one keeps only this. */
const SMALL_BYTES = 4 * 1_024;
/** One read of a busy connection: what the kernel has, decrypted, with room for a record that was cut before. */
const LARGE_BYTES = 160 * 1_024;
/** Large buffers that a thread keeps for whoever is busy next. */
const POOL_LARGE_MAX = 16;
const POOL_SMALL_MAX = 64;
/**
 * Buffers of one connection that streams may hold back; above this what waits is copied, so that a stalled stream costs
 * its bytes and not everything that arrived beside them.
 */
const HELD_MAX = 6;

export class ReceiveBuffer {
  /** Views of it that are lent. */
  pins = 0;
  constructor(readonly bytes: Uint8Array) {}
}

const largePool: ReceiveBuffer[] = [];
const smallPool: ReceiveBuffer[] = [];

/** The receive buffers of one connection. */
export class ReceiveBuffers {
  #current = small();
  #isLarge = false;
  /** Buffers with pins, without the current one. */
  #held = 0;
  #isBusy = false;
  #isResting = false;

  get current(): ReceiveBuffer {
    return this.#current;
  }

  /** Streams may hold back what they cannot hand on at once. */
  get mayHold(): boolean {
    return this.#held < HELD_MAX;
  }

  /** The buffer for the next read, which nobody holds. `filled`: the last read had the whole one. */
  next(filled: boolean): Uint8Array {
    const { pins } = this.#current;
    const isSwap = filled ? !this.#isLarge : this.#isResting && this.#isLarge;
    if (filled) this.#isBusy = true;
    if (pins === 0 && !isSwap) return this.#current.bytes;
    if (pins > 0) this.#held++;
    else keep(this.#current);
    if (isSwap) this.#isLarge = !this.#isLarge;
    this.#isResting = false;
    this.#current = this.#isLarge ? large() : small();
    return this.#current.bytes;
  }

  pin(): ReceiveBuffer {
    this.#current.pins++;
    return this.#current;
  }

  /** The holder is done with its view. */
  release(buffer: ReceiveBuffer): void {
    if (--buffer.pins > 0 || buffer === this.#current) return;
    this.#held--;
    keep(buffer);
  }

  /** The holder is gone, but somebody may still write from its view: the collector gets the buffer. */
  abandon(buffer: ReceiveBuffer): void {
    if (buffer === this.#current) {
      this.#current = this.#isLarge ? large() : small();
      this.#held++;
    }
    if (buffer.pins === Infinity) return;
    buffer.pins = Infinity;
    this.#held--;
  }

  /** Called now and then: after its next read, a connection that filled no buffer since the last time gets the small one. */
  rest(): void {
    this.#isResting = !this.#isBusy;
    this.#isBusy = false;
  }
}

function large(): ReceiveBuffer {
  return largePool.pop() ?? new ReceiveBuffer(new Uint8Array(new ArrayBuffer(LARGE_BYTES)));
}

function small(): ReceiveBuffer {
  return smallPool.pop() ?? new ReceiveBuffer(new Uint8Array(new ArrayBuffer(SMALL_BYTES)));
}

function keep(buffer: ReceiveBuffer): void {
  const isLarge = buffer.bytes.length === LARGE_BYTES;
  const pool = isLarge ? largePool : smallPool;
  if (pool.length < (isLarge ? POOL_LARGE_MAX : POOL_SMALL_MAX)) pool.push(buffer);
}
