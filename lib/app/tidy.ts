import type { Clock, Timer } from "#system";

/** How often a thread looks at what it has used of the processor. */
export const TIDY_TICK_MS = 1_000;
/** A tick in which it used less is quiet: 2 %, so that some 30 ms of tidying keep few people waiting. */
export const TIDY_BUSY_MS_MIN = 20;
/** Less work than this since the last time leaves less behind than collecting it costs. */
export const TIDY_WORTH_MS_MIN = 100;

/**
 * After so many resources in a row memory is given back in the middle of the push: 20 MB of garbage, and what V8's
 * compiling threads leave in malloc. Left alone, V8 lets a heap of 15 MB grow to 60 or 100 MB (measured), and keeps the
 * pages.
 */
export const TIDY_RESOURCES_STEP = 16_384;

/**
 * Garbage that is shared memory, which V8 counts for no thread: it waits for a collection of all threads that knew it, and
 * one that does nothing has none (measured: of twelve revocation lists of 18 MB eleven were still there). Less is not
 * worth some 30 ms.
 */
export const TIDY_GARBAGE_BYTES_MIN = 4 << 20;
/** So much is worth them in the middle of work too: a busy thread may not be quiet for days. */
export const TIDY_GARBAGE_BYTES_MAX = 16 << 20;

export interface TidyActs {
  /** Processor time of this thread, in milliseconds. */
  readonly processorMs: () => number;
  /** Gives back what is garbage now. */
  readonly release: () => void;
  /** Gives back what only the work needed that is over; garbage of its own comes with it. */
  readonly rest: () => void;
}

/**
 * Gives a thread's memory back when it has worked and is quiet again: after the start, a large push, a dump, a burst of
 * connections. 100,000 workloads leave 100 MB of garbage, 10,000 connections 70, and a thread that has nothing to do
 * would not collect it for hours. Work is told by processor time, the one measure that all of it has in common.
 */
export class Tidy implements Disposable {
  /** What it had used at the last tick. Whatever it did before the first one counts: that is the start. */
  #usedMs = 0;
  /** Of busy ticks, since the last rest. */
  #workMs = 0;
  #resourcesCount = 0;
  #garbageBytes = 0;
  #timer: Timer | undefined;

  constructor(private readonly clock: Clock, private readonly acts: TidyActs) {
    this.#wait();
  }

  /** So many resources came, or went through a dump. */
  note(resourcesCount: number): void {
    this.#resourcesCount += resourcesCount;
    if (this.#resourcesCount >= TIDY_RESOURCES_STEP) this.#release();
  }

  /** This thread has just let go of so much memory that others shared with it. */
  noteGarbage(bytesCount: number): void {
    this.#garbageBytes += bytesCount;
  }

  #release(): void {
    this.#resourcesCount = 0;
    this.#garbageBytes = 0;
    this.acts.release();
  }

  #wait(): void {
    this.#timer = this.clock.after(TIDY_TICK_MS, () => this.#tick(), { background: true });
  }

  #tick(): void {
    this.#wait();
    const now = this.acts.processorMs();
    const usedMs = now - this.#usedMs;
    this.#usedMs = now;
    if (usedMs >= TIDY_BUSY_MS_MIN) {
      this.#workMs += usedMs;
      if (this.#garbageBytes >= TIDY_GARBAGE_BYTES_MAX) this.#release();
      return;
    }
    if (this.#workMs < TIDY_WORTH_MS_MIN && this.#garbageBytes < TIDY_GARBAGE_BYTES_MIN) return;
    this.#workMs = 0;
    // In this order: finding out what the work needed leaves a megabyte of text behind (measured, each thread).
    this.acts.rest();
    this.#release();
    // Tidying is no work.
    this.#usedMs = this.acts.processorMs();
  }

  [Symbol.dispose](): void {
    this.#timer?.cancel();
  }
}
