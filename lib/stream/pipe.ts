import { type ByteStream, StreamError } from "./byte_stream.ts";

/**
 * Two connected streams in memory. A write resolves when the other end has read the chunk, so a pipe holds
 * at most one chunk each way.
 */
export function pipe(): [ByteStream, ByteStream] {
  const there = new Half();
  const back = new Half();
  const left = new PipeEnd(back, there);
  const right = new PipeEnd(there, back);
  return [left, right];
}

/** One direction: a slot for the chunk that waits, or for the reader that does. */
class Half {
  #offered: { chunk: Uint8Array; taken: () => void; failed: (error: StreamError) => void } | null =
    null;
  #reader:
    | { resolve: (chunk: Uint8Array | null) => void; reject: (error: StreamError) => void }
    | null = null;
  #finished = false;
  #readerError: StreamError | undefined;
  #writerError: StreamError | undefined;
  #isOver = false;
  readonly #over = Promise.withResolvers<void>();
  readonly closed = this.#over.promise;

  get isOver(): boolean {
    return this.#isOver;
  }

  read(): Promise<Uint8Array | null> {
    if (this.#readerError !== undefined) return Promise.reject(this.#readerError);
    if (this.#reader !== null) throw new Error("cannot read: a read is under way already");
    if (this.#offered !== null) {
      const { chunk, taken } = this.#offered;
      this.#offered = null;
      // A copy: the writer may use its buffer again while the reader still looks.
      const copy = chunk.slice();
      taken();
      return Promise.resolve(copy);
    }
    if (this.#finished) {
      this.#end();
      return Promise.resolve(null);
    }
    return new Promise((resolve, reject) => this.#reader = { resolve, reject });
  }

  write(chunk: Uint8Array): Promise<void> {
    if (this.#writerError !== undefined) return Promise.reject(this.#writerError);
    if (this.#finished) {
      return Promise.reject(new StreamError("broken_pipe", "cannot write: already finished"));
    }
    if (this.#offered !== null) throw new Error("cannot write: a write is under way already");
    if (chunk.length === 0) return Promise.resolve();
    if (this.#reader !== null) {
      const { resolve } = this.#reader;
      this.#reader = null;
      resolve(chunk.slice());
      return Promise.resolve();
    }
    return new Promise((taken, failed) => this.#offered = { chunk, taken, failed });
  }

  finish(): Promise<void> {
    if (this.#writerError !== undefined) return Promise.reject(this.#writerError);
    this.#finished = true;
    if (this.#offered === null && this.#reader !== null) {
      const { resolve } = this.#reader;
      this.#reader = null;
      this.#end();
      resolve(null);
    }
    return Promise.resolve();
  }

  break(forReader: StreamError, forWriter: StreamError): void {
    // A direction that has ended stays ended: its reader reads null ever after.
    if (this.#isOver) return;
    this.#readerError ??= forReader;
    this.#writerError ??= forWriter;
    this.#reader?.reject(this.#readerError);
    this.#offered?.failed(this.#writerError);
    this.#reader = this.#offered = null;
    this.#end();
  }

  #end(): void {
    this.#isOver = true;
    this.#over.resolve();
  }
}

class PipeEnd implements ByteStream {
  readonly closed: Promise<void>;

  constructor(private readonly inward: Half, private readonly outward: Half) {
    this.closed = Promise.all([inward.closed, outward.closed]).then(() => {});
  }

  read(): Promise<Uint8Array | null> {
    return this.inward.read();
  }

  write(chunk: Uint8Array): Promise<void> {
    return this.outward.write(chunk);
  }

  closeWrite(): Promise<void> {
    return this.outward.finish();
  }

  abort(): void {
    if (this.inward.isOver && this.outward.isOver) return;
    const ours = new StreamError("aborted", "the stream was aborted");
    const theirs = new StreamError("reset", "the peer reset the stream");
    this.inward.break(ours, theirs);
    this.outward.break(theirs, ours);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.abort();
    await this.closed;
  }
}
