import { type ByteStream, type Flow, flowOf, type FlowTaker, StreamError } from "#stream";

/** The flow of `stream`: its own, or one made of its promises, which costs a copy and is for tunnels and tests. */
export function flowOver(stream: ByteStream): Flow {
  return flowOf(stream.native) ?? new PulledFlow(stream);
}

interface Write {
  readonly chunk: Uint8Array;
  readonly done: () => void;
}

class PulledFlow implements Flow {
  readonly #writes: Write[] = [];
  #isWriting = false;
  #isFinishing = false;
  #resume: (() => void) | undefined;
  #gate: Promise<void> | undefined;
  #taker: FlowTaker | undefined;

  constructor(private readonly stream: ByteStream) {}

  start(taker: FlowTaker): void {
    this.#taker = taker;
    void this.#readAll(taker);
  }

  write(chunk: Uint8Array, done: () => void): void {
    this.#writes.push({ chunk, done });
    if (!this.#isWriting) void this.#writeAll();
  }

  closeWrite(): void {
    if (this.#isFinishing) return;
    this.#isFinishing = true;
    if (!this.#isWriting) void this.#writeAll();
  }

  pause(): void {
    this.#gate ??= new Promise((resolve) => this.#resume = resolve);
  }

  resume(): void {
    this.#gate = undefined;
    this.#resume?.();
  }

  async #readAll(taker: FlowTaker): Promise<void> {
    try {
      for (let c = await this.stream.read(); c !== null; c = await this.stream.read()) {
        for (let at = 0; at < c.length;) {
          await this.#gate;
          const into = taker.buffer();
          const piece = Math.min(into.length, c.length - at);
          into.set(c.subarray(at, at + piece));
          at += piece;
          taker.received(piece);
        }
      }
      taker.ended();
    } catch (error) {
      taker.failed(streamErrorOf(error));
    }
  }

  async #writeAll(): Promise<void> {
    this.#isWriting = true;
    try {
      for (let next = this.#writes.shift(); next !== undefined; next = this.#writes.shift()) {
        try {
          await this.stream.write(next.chunk);
        } finally {
          next.done();
        }
      }
      if (this.#isFinishing) await this.stream.closeWrite();
    } catch (error) {
      const failure = streamErrorOf(error);
      // A peer that takes nothing more may still have something to say.
      if (failure.kind !== "broken_pipe") this.#taker?.failed(failure);
    }
    this.#isWriting = false;
  }
}

function streamErrorOf(error: unknown): StreamError {
  if (error instanceof StreamError) return error;
  return new StreamError("io", error instanceof Error ? error.message : String(error));
}
