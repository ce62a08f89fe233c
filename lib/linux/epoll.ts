import { C, c, errno, lastingBytes } from "./libc.ts";
import { CallError } from "./errno.ts";
import { closeFd, recordFd } from "./fd_ledger.ts";

/** struct epoll_event is packed on x86_64 alone: u32 events, then u64 data at 4 or, elsewhere, at 8. */
export const EPOLL_EVENT = Deno.build.arch === "x86_64"
  ? { bytes: 12, dataAt: 4 }
  : { bytes: 16, dataAt: 8 };

/** Events taken per wake-up; more wait in the kernel. */
const EVENTS_PER_WAKE_MAX = 64;
/** The parked thread looks up so often, so that a thread that died leaves none behind for longer. */
const PARK_MS = 1000;

let ofThread: WriteWaiter | undefined;

/** The one of this thread: all its waits share one parked thread. Throws a CallError where there is no fd for it. */
export function waiterOfThread(): WriteWaiter {
  return ofThread ??= new WriteWaiter();
}

/**
 * Waits until a connecting socket can be written. One thread of the runtime's pool is parked for any number
 * of waits, and none while nobody waits: the pool is small and shared with files and DNS (32 threads).
 */
export class WriteWaiter {
  readonly #epoll: number;
  /** Wakes the parked thread when nobody waits any more. */
  readonly #bell: number;
  /**
   * By fd. An event carries the serial of its wait: by the time it comes here that wait may be cancelled, and its fd's number
   * another socket's, which would be taken for connected.
   */
  readonly #waits = new Map<number, { readonly serial: number; readonly resolve: () => void }>();
  #serial = 0;
  /** A Worker's memory goes before the thread that is parked for it looks up. */
  readonly #events = lastingBytes(EPOLL_EVENT.bytes * EVENTS_PER_WAKE_MAX);
  readonly #bellCount = new Uint8Array(new ArrayBuffer(8));
  #parked = false;

  constructor() {
    this.#epoll = recordFd(c.epoll_create1(C.O_CLOEXEC));
    if (this.#epoll < 0) throw new CallError("epoll_create1", errno());
    this.#bell = recordFd(c.eventfd(0, C.EFD_CLOEXEC | C.EFD_NONBLOCK));
    if (this.#bell < 0) {
      const failed = errno();
      closeFd(this.#epoll);
      throw new CallError("eventfd", failed);
    }
    this.#control(C.EPOLL_CTL_ADD, this.#bell, C.EPOLLIN);
  }

  /** Resolves when one of `events` is there on `fd`, it has failed or was cancelled. Throws a CallError. */
  wait(fd: number, events: number = C.EPOLLOUT): Promise<void> {
    const serial = this.#serial = (this.#serial + 1) >>> 0;
    this.#control(C.EPOLL_CTL_ADD, fd, events | C.EPOLLONESHOT, serial);
    return new Promise((resolve) => {
      this.#waits.set(fd, { serial, resolve });
      if (!this.#parked) void this.#park();
    });
  }

  /** Ends the wait on `fd`; to be called before it is closed. */
  cancel(fd: number): void {
    this.#finish(fd);
    if (this.#waits.size === 0 && this.#parked) {
      c.write(this.#bell, new Uint8Array(new BigUint64Array([1n]).buffer), 8n);
    }
  }

  #finish(fd: number): void {
    const wait = this.#waits.get(fd);
    if (wait === undefined) return;
    this.#waits.delete(fd);
    this.#control(C.EPOLL_CTL_DEL, fd, 0);
    wait.resolve();
  }

  #control(operation: number, fd: number, events: number, serial = 0): void {
    const event = new Uint8Array(new ArrayBuffer(EPOLL_EVENT.bytes));
    const view = new DataView(event.buffer);
    view.setUint32(0, events >>> 0, true);
    view.setInt32(EPOLL_EVENT.dataAt, fd, true);
    view.setUint32(EPOLL_EVENT.dataAt + 4, serial, true);
    if (c.epoll_ctl(this.#epoll, operation, fd, event) !== 0 && operation === C.EPOLL_CTL_ADD) {
      throw new CallError("epoll_ctl", errno());
    }
  }

  async #park(): Promise<void> {
    this.#parked = true;
    const view = new DataView(this.#events.buffer);
    while (this.#waits.size > 0) {
      // A negative count is EINTR: the loop asks again.
      const count = await c.epoll_wait(this.#epoll, this.#events, EVENTS_PER_WAKE_MAX, PARK_MS);
      for (let index = 0; index < count; index++) {
        const at = index * EPOLL_EVENT.bytes + EPOLL_EVENT.dataAt;
        const fd = view.getInt32(at, true);
        if (fd === this.#bell) c.read(this.#bell, this.#bellCount, 8n);
        else if (this.#waits.get(fd)?.serial === view.getUint32(at + 4, true)) this.#finish(fd);
      }
    }
    this.#parked = false;
  }
}
