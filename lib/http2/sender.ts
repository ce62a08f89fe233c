import { atEndOfTurn } from "#system";
import { DRIBBLE_COST, type FloodGuard, TINY_DATA_BYTES } from "./flood.ts";
import {
  BATCH_BYTES,
  Code,
  Fault,
  Flag,
  HEADER_BYTES,
  WINDOW_BYTES_DEFAULT,
  WINDOW_BYTES_MAX,
} from "./frames.ts";
import type { Batch, Outbox } from "./outbox.ts";
import type { PeerSettings } from "./settings.ts";
import type { Tunnel } from "./tunnel.ts";

const NOTHING = new Uint8Array();
/** DATA of a frame that is a batch. */
const WHOLE_BYTES = BATCH_BYTES - HEADER_BYTES;

/** Who may send DATA, and how much: both windows, the peer's frame size, our queue, and one after the other. */
export class Sender {
  /** What the peer takes on the whole connection. */
  #window = WINDOW_BYTES_DEFAULT;
  /** Streams with bytes that their own window lets through. */
  readonly #line: Tunnel[] = [];
  #isPumpDue = false;

  constructor(
    private readonly outbox: Outbox,
    private readonly peer: PeerSettings,
    private readonly guard: FloodGuard,
    private readonly onFault: (fault: Fault) => void,
  ) {}

  /** Sends as much of `chunk` as may go now and returns its length; `pump` asks for the rest. */
  send(tunnel: Tunnel, chunk: Uint8Array): number {
    let at = 0;
    if (this.#line.length === 0) {
      while (at < chunk.length) {
        const sent = this.#frame(tunnel, chunk, at, chunk.length, false);
        if (sent === 0) break;
        at += sent;
      }
    }
    if (at < chunk.length && tunnel.sendWindow > 0) this.#queue(tunnel);
    return at;
  }

  /**
   * The first `count` of `bytes`, read while `maySend` was true: the queue takes them even if it is full by now, so that
   * only a window can leave some over.
   */
  sendRead(tunnel: Tunnel, bytes: Uint8Array, count: number): number {
    let at = 0;
    while (at < count) {
      const sent = this.#frame(tunnel, bytes, at, count, true);
      if (sent === 0) break;
      at += sent;
    }
    return at;
  }

  /** Memory for a whole frame to be read into, if the windows and the peer take one; for `sendWhole` or `giveBack`. */
  lendWhole(tunnel: Tunnel): Batch | undefined {
    return this.#takes(tunnel, WHOLE_BYTES) ? this.outbox.lend() : undefined;
  }

  giveBack(batch: Batch): void {
    this.outbox.giveBack(batch);
  }

  /** Sends what was read into `batch`; false, and nothing done, if windows have shrunk meanwhile. */
  sendWhole(tunnel: Tunnel, batch: Batch, count: number): boolean {
    if (!this.#takes(tunnel, count)) return false;
    this.outbox.sendWhole(batch, tunnel.id, count);
    this.#window -= count;
    tunnel.sendWindow -= count;
    this.guard.sent(count);
    return true;
  }

  #takes(tunnel: Tunnel, bytes: number): boolean {
    return this.windowOf(tunnel) >= bytes && this.peer.frameBytesMax >= bytes;
  }

  /** Streams wait, or could not send a byte. */
  get isBusy(): boolean {
    return this.#line.length > 0 || this.#window <= 0;
  }

  /** What both windows let through. */
  windowOf(tunnel: Tunnel): number {
    return Math.min(tunnel.sendWindow, this.#window);
  }

  /** Another batch of this stream may be read. */
  maySend(tunnel: Tunnel): boolean {
    return !this.outbox.isFull && this.#line.length === 0 && tunnel.sendWindow > 0 &&
      this.#window > 0;
  }

  /** Calls `goOn` when there is room; at the end of the line. */
  awaitRoom(tunnel: Tunnel): void {
    if (tunnel.sendWindow <= 0) return;
    this.#queue(tunnel);
    this.#pumpLater();
  }

  sendEnd(tunnel: Tunnel): void {
    this.outbox.data(tunnel.id, Flag.endStream, NOTHING, 0, 0);
  }

  /**
   * Lets streams go on that have been waiting, a frame each in turn. Those that read by themselves are let on as many at a
   * time as there is room for; if they have nothing to say, the next ones follow in the next turn.
   */
  pump(): void {
    let { freeBatches } = this.outbox;
    while (this.#line.length > 0 && !this.outbox.isFull && this.#window > 0) {
      const tunnel = this.#line[0]!;
      const { pending } = tunnel;
      if (pending === undefined && tunnel.isAwaitingRoom && freeBatches-- <= 0) break;
      this.#line.shift();
      tunnel.isQueued = false;
      if (tunnel.sendWindow <= 0) continue;
      if (pending === undefined) tunnel.goOn();
      else tunnel.sent(this.#frame(tunnel, pending, 0, pending.length, false));
      if (tunnel.isAwaitingRoom && tunnel.sendWindow > 0) this.#queue(tunnel);
    }
    this.#pumpLater();
  }

  /** WINDOW_UPDATE of the connection. Throws a Fault. */
  widen(bytes: number): void {
    this.#window += bytes;
    if (this.#window > WINDOW_BYTES_MAX) {
      throw new Fault(Code.flowControlError, "the connection's window is above 2^31-1");
    }
    this.pump();
  }

  /** WINDOW_UPDATE or SETTINGS changed the stream's window; false if it overflowed. */
  widenStream(tunnel: Tunnel, bytes: number): boolean {
    tunnel.sendWindow += bytes;
    if (tunnel.sendWindow > WINDOW_BYTES_MAX) return false;
    if (tunnel.isAwaitingRoom && tunnel.sendWindow > 0) {
      this.#queue(tunnel);
      this.pump();
    }
    return true;
  }

  /** What of `tunnel` waits for a window, and not for our own queue. */
  stalledBytes(tunnel: Tunnel): number {
    if (tunnel.sendWindow > 0 && this.#window > 0) return 0;
    return tunnel.pending?.length ?? 0;
  }

  /** The stream is over. Without this a peer that grants no window could fill the line with streams that it has reset. */
  forget(tunnel: Tunnel): void {
    if (!tunnel.isQueued) return;
    tunnel.isQueued = false;
    this.#line.splice(this.#line.indexOf(tunnel), 1);
  }

  #queue(tunnel: Tunnel): void {
    if (tunnel.isQueued) return;
    tunnel.isQueued = true;
    this.#line.push(tunnel);
  }

  /** The queue empties by itself; only streams that were let on and said nothing leave room to the others. */
  #pumpLater(): void {
    if (this.#isPumpDue || this.#line.length === 0 || this.outbox.isFull || this.#window <= 0) {
      return;
    }
    this.#isPumpDue = true;
    atEndOfTurn(this.#onTurn);
  }

  readonly #onTurn = (): void => {
    this.#isPumpDue = false;
    this.pump();
  };

  /** One frame of what is at `at`; 0 if nothing may go. `isOver`: although the queue is full. */
  #frame(tunnel: Tunnel, chunk: Uint8Array, at: number, end: number, isOver: boolean): number {
    if (!isOver && this.outbox.isFull) return 0;
    const left = end - at;
    const allowed = Math.min(left, tunnel.sendWindow, this.#window, this.peer.frameBytesMax);
    if (allowed <= 0) return 0;
    // Both may write a full batch out, and where the kernel takes that at once, other streams send from inside here.
    const length = Math.min(this.outbox.room(allowed), tunnel.sendWindow, this.#window);
    if (length <= 0) return 0;
    this.#window -= length;
    tunnel.sendWindow -= length;
    this.outbox.data(tunnel.id, 0, chunk, at, length);
    this.guard.sent(length);
    if (
      allowed < TINY_DATA_BYTES && allowed < left && this.guard.hit("zero_window", DRIBBLE_COST)
    ) {
      this.onFault(new Fault(Code.enhanceYourCalm, "the peer takes our bytes in crumbs"));
    }
    return length;
  }
}
