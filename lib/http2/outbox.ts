import { atEndOfTurn } from "#system";
import { BATCH_BYTES, HEADER_BYTES, putHeader, Type } from "./frames.ts";

/** Above this many unwritten batches streams wait: 192 KiB per connection keep a fast peer's pipe full. */
const IN_FLIGHT_MAX = 4;
/** Control frames are never held back; a peer that makes us queue so much of them reads none. */
const QUEUE_BYTES_MAX = 1 << 20;
/** What would be left of a batch below this is left empty, unless the whole rest of a chunk fits. */
const SPLIT_BYTES_MIN = 512;
/** Idle batches that a thread keeps: enough for the connections that are busy at one time. */
const POOL_BATCHES_MAX = 64;

/** Where batches go. The bytes are free again at `done`. */
export interface BatchSink {
  write(bytes: Uint8Array, done: () => void): void;
}

/** Memory for frames until they are written out. */
export class Batch {
  readonly bytes = new Uint8Array(new ArrayBuffer(BATCH_BYTES));
  /** Behind the header of a frame that has all of it. */
  readonly body = this.bytes.subarray(HEADER_BYTES);
  length = 0;
  /** Of frames other than DATA. */
  controlBytes = 0;
  owner: Outbox | undefined;
  readonly done = (): void => {
    const { owner, controlBytes } = this;
    this.owner = undefined;
    this.length = 0;
    this.controlBytes = 0;
    if (pool.length < POOL_BATCHES_MAX) pool.push(this);
    owner?.written(controlBytes);
  };
}

const pool: Batch[] = [];

/** Collects the frames of one turn, of every stream, into one write. */
export class Outbox {
  #batch: Batch | undefined;
  #inFlight = 0;
  #controlBytes = 0;
  #isScheduled = false;
  #isShut = false;

  /** `onRoom`: streams may send again. */
  constructor(private readonly sink: BatchSink, private readonly onRoom: () => void) {}

  /** Streams have to wait; control frames have not. */
  get isFull(): boolean {
    return this.#inFlight >= IN_FLIGHT_MAX;
  }

  /** So many streams may fill a batch each. */
  get freeBatches(): number {
    return IN_FLIGHT_MAX - this.#inFlight;
  }

  get isEmpty(): boolean {
    return this.#inFlight === 0 && this.#batch === undefined;
  }

  /** More than DATA is queued than a peer that reads would leave. */
  get isOverrun(): boolean {
    return this.#controlBytes > QUEUE_BYTES_MAX;
  }

  /** How many of `wanted` bytes of DATA go into the next frame. */
  room(wanted: number): number {
    const batch = this.#batch;
    if (batch === undefined) return Math.min(wanted, BATCH_BYTES - HEADER_BYTES);
    const left = BATCH_BYTES - HEADER_BYTES - batch.length;
    if (left >= wanted) return wanted;
    if (left >= SPLIT_BYTES_MIN) return left;
    this.flush();
    return Math.min(wanted, BATCH_BYTES - HEADER_BYTES);
  }

  /** `length` is at most what `room` said. */
  data(id: number, flags: number, source: Uint8Array, at: number, length: number): void {
    if (this.#isShut) return;
    const batch = this.#open(HEADER_BYTES + length);
    putHeader(batch.bytes, batch.length, length, Type.data, flags, id);
    batch.length += HEADER_BYTES;
    if (length === 0) return;
    const whole = at === 0 && length === source.length;
    batch.bytes.set(whole ? source : source.subarray(at, at + length), batch.length);
    batch.length += length;
    if (batch.length >= BATCH_BYTES - HEADER_BYTES) this.flush();
  }

  /** A frame other than DATA; `payload` is at most 16,384 bytes. */
  frame(type: number, flags: number, id: number, payload: Uint8Array): void {
    if (this.#isShut) return;
    const batch = this.#open(HEADER_BYTES + payload.length);
    putHeader(batch.bytes, batch.length, payload.length, type, flags, id);
    batch.bytes.set(payload, batch.length + HEADER_BYTES);
    batch.length += HEADER_BYTES + payload.length;
    batch.controlBytes += HEADER_BYTES + payload.length;
    this.#controlBytes += HEADER_BYTES + payload.length;
  }

  /** Bytes that are no frame: the preface. */
  raw(bytes: Uint8Array): void {
    const batch = this.#open(bytes.length);
    batch.bytes.set(bytes, batch.length);
    batch.length += bytes.length;
  }

  /** A batch of the caller's own, to read a whole frame into; either `sendWhole` or `giveBack` ends that. */
  lend(): Batch {
    return pool.pop() ?? new Batch();
  }

  /** `length` bytes of DATA lie in the body of `batch`: they leave as they are, behind everything said before. */
  sendWhole(batch: Batch, id: number, length: number): void {
    if (this.#isShut) return;
    this.flush();
    putHeader(batch.bytes, 0, length, Type.data, 0, id);
    batch.owner = this;
    this.#inFlight++;
    this.sink.write(batch.bytes.subarray(0, HEADER_BYTES + length), batch.done);
  }

  giveBack(batch: Batch): void {
    if (pool.length < POOL_BATCHES_MAX) pool.push(batch);
  }

  flush(): void {
    const batch = this.#batch;
    if (batch === undefined) return;
    this.#batch = undefined;
    this.#inFlight++;
    this.sink.write(batch.bytes.subarray(0, batch.length), batch.done);
  }

  /** Takes nothing more and lets go of what is not yet written out. */
  shut(): void {
    this.#isShut = true;
    this.#batch = undefined;
  }

  written(controlBytes: number): void {
    this.#inFlight--;
    this.#controlBytes -= controlBytes;
    if (!this.#isShut) this.onRoom();
  }

  #open(bytes: number): Batch {
    if (this.#batch !== undefined && this.#batch.length + bytes > BATCH_BYTES) this.flush();
    if (this.#batch === undefined) {
      this.#batch = pool.pop() ?? new Batch();
      this.#batch.owner = this;
      this.#schedule();
    }
    return this.#batch;
  }

  /** At the end of the turn, after all that the other sockets had to say in it. */
  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    atEndOfTurn(this.#onTurn);
  }

  readonly #onTurn = (): void => {
    this.#isScheduled = false;
    this.flush();
  };
}
