import { DRIBBLE_COST, type FloodGuard, TINY_DATA_BYTES } from "./flood.ts";
import { Code, Fault, Flag, WINDOW_BYTES_DEFAULT, WINDOW_BYTES_MAX } from "./frames.ts";
import type { Outbox } from "./outbox.ts";
import type { PeerSettings } from "./settings.ts";
import type { Tunnel } from "./tunnel.ts";

const NOTHING = new Uint8Array();

/** Who may send DATA, and how much: both windows, the peer's frame size, our queue, and one after the other. */
export class Sender {
  /** What the peer takes on the whole connection. */
  #window = WINDOW_BYTES_DEFAULT;
  /** Streams with bytes that their own window lets through. */
  readonly #line: Tunnel[] = [];

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
        const sent = this.#frame(tunnel, chunk, at);
        if (sent === 0) break;
        at += sent;
      }
    }
    if (at < chunk.length && tunnel.sendWindow > 0) this.#queue(tunnel);
    return at;
  }

  sendEnd(tunnel: Tunnel): void {
    this.outbox.data(tunnel.id, Flag.endStream, NOTHING, 0, 0);
  }

  /** Lets streams go on that have been waiting, a frame each in turn. */
  pump(): void {
    while (this.#line.length > 0 && !this.outbox.isFull && this.#window > 0) {
      const tunnel = this.#line.shift()!;
      tunnel.isQueued = false;
      const { pending } = tunnel;
      if (pending === undefined || tunnel.sendWindow <= 0) continue;
      tunnel.sent(this.#frame(tunnel, pending, 0));
      if (tunnel.pending !== undefined && tunnel.sendWindow > 0) this.#queue(tunnel);
    }
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
    if (tunnel.pending !== undefined && tunnel.sendWindow > 0) {
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

  #queue(tunnel: Tunnel): void {
    if (tunnel.isQueued) return;
    tunnel.isQueued = true;
    this.#line.push(tunnel);
  }

  /** One frame of what is at `at`; 0 if nothing may go. */
  #frame(tunnel: Tunnel, chunk: Uint8Array, at: number): number {
    if (this.outbox.isFull) return 0;
    const left = chunk.length - at;
    const allowed = Math.min(left, tunnel.sendWindow, this.#window, this.peer.frameBytesMax);
    if (allowed <= 0) return 0;
    const length = this.outbox.room(allowed);
    this.outbox.data(tunnel.id, 0, chunk, at, length);
    this.#window -= length;
    tunnel.sendWindow -= length;
    this.guard.sent(length);
    if (
      allowed < TINY_DATA_BYTES && allowed < left && this.guard.hit("zero_window", DRIBBLE_COST)
    ) {
      this.onFault(new Fault(Code.enhanceYourCalm, "the peer takes our bytes in crumbs"));
    }
    return length;
  }
}
