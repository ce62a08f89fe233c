import { type ByteStream, StreamError } from "#stream";
import { constants, type Http2Stream } from "node:http2";

/** How a tunnel learns about the connection it runs on. */
export interface Carrier {
  /** Undefined while the connection takes bytes; otherwise resolves when it does again, or is over. */
  pressure(): Promise<void> | undefined;
  /** Why the connection ended; undefined while it lives or if it ended orderly. */
  readonly error: Error | undefined;
}

interface Waiter<T> {
  readonly resolve: (value: T) => void;
  readonly reject: (error: StreamError) => void;
}

/**
 * A CONNECT stream as bytes. Pulled one chunk at a time: what the application has not taken stays within
 * the stream's window, because credit goes back only for what was read.
 */
export class Tunnel implements ByteStream {
  readonly closed: Promise<void>;
  #chunk: Uint8Array | undefined;
  #ended = false;
  #finishing: Promise<void> | undefined;
  #finished = false;
  #over = false;
  #failure: StreamError | undefined;
  #reader: Waiter<Uint8Array | null> | undefined;
  #writer: Waiter<void> | undefined;
  #finisher: Waiter<void> | undefined;

  constructor(private readonly stream: Http2Stream, private readonly carrier: Carrier) {
    // Explicitly paused: adding a listener for data would start the flow otherwise.
    stream.pause();
    stream.on("data", (chunk: Uint8Array) => this.#onData(chunk));
    stream.on("end", () => this.#onEnd());
    // The reason is in rstCode by the time of "close"; an error without a listener would end the process.
    stream.on("error", () => {});
    this.closed = new Promise((resolve) => {
      stream.on("close", () => {
        this.#onClose();
        resolve();
      });
    });
  }

  /** Somebody would still miss its end. */
  get isLive(): boolean {
    return !this.#over && this.#failure === undefined;
  }

  read(): Promise<Uint8Array | null> {
    if (this.#reader !== undefined) throw new Error("cannot read: a read is under way already");
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#chunk !== undefined) {
      const chunk = this.#chunk;
      this.#chunk = undefined;
      return Promise.resolve(chunk);
    }
    if (this.#ended) return Promise.resolve(null);
    return new Promise((resolve, reject) => {
      this.#reader = { resolve, reject };
      this.stream.resume();
    });
  }

  async write(chunk: Uint8Array): Promise<void> {
    if (this.#writer !== undefined) throw new Error("cannot write: a write is under way already");
    this.#assertWritable();
    if (chunk.length === 0) return;
    await new Promise<void>((resolve, reject) => {
      this.#writer = { resolve, reject };
      this.stream.write(chunk, (error) => {
        if (!error && !this.#isReset) this.#settleWriter();
      });
    });
    // The session accepts bytes for a TCP peer that has stopped reading as long as the HTTP/2 windows allow
    // (runtime.md S7), so the connection's own queue has to hold us back.
    for (let wait = this.carrier.pressure(); wait !== undefined; wait = this.carrier.pressure()) {
      await this.#held(wait);
      this.#assertWritable();
    }
  }

  /** `wait`, or the end of the stream if that comes first. */
  #held(wait: Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      const writer = { resolve, reject };
      this.#writer = writer;
      wait.then(() => {
        if (this.#writer === writer) this.#settleWriter();
      });
    });
  }

  closeWrite(): Promise<void> {
    if (this.#finishing !== undefined) return this.#finishing;
    this.#finishing = new Promise((resolve, reject) => {
      if (this.#failure !== undefined) return reject(this.#failure);
      if (this.#over || this.stream.closed || this.stream.destroyed) return resolve();
      this.#finisher = { resolve, reject };
      this.stream.end(() => {
        if (this.#isReset) return;
        this.#finished = true;
        this.#finisher = undefined;
        resolve();
      });
    });
    // Who finishes and walks away is told by nobody, and must not end the process by that.
    this.#finishing.catch(() => {});
    return this.#finishing;
  }

  abort(): void {
    this.cut(new StreamError("aborted", "we aborted the stream"));
  }

  /** Ends both directions, for the reason given. */
  cut(reason: StreamError): void {
    if (this.#over) return;
    this.#fail(reason);
    reset(this.stream, constants.NGHTTP2_CANCEL);
  }

  /** Lets go of whatever the peer still sends; for requests that were refused. */
  discard(): void {
    this.stream.removeAllListeners("data");
    this.stream.resume();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#ended || !this.#finished) this.abort();
    await this.closed;
  }

  #assertWritable(): void {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#finishing !== undefined) {
      throw new StreamError("broken_pipe", "cannot write after closeWrite");
    }
    if (this.#over || this.stream.closed || this.stream.destroyed) throw this.#writeFailure();
  }

  #writeFailure(): StreamError {
    if (this.#failure !== undefined) return this.#failure;
    if (this.#isReset) return this.#reset(this.stream.rstCode ?? constants.NGHTTP2_NO_ERROR);
    // RFC 9113 section 8.1: NO_ERROR asks us to stop sending, what came before stays valid.
    return new StreamError("broken_pipe", "the peer takes no more bytes");
  }

  /**
   * Node tells a reader "end" and a writer "finish" and success also when the stream was reset; only the code shows what
   * it was. Whoever waits then hears it from "close", which follows.
   */
  get #isReset(): boolean {
    return (this.stream.rstCode ?? constants.NGHTTP2_NO_ERROR) !== constants.NGHTTP2_NO_ERROR ||
      this.carrier.error !== undefined;
  }

  #settleWriter(): void {
    const writer = this.#writer;
    this.#writer = undefined;
    writer?.resolve();
  }

  #reset(code: number): StreamError {
    const lost = this.carrier.error;
    return new StreamError(
      "reset",
      lost === undefined ? `the peer reset the stream: ${nameOf(code)}` : lost.message,
    );
  }

  #onData(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    this.stream.pause();
    const reader = this.#reader;
    this.#reader = undefined;
    if (reader === undefined) this.#chunk = chunk;
    else reader.resolve(chunk);
  }

  #onEnd(): void {
    if (this.#failure !== undefined || this.#isReset) return;
    this.#finishReading();
  }

  #finishReading(): void {
    this.#ended = true;
    const reader = this.#reader;
    this.#reader = undefined;
    reader?.resolve(null);
  }

  #onClose(): void {
    this.#over = true;
    if (this.#failure !== undefined) return;
    if (!this.#isReset || (this.#ended && this.#finished)) {
      this.#finishReading();
      this.#rejectWriting(this.#writeFailure());
      return;
    }
    this.#fail(this.#reset(this.stream.rstCode ?? constants.NGHTTP2_NO_ERROR));
  }

  #fail(failure: StreamError): void {
    this.#failure ??= failure;
    this.#chunk = undefined;
    const reader = this.#reader;
    this.#reader = undefined;
    reader?.reject(this.#failure);
    this.#rejectWriting(this.#failure);
  }

  #rejectWriting(failure: StreamError): void {
    const [writer, finisher] = [this.#writer, this.#finisher];
    this.#writer = undefined;
    this.#finisher = undefined;
    writer?.reject(failure);
    finisher?.reject(failure);
  }
}

/**
 * RST_STREAM and nothing else. Node finishes a stream before it resets it, which on the wire is END_STREAM first: a cut
 * that the peer takes for an orderly end (measured). So that finishing says nothing.
 */
export function reset(stream: Http2Stream, code: number): void {
  stream._final = (done) => done();
  stream.close(code);
  // Bytes that nobody will read would keep the stream open.
  stream.destroy();
}

/** The name of an HTTP/2 error code (RFC 9113 section 7). */
export function nameOf(code: number): string {
  const name = CODE_NAMES[code];
  return name === undefined ? `error code ${code}` : name;
}

const CODE_NAMES: readonly string[] = [
  "NO_ERROR",
  "PROTOCOL_ERROR",
  "INTERNAL_ERROR",
  "FLOW_CONTROL_ERROR",
  "SETTINGS_TIMEOUT",
  "STREAM_CLOSED",
  "FRAME_SIZE_ERROR",
  "REFUSED_STREAM",
  "CANCEL",
  "COMPRESSION_ERROR",
  "CONNECT_ERROR",
  "ENHANCE_YOUR_CALM",
  "INADEQUATE_SECURITY",
  "HTTP_1_1_REQUIRED",
];
