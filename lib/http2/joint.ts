import type { Ending, Flow, FlowTaker, JunctionListener, StreamError } from "#stream";
import type { ReceiveBuffer } from "./buffers.ts";
import { BATCH_BYTES, HEADER_BYTES } from "./frames.ts";
import type { Batch } from "./outbox.ts";
import type { Carrier } from "./carrier.ts";
import type { Tunnel } from "./tunnel.ts";

/**
 * Where all flows of a thread read what they have to say: it is in a batch, or copied, before the next one reads. A read
 * that fills it is exactly one batch.
 */
const scratch = new Uint8Array(new ArrayBuffer(BATCH_BYTES - HEADER_BYTES));

/** A read of so much makes a stream bulk: its bytes are not copied, for 48 KiB of memory. */
const BULK_BYTES_MIN = 32 * 1_024;

/** A tunnel and a flow that exchange bytes without a promise for each chunk. */
export class Joint implements FlowTaker {
  readonly outward: Promise<Ending>;
  readonly inward: Promise<Ending>;
  #endOutward: ((ending: Ending) => void) | undefined;
  #endInward: ((ending: Ending) => void) | undefined;
  #isWriting = false;
  #isDraining = false;
  #isFinishing = false;
  /** Of the write under way. */
  #bytes = 0;
  #lent: ReceiveBuffer | undefined;
  #isPaused = false;
  /** The last read was a large one: the next goes straight behind its frame's header. */
  #isBulk = false;
  #isQuiet = false;
  /** What the flow reads into while it is bulk. At the end it is the collector's, for the kernel may still know it. */
  #whole: Batch | undefined;
  /** Kept by the tunnel until its window allows them. */
  #keptBytes = 0;

  constructor(
    private readonly tunnel: Tunnel,
    private readonly carrier: Carrier,
    private readonly flow: Flow,
    private readonly listener: JunctionListener,
  ) {
    this.outward = new Promise((resolve) => this.#endOutward = resolve);
    this.inward = new Promise((resolve) => this.#endInward = resolve);
  }

  start(): void {
    this.flow.start(this);
    if (!this.carrier.sender.maySend(this.tunnel)) this.#pause();
    this.drain();
  }

  // What the flow says.

  buffer(): Uint8Array {
    if (this.#isBulk) {
      this.#whole ??= this.carrier.sender.lendWhole(this.tunnel);
      if (this.#whole !== undefined) return this.#whole.body;
    } else if (this.#whole !== undefined) {
      this.carrier.sender.giveBack(this.#whole);
      this.#whole = undefined;
    }
    const window = this.carrier.sender.windowOf(this.tunnel);
    return window >= scratch.length || window <= 0 ? scratch : scratch.subarray(0, window);
  }

  received(count: number): void {
    const { tunnel, carrier } = this;
    if (this.#endOutward === undefined || tunnel.localEnded) return this.#pause();
    const whole = this.#whole;
    this.#isBulk = count >= BULK_BYTES_MIN;
    this.#isQuiet = false;
    let sent = count;
    if (whole !== undefined && carrier.sender.sendWhole(tunnel, whole, count)) {
      this.#whole = undefined;
    } else {
      const bytes = whole?.body ?? scratch;
      sent = carrier.sender.sendRead(tunnel, bytes, count);
      if (sent < count) {
        this.#keptBytes = count - sent;
        tunnel.keep(bytes.slice(sent, count));
      }
    }
    if (sent > 0) this.listener.outward(sent);
    if (sent < count || !carrier.sender.maySend(tunnel)) this.#pause();
  }

  ended(): void {
    if (this.#endOutward === undefined) return;
    if (this.tunnel.localEnded) return this.unwanted();
    this.tunnel.closeWrite().then(
      () => this.#finishOutward({ kind: "finished" }),
      // The tunnel tells by `failed`.
      () => {},
    );
  }

  failed(error: StreamError): void {
    const isIo = error.kind === "io";
    const failure: Ending = isIo ? { kind: "failed", cause: error.message } : { kind: "cut" };
    this.#finishInward(this.#isWriting ? failure : { kind: "cut" });
    this.#finishOutward(failure);
    this.tunnel.abort();
  }

  // What the tunnel says.

  /** DATA came, and nothing waits before it; true if `chunk` is not yet written and has to stay as it is. */
  take(chunk: Uint8Array): boolean {
    this.#write(chunk);
    return this.#isWriting;
  }

  get isBusy(): boolean {
    return this.#isWriting;
  }

  /** What `take` was given lies in `buffer`, to be released when it is written. */
  lend(buffer: ReceiveBuffer): void {
    this.#lent = buffer;
  }

  /** Writes what waits, and finishes after it if the peer has. */
  drain(): void {
    if (this.#isDraining) return;
    this.#isDraining = true;
    while (!this.#isWriting && this.#endInward !== undefined) {
      const next = this.tunnel.next();
      if (next === undefined) break;
      this.#lent = next.held;
      this.#write(next.chunk);
    }
    this.#isDraining = false;
    if (!this.tunnel.remoteEnded || this.#isWriting || this.#isFinishing) return;
    if (this.#endInward === undefined || !this.tunnel.keepsUp) return;
    this.#isFinishing = true;
    this.flow.closeWrite(() => this.#finishInward({ kind: "finished" }));
  }

  /** What the tunnel kept is sent. */
  keptSent(): void {
    this.listener.outward(this.#keptBytes);
    this.#keptBytes = 0;
    if (this.#isPaused) this.carrier.sender.awaitRoom(this.tunnel);
  }

  /** Windows and queue allow more. */
  goOn(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.flow.resume();
  }

  /** Called now and then: whoever has said nothing since the last time needs no memory of its own. */
  rest(): void {
    if (this.#isQuiet && this.#whole !== undefined && !this.#isPaused) {
      this.#isBulk = false;
      this.flow.pause();
      this.flow.resume();
    }
    this.#isQuiet = true;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** The peer takes nothing any more, but may still have something to say. */
  unwanted(): void {
    this.#finishOutward({ kind: "unwanted" });
    this.#pause();
  }

  /** The tunnel is over. */
  lost(failure: StreamError): void {
    const ending: Ending = failure.kind === "io"
      ? { kind: "failed", cause: failure.message }
      : { kind: "cut" };
    this.#finishOutward(ending);
    this.#finishInward(ending);
    this.flow.pause();
  }

  #pause(): void {
    if (!this.#isPaused) {
      this.#isPaused = true;
      this.flow.pause();
    }
    if (this.#endOutward !== undefined && !this.tunnel.localEnded) {
      this.carrier.sender.awaitRoom(this.tunnel);
    }
  }

  #write(chunk: Uint8Array): void {
    this.#isWriting = true;
    this.#bytes = chunk.length;
    this.flow.write(chunk, this.#onWritten);
  }

  readonly #onWritten = (): void => {
    this.#isWriting = false;
    const lent = this.#lent;
    this.#lent = undefined;
    if (lent !== undefined) this.carrier.release(lent);
    // After the end nobody counts it, but the connection's window was used for it.
    if (this.#endInward === undefined) return this.carrier.dropped(this.#bytes);
    this.listener.inward(this.#bytes);
    this.carrier.taken(this.tunnel, this.#bytes);
    this.drain();
  };

  #finishOutward(ending: Ending): void {
    this.#endOutward?.(ending);
    this.#endOutward = undefined;
  }

  #finishInward(ending: Ending): void {
    if (this.#endInward === undefined) return;
    this.tunnel.noteDrained();
    this.#endInward(ending);
    this.#endInward = undefined;
  }
}
