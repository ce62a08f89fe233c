import type { Clock, Timer } from "#system";

/** A push of fewer resources leaves less garbage than collecting it is worth: 2.5 KB each. */
export const TIDY_RESOURCES_MIN = 5_000;
/** Nothing large came for so long: the start or the push is over. */
export const TIDY_QUIET_MS = 2_000;

/**
 * After so many resources in a row memory is given back in the middle of the push: 20 MB of garbage, and what V8's
 * compiling threads leave in malloc. Left alone, V8 lets a heap of 15 MB grow to 60 or 100 MB (measured), and keeps the
 * pages.
 */
export const TIDY_RESOURCES_STEP = 16_384;

/**
 * Gives memory back after the start, during and after a large push, and after a dump of as much. 100,000 workloads leave
 * 100 MB of garbage, and a control side that has nothing to do would not collect it for hours.
 */
export class Tidy implements Disposable {
  #count = 0;
  /** Of them, those whose garbage is gone. */
  #releasedCount = 0;
  #timer: Timer | undefined;
  #isOver = false;

  /** `release` gives back what is garbage now; `rest` what only a start or a push needed. */
  constructor(
    private readonly clock: Clock,
    private readonly release: () => void,
    private readonly rest: () => void,
  ) {}

  /** So many resources came, or went through a dump. */
  note(resourcesCount: number): void {
    this.#count += resourcesCount;
    if (this.#count < TIDY_RESOURCES_MIN) return;
    if (this.#count - this.#releasedCount >= TIDY_RESOURCES_STEP) {
      this.#releasedCount = this.#count;
      this.release();
    }
    this.#wait();
  }

  /** The start is over: what compiling, reading files and first answers left behind is 12 MB, and 30 MB of code. */
  noteStart(): void {
    this.#wait();
  }

  #wait(): void {
    if (this.#isOver) return;
    this.#timer?.cancel();
    this.#timer = this.clock.after(TIDY_QUIET_MS, () => {
      this.#count = 0;
      this.#releasedCount = 0;
      this.release();
      this.rest();
    }, { background: true });
  }

  [Symbol.dispose](): void {
    this.#isOver = true;
    this.#timer?.cancel();
  }
}
