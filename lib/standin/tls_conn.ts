import { type ByteStream, StreamError } from "#stream";

/** What is read at once. */
const READ_BYTES = 64 * 1024;

/** The runtime's own TLS connection as a ByteStream: it asks nobody for a certificate, as istiod does. */
export class TlsConn implements ByteStream {
  readonly closed: Promise<void>;
  #resolveClosed: () => void = () => {};
  readonly #buffer = new Uint8Array(READ_BYTES);
  #readEnded = false;
  #writeEnded = false;
  #isOver = false;
  #reason: StreamError | undefined;

  constructor(private readonly conn: Deno.TlsConn) {
    this.closed = new Promise((resolve) => this.#resolveClosed = resolve);
  }

  async read(): Promise<Uint8Array | null> {
    if (this.#readEnded) return null;
    try {
      const count = await this.conn.read(this.#buffer);
      if (count !== null) return this.#buffer.subarray(0, count);
    } catch (error) {
      throw this.#fail(error);
    }
    this.#readEnded = true;
    this.#endIfDone();
    return null;
  }

  async write(chunk: Uint8Array): Promise<void> {
    if (this.#isOver || this.#writeEnded) {
      throw this.#reason ?? new StreamError("broken_pipe", "the connection is closed");
    }
    try {
      for (let at = 0; at < chunk.length;) at += await this.conn.write(chunk.subarray(at));
    } catch (error) {
      throw this.#fail(error);
    }
  }

  async closeWrite(): Promise<void> {
    if (this.#writeEnded || this.#isOver) return;
    this.#writeEnded = true;
    try {
      await this.conn.closeWrite();
    } catch {
      // The peer has gone, which is what we wanted.
    }
    this.#endIfDone();
  }

  abort(): void {
    this.#reason ??= new StreamError("aborted", "we ended the connection");
    this.#end();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.abort();
    await this.closed;
  }

  #fail(error: unknown): StreamError {
    const message = error instanceof Error ? error.message : String(error);
    this.#reason ??= new StreamError("reset", message);
    this.#end();
    return this.#reason;
  }

  #endIfDone(): void {
    if (this.#readEnded && this.#writeEnded) this.#end();
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    try {
      this.conn.close();
    } catch {
      // A handshake that failed has closed it.
    }
    this.#resolveClosed();
  }
}
