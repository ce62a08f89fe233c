import type { TLSSocket } from "node:tls";
import { type ByteStream, type Flow, StreamError } from "#stream";
import { TlsFlow } from "./tls_flow.ts";
import type { Transport } from "./transport.ts";

/** Plaintext that waits for a reader: above the first we stop reading from below, under the second we go on. */
const QUEUE_BYTES_MAX = 256 * 1024;
const QUEUE_BYTES_LOW = 64 * 1024;

/** Errors by which the runtime says that the connection is gone (EBADF: after a reset, runtime.md J). */
const RESET_CODES: readonly unknown[] = ["ECONNRESET", "EBADF", "ECONNABORTED", "ENOTCONN"];

/** `native` of a stream made here. */
export interface NativeTls {
  readonly kind: "tls";
  readonly socket: TLSSocket;
  /** Undefined once somebody reads or writes, after the end, and where the runtime lacks what it takes. */
  readonly flow: Flow | undefined;
}

type Reader = ReturnType<typeof Promise.withResolvers<Uint8Array | null>>;

/** A verified TLS connection. Nothing is read before the first `read`, so that a flow may take the socket over. */
export class TlsStream implements ByteStream, NativeTls {
  readonly kind = "tls";
  readonly closed: Promise<void>;
  readonly #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #paused = true;
  #started = false;
  #ended = false;
  /** TCP ended before TLS did: what looks like an end is none. */
  #cut = false;
  #finishing: Promise<void> | undefined;
  #finished = false;
  #closed = false;
  #reader: Reader | undefined;
  #writer: ((error: StreamError) => void) | undefined;
  #error: StreamError | undefined;
  #flowing: TlsFlow | undefined;

  /**
   * `stream` is what `transport` wraps; aborting it resets the connection. `mayFlow`: the runtime has what a flow takes,
   * and nothing but TCP lies underneath.
   */
  constructor(
    readonly socket: TLSSocket,
    private readonly transport: Transport,
    private readonly stream: ByteStream,
    private readonly mayFlow: boolean,
  ) {
    const closed = Promise.withResolvers<void>();
    socket.on("error", (error) => this.#fail(streamErrorOf(error)));
    socket.on("end", () => this.#end());
    socket.on("close", () => {
      this.#closed = true;
      this.#fail(new StreamError("reset", "the connection was closed before its end"));
      this.#flowing?.over(this.#error);
      closed.resolve();
    });
    this.closed = closed.promise.then(() => this.stream.closed);
    transport.pause(socket);
  }

  /** TCP has ended although TLS has not. */
  noteCut(): void {
    this.#cut = true;
  }

  get native(): NativeTls {
    return this;
  }

  get flow(): Flow | undefined {
    if (!this.mayFlow || this.#started || this.#error !== undefined) return undefined;
    if (this.#writer !== undefined || this.#finishing !== undefined) return undefined;
    return new TlsFlow(this.socket, this.transport, {
      started: (flow) => {
        this.#started = true;
        this.#flowing = flow;
      },
      tcpEnded: () => {
        if (!this.#ended) this.#cut = true;
      },
      failed: (error) => this.#fail(streamErrorOf(error)),
    });
  }

  read(): Promise<Uint8Array | null> {
    if (this.#error?.kind === "aborted") return Promise.reject(this.#error);
    this.#start();
    const chunk = this.#queue.shift();
    if (chunk !== undefined) {
      this.#queuedBytes -= chunk.length;
      if (this.#queuedBytes <= QUEUE_BYTES_LOW) this.#flow();
      return Promise.resolve(chunk);
    }
    if (this.#ended) return Promise.resolve(null);
    if (this.#error !== undefined) return Promise.reject(this.#error);
    if (this.#reader !== undefined) throw new Error("cannot read: a read is under way already");
    this.#flow();
    this.#reader = Promise.withResolvers<Uint8Array | null>();
    return this.#reader.promise;
  }

  write(chunk: Uint8Array): Promise<void> {
    if (this.#error !== undefined) return Promise.reject(this.#error);
    if (this.#finishing !== undefined) {
      return Promise.reject(new StreamError("broken_pipe", "cannot write: already finished"));
    }
    if (this.#writer !== undefined) throw new Error("cannot write: a write is under way already");
    if (chunk.length === 0) return Promise.resolve();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#writer = reject;
    // The callback comes when TCP has taken it: that is the backpressure, and the buffer is free again.
    this.socket.write(chunk, (error) => {
      this.#writer = undefined;
      if (error) this.#fail(streamErrorOf(error));
      if (error) reject(this.#error);
      else resolve();
    });
    return promise;
  }

  closeWrite(): Promise<void> {
    if (this.#finishing !== undefined) return this.#finishing;
    if (this.#error !== undefined) return Promise.reject(this.#error);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#finishing = promise;
    // A failure is also on `read` and `closed`; nobody has to wait for this promise.
    promise.catch(() => {});
    this.#writer ??= reject;
    this.socket.end(() => {
      this.#writer = undefined;
      this.#finished = true;
      resolve();
    });
    return promise;
  }

  abort(): void {
    if (this.#closed) return;
    this.#fail(new StreamError("aborted", "the stream was aborted"));
    this.#queue.length = 0;
    // The stream below first: destroying the TLSSocket would send close_notify and FIN, which looks like an end.
    this.stream.abort();
    this.socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!(this.#ended && (this.#finished || this.socket.writableFinished))) this.abort();
    await this.closed;
  }

  #start(): void {
    if (this.#started) return;
    this.#started = true;
    this.socket.on("data", (chunk: Uint8Array) => this.#take(chunk));
  }

  #take(chunk: Uint8Array): void {
    if (chunk.length === 0 || this.#error !== undefined) return;
    if (this.#reader !== undefined) {
      const { resolve } = this.#reader;
      this.#reader = undefined;
      return resolve(chunk);
    }
    this.#queue.push(chunk);
    this.#queuedBytes += chunk.length;
    if (this.#queuedBytes < QUEUE_BYTES_MAX || this.#paused) return;
    this.#paused = true;
    this.transport.pause(this.socket);
  }

  #flow(): void {
    if (!this.#paused || this.#closed || this.#ended) return;
    this.#paused = false;
    this.transport.resume(this.socket);
  }

  #end(): void {
    if (this.#cut) {
      this.#fail(new StreamError("reset", "the connection ended without close_notify"));
      // The writing direction still waits for somebody to end it.
      this.socket.destroy();
      return;
    }
    this.#ended = true;
    this.#reader?.resolve(null);
    this.#reader = undefined;
    this.#flowing?.ended();
  }

  #fail(error: StreamError): void {
    const isWhole = this.#ended && (this.#finished || this.socket.writableFinished);
    if (error.kind === "aborted" || !isWhole) this.#error ??= error;
    if (this.#error === undefined) return;
    this.#reader?.reject(this.#error);
    this.#reader = undefined;
    this.#writer?.(this.#error);
    this.#writer = undefined;
    this.#flowing?.over(this.#error);
  }
}

function streamErrorOf(error: Error & { code?: unknown }): StreamError {
  if (error instanceof StreamError) return error;
  if (RESET_CODES.includes(error.code)) return new StreamError("reset", error.message);
  return new StreamError(error.code === "EPIPE" ? "broken_pipe" : "io", error.message);
}
