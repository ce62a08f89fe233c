import type net from "node:net";
import { type ByteStream, type Flow, StreamError, type StreamErrorKind } from "#stream";
import type { SocketAddress } from "#values";
import type { SocketWatch } from "./socket_watch.ts";
import { Outlet } from "./outlet.ts";
import { duplicateFdOf, readInto, readOn } from "./runtime_handles.ts";
import { closeFd, isReady } from "./socket.ts";
import { TcpFlow } from "./tcp_flow.ts";

/** An idle connection keeps one read buffer for its next bytes, so the first is small. */
const READ_BUFFER_FIRST_BYTES = 2 * 1024;
/** A read that fills its buffer asks for one so many times as large. */
const READ_BUFFER_GROWTH = 4;
/**
 * What a connection with much to say reads at once. Measured through `relay` over loopback: 64 KiB 9 Gbit/s, 128 KiB 10,
 * 256 KiB 12, against 6 where the runtime allocates; but a connection that was busy once keeps its buffer.
 */
const READ_BUFFER_MAX_BYTES = 128 * 1024;

/**
 * `native` of a stream made here, for `tls` and `http2`. Who takes the socket must do so before the first `read`,
 * which is when reading starts; from then on the stream's own `read`, `write` and `closeWrite` are not to be used, while
 * `abort` and `closed` go on working.
 */
export interface NativeTcp {
  readonly kind: "tcp";
  readonly socket: net.Socket;
  /** Undefined while a read or a write is under way, after the end, and where the runtime lacks what it takes. */
  readonly flow: Flow | undefined;
}

const NO_BYTES = new Uint8Array();

interface Waiting<T> {
  readonly resolve: (value: T) => void;
  readonly reject: (error: StreamError) => void;
}

/** A TCP connection. The socket must be paused, untouched, and allow half-open. */
export class TcpStream implements ByteStream, NativeTcp {
  readonly kind = "tcp";
  readonly closed: Promise<void>;
  readonly #socket: net.Socket;
  readonly #outlet: Outlet;
  /** Lent to the reader until its next `read`; null until reading has started. Never pooled: see `#grow`. */
  #buffer: Uint8Array | null = null;
  /** Reading by the public interface has started. */
  #isPublic = false;
  #flow: TcpFlow | undefined;
  #isFull = false;
  #ended = false;
  #closed = false;
  #aborted = false;
  #cause: Error | undefined;
  #reader: Waiting<Uint8Array | null> | null = null;
  #writer: Waiting<void> | null = null;
  #finisher: Waiting<void> | null = null;
  #finished: Promise<void> | undefined;

  /** Once the peer has finished, `watch` looks whether it is still there. */
  constructor(
    socket: net.Socket,
    readonly local: SocketAddress,
    private readonly watch: SocketWatch,
  ) {
    this.#socket = socket;
    this.#outlet = new Outlet(socket, (error) => {
      this.#cause ??= error;
      socket.destroy();
    });
    socket.on("error", (error: Error) => this.#cause ??= error);
    this.closed = new Promise((resolve) => {
      socket.once("close", () => {
        this.#closed = true;
        this.watch.remove(this);
        this.#settle();
        const isWhole = this.#ended && socket.writableFinished && !this.#aborted;
        this.#flow?.over(isWhole ? undefined : this.#errorOf("read"));
        // After it is told, so that nobody takes what is let go of for written.
        this.#outlet.close();
        resolve();
      });
    });
  }

  get native(): NativeTcp {
    return this;
  }

  get socket(): net.Socket {
    return this.#socket;
  }

  get flow(): Flow | undefined {
    if (this.#aborted || this.#closed || this.#ended || this.#flow !== undefined) return undefined;
    if (this.#reader !== null || this.#writer !== null || this.#finished !== undefined) {
      return undefined;
    }
    if (this.#isPublic || !this.watch.probe.allows(this.#socket)) return undefined;
    const onStart = (flow: TcpFlow): void => {
      const isFirst = this.#buffer === null;
      this.#flow = flow;
      this.#buffer = NO_BYTES;
      if (isFirst) this.#listen();
      this.watch.add(this, () => {
        if (flow.isPaused) this.#endIfGone();
      });
    };
    return new TcpFlow(this.#socket, this.#outlet, onStart);
  }

  read(): Promise<Uint8Array | null> {
    if (this.#reader !== null) throw new Error("cannot read: a read is under way already");
    if (this.#aborted) return Promise.reject(this.#errorOf("read"));
    if (this.#ended) return Promise.resolve(null);
    if (this.#closed) return Promise.reject(this.#errorOf("read"));
    return new Promise((resolve, reject) => {
      this.#reader = { resolve, reject };
      if (this.#isPublic) return void this.#socket.resume();
      if (this.#buffer === null) return this.#start();
      if (this.#isFull) this.#grow();
      readOn(this.#socket);
    });
  }

  write(chunk: Uint8Array): Promise<void> {
    if (this.#writer !== null) throw new Error("cannot write: a write is under way already");
    if (this.#aborted || this.#closed) return Promise.reject(this.#errorOf("write"));
    if (this.#finished !== undefined) {
      return Promise.reject(new StreamError("broken_pipe", "cannot write: already finished"));
    }
    if (chunk.length === 0) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#writer = { resolve, reject };
      this.#outlet.write(chunk, this.#onWritten);
    });
  }

  closeWrite(): Promise<void> {
    if (this.#finished !== undefined) return this.#finished;
    if (this.#aborted || this.#closed) return Promise.reject(this.#errorOf("write"));
    this.#finished = new Promise((resolve, reject) => {
      this.#finisher = { resolve, reject };
      this.#outlet.end(() => {
        const finisher = this.#finisher;
        // A destroyed socket calls back too; then `close` knows the reason.
        if (finisher === null || !this.#socket.writableFinished) return;
        this.#finisher = null;
        finisher.resolve();
      });
    });
    return this.#finished;
  }

  abort(): void {
    if (this.#closed || this.#aborted) return;
    this.#aborted = true;
    this.#settle();
    // Before the reset, which is sent when the last descriptor is closed.
    this.#outlet.close();
    this.#socket.resetAndDestroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!(this.#ended && this.#socket.writableFinished)) this.abort();
    await this.closed;
  }

  #start(): void {
    this.#listen();
    if (this.watch.probe.allows(this.#socket)) {
      this.#buffer = new Uint8Array(new ArrayBuffer(READ_BUFFER_FIRST_BYTES));
      readInto(this.#socket, this.#buffer, this.#onBytes);
      this.#socket.resume();
      return;
    }
    this.#isPublic = true;
    this.#socket.on("data", (chunk: Uint8Array) => {
      this.#socket.pause();
      const reader = this.#reader;
      this.#reader = null;
      reader?.resolve(chunk);
    });
    this.#socket.resume();
  }

  #listen(): void {
    this.#socket.on("end", () => {
      this.#ended = true;
      this.watch.add(this, () => this.#endIfGone());
      const reader = this.#reader;
      this.#reader = null;
      reader?.resolve(null);
      this.#flow?.ended();
    });
  }

  /**
   * Where the runtime does not read, after a FIN or for want of room, it does not see a reset: with a partner that says
   * nothing or takes nothing the connection would stay for ever.
   */
  #endIfGone(): void {
    const fd = duplicateFdOf(this.#socket);
    if (fd < 0) return;
    // No event asked for: what remains is an error or the end of both directions.
    const isGone = isReady(fd, 0);
    closeFd(fd);
    if (isGone && !this.#socket.writableEnded) this.#socket.destroy();
  }

  /**
   * The old buffer is left to the collector. A pool would give it to another connection while whoever was lent it
   * last may still be writing it out: one user's bytes in another's stream.
   */
  #grow(): void {
    const size = Math.min(this.#buffer!.length * READ_BUFFER_GROWTH, READ_BUFFER_MAX_BYTES);
    this.#isFull = false;
    if (size === this.#buffer!.length) return;
    this.#buffer = new Uint8Array(new ArrayBuffer(size));
    readInto(this.#socket, this.#buffer, this.#onBytes);
  }

  readonly #onBytes = (count: number): boolean => {
    const reader = this.#reader;
    if (reader === null) {
      // The runtime read although it was told to stop. Better a broken connection than one with a hole.
      this.#socket.destroy(new Error("bytes came while nobody was reading"));
      return false;
    }
    this.#reader = null;
    this.#isFull = count === this.#buffer!.length;
    reader.resolve(this.#buffer!.subarray(0, count));
    return false;
  };

  readonly #onWritten = (): void => {
    const writer = this.#writer;
    this.#writer = null;
    writer?.resolve();
  };

  #settle(): void {
    this.#reader?.reject(this.#errorOf("read"));
    this.#writer?.reject(this.#errorOf("write"));
    if (this.#socket.writableFinished && !this.#aborted) this.#finisher?.resolve();
    else this.#finisher?.reject(this.#errorOf("write"));
    this.#reader = this.#writer = this.#finisher = null;
  }

  #errorOf(direction: "read" | "write"): StreamError {
    if (this.#aborted) return new StreamError("aborted", "the connection was aborted by us");
    const cause = this.#cause as (Error & { code?: string }) | undefined;
    return new StreamError(kindOf(cause?.code, direction), cause?.message ?? "connection closed");
  }
}

/** After EPIPE nothing is left to read either: a TCP peer that takes nothing has sent RST. */
function kindOf(code: string | undefined, direction: "read" | "write"): StreamErrorKind {
  switch (code) {
    case "ECONNRESET":
    case undefined:
      return "reset";
    case "EPIPE":
    // The runtime may have closed the fd before it tells us that the peer reset it.
    case "EBADF":
    // So does a write that was in flight at that moment.
    case "ECANCELED":
    case "ENOTCONN":
    case "ERR_SOCKET_CLOSED":
    case "ERR_STREAM_DESTROYED":
      return direction === "read" ? "reset" : "broken_pipe";
    default:
      return "io";
  }
}
