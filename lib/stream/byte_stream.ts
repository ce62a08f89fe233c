/**
 * An ordered, two-way stream of bytes whose directions end on their own: TCP, TLS, a CONNECT stream, a pipe.
 *
 * At most one `read` and one `write` may be under way at a time. Every implementation keeps the contract in
 * `tests/contract/byte_stream.ts`.
 */
export interface ByteStream extends AsyncDisposable {
  /**
   * The next bytes (never empty), lent: they are the caller's until its next `read`. `null` after the peer
   * has finished its direction, and ever after. Rejects with a StreamError.
   */
  read(): Promise<Uint8Array | null>;
  /**
   * Takes the whole chunk; resolves when the buffer may be used again and the stream wants more. This is
   * the backpressure. Rejects with a StreamError.
   */
  write(chunk: Uint8Array): Promise<void>;
  /** Finishes our direction after everything written (FIN, END_STREAM); reading goes on. Idempotent. */
  closeWrite(): Promise<void>;
  /** Ends both directions at once so that the peer notices (TCP RST, RST_STREAM). Idempotent, never throws. */
  abort(): void;
  /** Resolves when both directions are over and every resource is released; never rejects. */
  readonly closed: Promise<void>;
  /** What lies underneath, for the wires that save a copy by it (`linux`, `tls`, `http2`); nobody else looks. */
  readonly native?: unknown;
  /** Aborts unless both directions have finished; waits for `closed`. */
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * - `reset`: the peer ended both directions abruptly (TCP RST, RST_STREAM other than NO_ERROR).
 * - `broken_pipe`: the peer takes nothing any more; what it sent may still be read.
 * - `aborted`: we called `abort`.
 * - `io`: anything else; `message` says what.
 */
export type StreamErrorKind = "reset" | "broken_pipe" | "aborted" | "io";

/** Why a stream ended early. */
export class StreamError extends Error {
  override readonly name = "StreamError";
  constructor(readonly kind: StreamErrorKind, message: string) {
    super(message);
  }
}
