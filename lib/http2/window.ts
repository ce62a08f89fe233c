/** What a stream starts with; it grows while its application keeps taking. */
export const STREAM_WINDOW_BYTES_FIRST = 256 * 1_024;

/**
 * What all streams of the process may have been granted beyond their first window, in bytes. It bounds what stalled
 * applications can make us hold; streams that come when it is spent stay at their first window, which carries
 * 2 Gbit/s over a round trip of one millisecond.
 */
export const WINDOW_GROWTH_BYTES_MAX = 64 << 20;

const growth = {
  maxBytes: WINDOW_GROWTH_BYTES_MAX,
  grantedBytes: 0,
  tell: (_changeBytes: number): void => {},
};

/**
 * Shares the budget between `threadsCount` threads, each of which calls this once for itself; `tell` hears by how many bytes
 * the thread's grown windows change, which is seldom.
 */
export function shareWindowGrowth(
  threadsCount: number,
  tell: (changeBytes: number) => void,
): void {
  growth.maxBytes = Math.floor(WINDOW_GROWTH_BYTES_MAX / threadsCount);
  growth.tell = tell;
  tell(growth.grantedBytes);
}

function grant(bytes: number): void {
  growth.grantedBytes += bytes;
  growth.tell(bytes);
}

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
    const credit = this.#owed + (keepsUp ? this.#grow() : 0);
    this.#owed = 0;
    this.left += credit;
    return credit;
  }

  /** The stream is over: what it was granted is for others. */
  end(): void {
    if (this.#grown === 0) return;
    grant(-this.#grown);
    this.#grown = 0;
  }

  #grow(): number {
    const more = Math.min(
      this.#size,
      this.ceilingBytes - this.#size,
      growth.maxBytes - growth.grantedBytes,
    );
    if (more <= 0) return 0;
    this.#size += more;
    this.#grown += more;
    grant(more);
    return more;
  }

  get firstWindowBytes(): number {
    return this.firstBytes;
  }
}
