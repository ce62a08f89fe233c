import {
  type ByteStream,
  type Ending,
  type Flow,
  type Joining,
  type JunctionListener,
  StreamError,
} from "#stream";
import type { ReceiveBuffer } from "./buffers.ts";
import { Code, nameOf } from "./frames.ts";
import { Joint } from "./joint.ts";
import type { Carrier } from "./carrier.ts";
import type { ReceiveWindow } from "./window.ts";

/** Chunks below this are not worth a view of a large buffer while they wait: they are copied together. */
const HOLD_BYTES_MIN = 4 * 1_024;
/** What small chunks that wait are copied into. */
const GATHER_BYTES = 4 * 1_024;
const DONE = Promise.resolve();

interface Waiter<T> {
  readonly resolve: (value: T) => void;
  readonly reject: (error: StreamError) => void;
}

export interface Waiting {
  chunk: Uint8Array;
  /** Whose view `chunk` is; absent for bytes of its own. */
  readonly held: ReceiveBuffer | undefined;
  /** Room behind `chunk` in the same memory, for what comes next. */
  readonly gather: Uint8Array | undefined;
}

/** A stream as bytes (RFC 9113 section 5.1, from open on). What waits for its reader is bounded by its window. */
export class Tunnel implements ByteStream, Joining {
  readonly closed: Promise<void>;
  #resolveClosed: () => void = () => {};
  /** DATA that the peer takes; negative after it lowered its initial window. */
  sendWindow: number;
  /** In the connection's line of streams that could send. */
  isQueued = false;
  /** The request has its answer; for the judgement of resets. */
  isAnswered = false;
  /** What `content-length` promised, less what came; undefined if nothing was promised. */
  promisedBytes: number | undefined;
  resetCode: number | undefined;
  #waiting: Waiting[] = [];
  #lent: ReceiveBuffer | undefined;
  #reader: Waiter<Uint8Array | null> | undefined;
  #writer: Waiter<void> | undefined;
  #pending: Uint8Array | undefined;
  #finishing: Promise<void> | undefined;
  #finisher: Waiter<void> | undefined;
  /** The peer will send nothing more. */
  remoteEnded = false;
  /** We have said END_STREAM, or may say nothing any more. */
  localEnded = false;
  #drained = false;
  #isOver = false;
  #failure: StreamError | undefined;
  #joint: Joint | undefined;

  constructor(
    readonly id: number,
    private readonly carrier: Carrier,
    sendWindow: number,
    readonly receiveWindow: ReceiveWindow,
  ) {
    this.sendWindow = sendWindow;
    this.closed = new Promise((resolve) => this.#resolveClosed = resolve);
  }

  get native(): Joining {
    return this;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** Nothing waits for the reader. */
  get keepsUp(): boolean {
    return this.#waiting.length === 0;
  }

  /** What waits to be sent. */
  get pending(): Uint8Array | undefined {
    return this.#pending;
  }

  /** It has more to send when there is room. */
  get isAwaitingRoom(): boolean {
    return this.#pending !== undefined || this.#joint?.isPaused === true;
  }

  join(
    flow: Flow,
    listener: JunctionListener,
  ): { readonly outward: Promise<Ending>; readonly inward: Promise<Ending> } | undefined {
    if (this.#isOver || this.#failure !== undefined || this.#finishing !== undefined) {
      return undefined;
    }
    if (this.#reader !== undefined || this.#writer !== undefined || this.#joint !== undefined) {
      return undefined;
    }
    this.#giveBack();
    const joint = this.#joint = new Joint(this, this.carrier, flow, listener);
    joint.start();
    if (this.localEnded) joint.unwanted();
    return joint;
  }

  read(): Promise<Uint8Array | null> {
    if (this.#reader !== undefined) throw new Error("cannot read: a read is under way already");
    this.#giveBack();
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const next = this.#waiting.shift();
    if (next !== undefined) {
      this.#lent = next.held;
      this.carrier.taken(this, next.chunk.length);
      return Promise.resolve(next.chunk);
    }
    if (this.remoteEnded) {
      this.#drained = true;
      return Promise.resolve(null);
    }
    return new Promise((resolve, reject) => this.#reader = { resolve, reject });
  }

  write(chunk: Uint8Array): Promise<void> {
    if (this.#writer !== undefined) throw new Error("cannot write: a write is under way already");
    const refused = this.#writeError();
    if (refused !== undefined) return Promise.reject(refused);
    if (chunk.length === 0) return DONE;
    const sent = this.carrier.sender.send(this, chunk);
    if (sent === chunk.length) return DONE;
    this.#pending = chunk.subarray(sent);
    return new Promise((resolve, reject) => this.#writer = { resolve, reject });
  }

  closeWrite(): Promise<void> {
    if (this.#finishing !== undefined) return this.#finishing;
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.localEnded || this.#isOver) return this.#finishing = DONE;
    if (this.#pending === undefined) {
      this.#finishing = DONE;
      this.#sendEnd();
      return DONE;
    }
    this.#finishing = new Promise((resolve, reject) => this.#finisher = { resolve, reject });
    // Who finishes and walks away is told by nobody, and must not end the process by that.
    this.#finishing.catch(() => {});
    return this.#finishing;
  }

  abort(): void {
    this.resetBy(Code.cancel, new StreamError("aborted", "we aborted the stream"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#drained || !this.localEnded) this.abort();
    await this.closed;
  }

  /** Resets the stream with `code`, for `reason`; where both directions are over, what came and was not taken is let go of. */
  resetBy(code: number, reason: StreamError): void {
    if (this.#isOver) {
      if (!this.#drained || !this.keepsUp) this.#fail(reason);
      return this.#abandon();
    }
    this.carrier.sendReset(this, code);
    this.#fail(reason);
    this.#end();
  }

  /** The peer's DATA: `start` to `end` of what has just been received. */
  take(bytes: Uint8Array, start: number, end: number): void {
    const length = end - start;
    const joint = this.#joint;
    if (joint !== undefined && !joint.isBusy && this.#waiting.length === 0) {
      if (joint.take(bytes.subarray(start, end))) joint.lend(this.carrier.lend());
      return;
    }
    const reader = this.#reader;
    if (reader !== undefined) {
      this.#reader = undefined;
      this.#lent = this.carrier.lend();
      this.carrier.taken(this, length);
      return reader.resolve(bytes.subarray(start, end));
    }
    const held = length < HOLD_BYTES_MIN ? undefined : this.carrier.hold();
    if (held !== undefined) {
      const chunk = bytes.subarray(start, end);
      this.#waiting.push({ chunk, held, gather: undefined });
      return;
    }
    this.#gather(bytes.subarray(start, end));
  }

  /** The peer has finished; false if it had before. */
  takeEnd(): void {
    this.remoteEnded = true;
    if (this.#waiting.length === 0 && this.#reader !== undefined) {
      const reader = this.#reader;
      this.#reader = undefined;
      this.#drained = true;
      reader.resolve(null);
    }
    this.#joint?.drain();
    this.#endIfDone();
  }

  /** RST_STREAM came. */
  takeReset(code: number): void {
    if (this.#isOver) return;
    this.resetCode = code;
    // RFC 9113 section 8.1: NO_ERROR asks us to stop sending, what came before stays valid.
    if (code !== Code.noError) {
      this.#fail(new StreamError("reset", `the peer reset the stream: ${nameOf(code)}`));
      return this.#end();
    }
    this.localEnded = true;
    this.#rejectWriting(this.#brokenPipe());
    this.#joint?.unwanted();
    this.takeEnd();
  }

  /** The connection is lost, for the reason given; nothing can be sent. */
  cut(reason: StreamError): void {
    if (this.#isOver) return;
    this.#fail(reason);
    this.#end();
  }

  /** For the joint: what waits longest. */
  next(): Waiting | undefined {
    return this.#waiting.shift();
  }

  /** For the joint: bytes of its own that no window lets through yet. */
  keep(chunk: Uint8Array): void {
    this.#pending = chunk;
  }

  /** For the joint: nothing is left to be read. */
  noteDrained(): void {
    this.#drained = true;
  }

  /** Called now and then: who has been silent since needs no memory. */
  rest(): void {
    this.#joint?.rest();
  }

  /** There is room again. */
  goOn(): void {
    this.#joint?.goOn();
  }

  /** `count` bytes of what was pending are sent; at 0 left, whoever wrote them goes on. */
  sent(count: number): void {
    const pending = this.#pending!;
    if (count < pending.length) {
      this.#pending = pending.subarray(count);
      return;
    }
    this.#pending = undefined;
    const writer = this.#writer;
    this.#writer = undefined;
    writer?.resolve();
    this.#joint?.keptSent();
    if (this.#finisher === undefined) return;
    const finisher = this.#finisher;
    this.#finisher = undefined;
    this.#sendEnd();
    finisher.resolve();
  }

  /** END_STREAM went out with a frame other than DATA, or what was sent is refused from here on. */
  noteLocalEnd(): void {
    this.localEnded = true;
    this.#endIfDone();
  }

  #sendEnd(): void {
    this.carrier.sender.sendEnd(this);
    this.noteLocalEnd();
  }

  #gather(chunk: Uint8Array): void {
    const last = this.#waiting.at(-1);
    let left = chunk;
    if (last?.gather !== undefined) {
      const used = last.chunk.length;
      const fits = Math.min(left.length, last.gather.length - used);
      last.gather.set(left.subarray(0, fits), used);
      last.chunk = last.gather.subarray(0, used + fits);
      left = left.subarray(fits);
    }
    if (left.length === 0) return;
    const gather = new Uint8Array(new ArrayBuffer(Math.max(GATHER_BYTES, left.length)));
    gather.set(left);
    this.#waiting.push({ chunk: gather.subarray(0, left.length), held: undefined, gather });
  }

  #giveBack(): void {
    if (this.#lent === undefined) return;
    const lent = this.#lent;
    this.#lent = undefined;
    this.carrier.release(lent);
  }

  #writeError(): StreamError | undefined {
    if (this.#failure !== undefined) return this.#failure;
    if (this.#finishing !== undefined) {
      return new StreamError("broken_pipe", "cannot write after closeWrite");
    }
    return this.localEnded || this.#isOver ? this.#brokenPipe() : undefined;
  }

  #brokenPipe(): StreamError {
    return new StreamError("broken_pipe", "the peer takes no more bytes");
  }

  #fail(failure: StreamError): void {
    this.#failure ??= failure;
    this.#dropWaiting();
    const reader = this.#reader;
    this.#reader = undefined;
    reader?.reject(this.#failure);
    this.#rejectWriting(this.#failure);
    this.#joint?.lost(this.#failure);
  }

  #dropWaiting(): void {
    let bytes = 0;
    for (const { chunk, held } of this.#waiting) {
      bytes += chunk.length;
      if (held !== undefined) this.carrier.release(held);
    }
    this.#waiting = [];
    if (bytes > 0) this.carrier.dropped(bytes);
  }

  #rejectWriting(failure: StreamError): void {
    const [writer, finisher] = [this.#writer, this.#finisher];
    this.#pending = undefined;
    this.#writer = undefined;
    this.#finisher = undefined;
    writer?.reject(failure);
    finisher?.reject(failure);
  }

  #endIfDone(): void {
    if (this.remoteEnded && this.localEnded) this.#end();
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.receiveWindow.end();
    if (this.#failure !== undefined) this.#abandon();
    this.carrier.forget(this);
    this.#resolveClosed();
  }

  /** Whoever was lent bytes may still be writing them out, and need not come back after a failure. */
  #abandon(): void {
    if (this.#lent === undefined) return;
    this.carrier.abandon(this.#lent);
    this.#lent = undefined;
  }
}
