/** What a stream starts with; it grows while its application keeps taking. */
export const STREAM_WINDOW_BYTES_FIRST = 256 * 1_024;

/**
 * What all streams of this thread may have been granted beyond their first window, in bytes. It bounds what stalled
 * applications can make us hold; streams that come when it is spent stay at their first window, which carries
 * 2 Gbit/s over a round trip of one millisecond.
 */
export const WINDOW_GROWTH_BYTES_MAX = 64 << 20;

let grantedBytes = 0;

/** How much may be sent to us on one stream, and what we owe for what the application took. */
export class ReceiveWindow {
  /** What the peer may still send. */
  left: number;
  /** Taken by the application, not yet given back. */
  #owed = 0;
  #size: number;
  #grown = 0;

  constructor(private readonly firstBytes: number, private readonly ceilingBytes: number) {
    this.left = firstBytes;
    this.#size = firstBytes;
  }

  /**
   * The application took `bytes`; returns what to announce, often 0: half a window at a time. `keepsUp`: nothing more
   * waits for it, so a larger window would not be a larger queue.
   */
  take(bytes: number, keepsUp: boolean): number {
    this.#owed += bytes;
    if (this.#owed < this.#size / 2) return 0;
    const growth = keepsUp ? this.#grow() : 0;
    const credit = this.#owed + growth;
    this.#owed = 0;
    this.left += credit;
    return credit;
  }

  /** The stream is over: what it was granted is for others. */
  end(): void {
    grantedBytes -= this.#grown;
    this.#grown = 0;
  }

  #grow(): number {
    const growth = Math.min(
      this.#size,
      this.ceilingBytes - this.#size,
      WINDOW_GROWTH_BYTES_MAX - grantedBytes,
    );
    if (growth <= 0) return 0;
    this.#size += growth;
    this.#grown += growth;
    grantedBytes += growth;
    return growth;
  }

  get firstWindowBytes(): number {
    return this.firstBytes;
  }
}
