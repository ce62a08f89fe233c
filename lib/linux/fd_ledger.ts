import { C, c, errno } from "./libc.ts";
import { CallError } from "./errno.ts";

/**
 * Raw file descriptors of one thread at a time: one for each application's connection, dials under way, listeners that
 * nobody serves yet, what control lends. A descriptor that finds no room is only not closed when its thread dies.
 */
const ENTRIES_MAX = 65_536;
/** The thread's id as the kernel counts it, 0 before the thread has said it. */
const THREAD_SLOT = 0;

/**
 * Which raw file descriptors a data thread holds, in memory that control sees: the runtime closes its sockets when a
 * Worker dies, but knows nothing of these. Whoever takes an entry out, the thread or control, is the one who closes that
 * number, so that none is closed twice.
 */
export class FdLedger {
  readonly #slots: Int32Array;
  /** Where to look first for an empty slot. */
  #next = 0;
  /** Where this side's own entries are. */
  readonly #slotOf = new Map<number, number>();

  constructor(readonly buffer: SharedArrayBuffer = newBuffer()) {
    this.#slots = new Int32Array(buffer);
  }

  /** On the thread itself: what it opens from now on is recorded here. */
  adoptThread(): void {
    Atomics.store(this.#slots, THREAD_SLOT, c.gettid());
    ofThread = this;
  }

  add(fd: number): void {
    for (let tries = 0; tries < ENTRIES_MAX; tries++) {
      const slot = 1 + this.#next;
      this.#next = (this.#next + 1) % ENTRIES_MAX;
      if (Atomics.compareExchange(this.#slots, slot, 0, fd + 1) !== 0) continue;
      this.#slotOf.set(fd, slot);
      return;
    }
  }

  /** Whether this side has put it in. */
  has(fd: number): boolean {
    return this.#slotOf.has(fd);
  }

  /** A second descriptor of the same thing, which the thread is to close. Throws a CallError. */
  lend(fd: number): number {
    const duplicate = duplicateFd(fd);
    this.add(duplicate);
    return duplicate;
  }

  /** Closes what was put in for a thread that has not been told of it. */
  recall(fd: number): void {
    if (this.take(fd)) c.close(fd);
  }

  /** Closes a descriptor that was lent to this thread. */
  static close(fd: number): void {
    handOverFd(fd);
    c.close(fd);
  }

  /** Whether it was there; then it is the caller's alone. */
  take(fd: number): boolean {
    const own = this.#slotOf.get(fd);
    this.#slotOf.delete(fd);
    if (own !== undefined) return this.#clear(own, fd);
    for (let slot = 1; slot <= ENTRIES_MAX; slot++) if (this.#clear(slot, fd)) return true;
    return false;
  }

  #clear(slot: number, fd: number): boolean {
    return Atomics.compareExchange(this.#slots, slot, fd + 1, 0) === fd + 1;
  }

  /** Whether the thread that adopted it still runs; false where it cannot be told. */
  get isThreadAlive(): boolean {
    const thread = Atomics.load(this.#slots, THREAD_SLOT);
    if (thread === 0) return false;
    try {
      Deno.statSync(`/proc/self/task/${thread}`);
      return true;
    } catch {
      return false;
    }
  }

  /** Closes all that is left, once the thread is gone; returns how many that were. */
  closeAll(): number {
    let closedCount = 0;
    for (let slot = 1; slot <= ENTRIES_MAX; slot++) {
      const entry = Atomics.exchange(this.#slots, slot, 0);
      if (entry === 0) continue;
      c.close(entry - 1);
      closedCount++;
    }
    return closedCount;
  }
}

/** The main thread has none: it ends with the process. */
let ofThread: FdLedger | undefined;

/** A raw descriptor of this thread's own. */
export function recordFd(fd: number): number {
  if (fd >= 0) ofThread?.add(fd);
  return fd;
}

/** One that was lent to this thread is its own from now on. */
export function adoptFd(fd: number): void {
  if (ofThread?.take(fd)) ofThread.add(fd);
}

/** The runtime takes it over, and closes it when this thread dies. */
export function handOverFd(fd: number): number {
  ofThread?.take(fd);
  return fd;
}

/** A second descriptor of the same thing, which is the caller's to record or to give away. Throws a CallError. */
export function duplicateFd(fd: number): number {
  const duplicate = c.fcntl(fd, C.F_DUPFD_CLOEXEC, 0);
  if (duplicate < 0) throw new CallError("fcntl(F_DUPFD_CLOEXEC)", errno());
  return duplicate;
}

/** One that `recordFd` knows, or that nobody has recorded. */
export function closeFd(fd: number): void {
  // What control has taken out of a dying thread's ledger it closes itself.
  if (ofThread?.has(fd) && !ofThread.take(fd)) return;
  c.close(fd);
}

function newBuffer(): SharedArrayBuffer {
  return new SharedArrayBuffer((1 + ENTRIES_MAX) * Int32Array.BYTES_PER_ELEMENT);
}
