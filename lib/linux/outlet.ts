import type net from "node:net";
import { atEndOfTurn } from "#system";
import { C, c, errno } from "./libc.ts";
import { EAGAIN, EINTR, errnoName } from "./errno.ts";
import { waiterOfThread } from "./epoll.ts";
import { recordFd } from "./fd_ledger.ts";
import { duplicateFdOf } from "./runtime_handles.ts";
import { closeFd, isReady } from "./socket.ts";

/** Turns in which a full socket is looked at again before its thread is asked to wait. */
const TURNS_MAX = 4;

interface Write {
  chunk: Uint8Array;
  readonly done: () => void;
}

/**
 * The writing side of a TCP socket, by a descriptor of our own. What the kernel does not take at once must not wait in the
 * runtime: that fails all that waits there with EPIPE as soon as the peer finishes its own direction (measured on Deno
 * 2.9.6, also while nothing is read), so that whoever says FIN behind its question gets half an answer.
 */
export class Outlet {
  /** Undefined before the first write; -1 where there was no descriptor to spare: the runtime writes then. */
  #fd: number | undefined;
  /** In order; the first one is under way. */
  readonly #writes: Write[] = [];
  #isDraining = false;
  #isParked = false;
  #isFailed = false;
  #isClosed = false;
  #onDrained: (() => void) | undefined;

  /** `onError`: why the connection cannot go on; its owner ends it, and closes this when it has ended. */
  constructor(
    private readonly socket: net.Socket,
    private readonly onError: (error: Error) => void,
  ) {}

  /** Takes the whole chunk; it is free again at `done`, which comes at `close` where it could not be written. */
  write(chunk: Uint8Array, done: () => void): void {
    if (this.#isClosed || chunk.length === 0) return done();
    if (this.#isFailed || this.socket.destroyed || this.#writes.length > 0) {
      return void this.#writes.push({ chunk, done });
    }
    const fd = this.#fd ??= recordFd(duplicateFdOf(this.socket));
    if (fd < 0) return this.#writePublicly(chunk, done);
    const taken = this.#send(fd, chunk);
    if (taken === chunk.length) return done();
    this.#writes.push({ chunk: chunk.subarray(taken), done });
    if (!this.#isDraining && !this.#isFailed) void this.#drain(fd);
  }

  /** Finishes our direction when all is with the kernel, then calls `done`, as the socket's own `end` does. */
  end(done: () => void): void {
    const end = (): void => void this.socket.end(done);
    if (this.#writes.length === 0) end();
    else this.#onDrained = end;
  }

  /** Lets go of what is not written. To be called before the socket is reset, and when it is closed. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const fd = this.#fd ?? -1;
    if (fd >= 0) {
      // Cancelled first: by the next turn its number may be another socket's.
      if (this.#isParked) waiterOfThread().cancel(fd);
      closeFd(fd);
    }
    for (const { done } of this.#writes.splice(0)) done();
  }

  #writePublicly(chunk: Uint8Array, done: () => void): void {
    this.socket.write(chunk, (error) => {
      // Also called back without an error when the socket is destroyed.
      if (!error && !this.socket.destroyed) return done();
      this.#writes.push({ chunk, done });
      if (error) this.#fail(error);
    });
  }

  /** How many bytes the kernel took. */
  #send(fd: number, chunk: Uint8Array): number {
    const bytes = chunk as Uint8Array<ArrayBuffer>;
    const taken = Number(
      c.send(fd, bytes, BigInt(chunk.length), C.MSG_NOSIGNAL | C.MSG_DONTWAIT),
    );
    if (taken >= 0) return taken;
    const failed = errno();
    if (failed !== EAGAIN && failed !== EINTR) {
      const name = errnoName(failed);
      this.#fail(Object.assign(new Error(`write ${name}`), { code: name }));
    }
    return 0;
  }

  async #drain(fd: number): Promise<void> {
    this.#isDraining = true;
    try {
      for (let next = this.#writes[0]; next !== undefined; next = this.#writes[0]) {
        await this.#untilRoom(fd);
        if (this.#isClosed || this.#isFailed) break;
        this.#sendWaiting(fd);
        if (this.#isFailed) break;
      }
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)));
    }
    this.#isDraining = false;
    if (this.#isClosed || this.#isFailed) return;
    this.#onDrained?.();
    this.#onDrained = undefined;
  }

  /**
   * A look costs a microsecond, a wait by the thread two switches. On an idle machine hardly any look finds room (measured: 1
   * of 278); on a busy one relays were faster with them in 7 of 11 runs, which is no proof.
   */
  async #untilRoom(fd: number): Promise<void> {
    for (let turn = 0; turn < TURNS_MAX; turn++) {
      await new Promise<void>((resolve) => atEndOfTurn(resolve));
      if (this.#isClosed || isReady(fd, C.POLLOUT)) return;
    }
    this.#isParked = true;
    await waiterOfThread().wait(fd);
    this.#isParked = false;
  }

  #sendWaiting(fd: number): void {
    for (let next = this.#writes[0]; next !== undefined; next = this.#writes[0]) {
      const taken = this.#send(fd, next.chunk);
      next.chunk = next.chunk.subarray(taken);
      if (next.chunk.length > 0) return;
      this.#writes.shift();
      next.done();
      if (this.#isClosed || this.#isFailed) return;
    }
  }

  #fail(error: Error): void {
    if (this.#isFailed || this.#isClosed) return;
    this.#isFailed = true;
    this.onError(error);
  }
}
