import { StreamError } from "#stream";
import type { Connection } from "./connection.ts";
import type { Role } from "./role.ts";
import { TINY_DATA_BYTES } from "./flood.ts";
import type { FrameHandler } from "./frame_reader.ts";
import {
  Code,
  Fault,
  Flag,
  nameOf,
  Type,
  uint32,
  uint32At,
  WINDOW_BYTES_DEFAULT,
} from "./frames.ts";
import { firstWindowBytes } from "./settings.ts";
import type { Tunnel } from "./tunnel.ts";

/**
 * Streams that we reset, of which the peer may not know yet: so many of the last. What it still sends on them is no
 * mistake (RFC 9113 section 5.1). Above the 200 streams that it may have at a time.
 */
const IGNORED_MAX = 256;

/** Understands frames and keeps the receiving side's accounts: stream states and both windows. */
export class Receiver implements FrameHandler {
  /** The highest stream that the peer has opened. */
  lastPeerId = 0;
  /** The stream of the DATA frame that is being read; undefined if its bytes are for nobody. */
  #tunnel: Tunnel | undefined;
  /** What the peer may still send on the connection. */
  #window: number;
  /** Taken, not yet given back. */
  #owed = 0;
  /** Before the peer has our SETTINGS, streams have the window of RFC 9113, not a smaller one of ours. */
  #slack: number;
  isSettingsAcked = false;
  readonly #ignored = new Set<number>();

  constructor(private readonly connection: Connection, private readonly role: Role) {
    const { settings } = connection;
    this.#window = Math.max(settings.connectionWindowBytes, WINDOW_BYTES_DEFAULT);
    this.#slack = Math.max(0, WINDOW_BYTES_DEFAULT - firstWindowBytes(settings));
  }

  settingsAcked(): void {
    this.isSettingsAcked = true;
    this.#slack = 0;
  }

  /** What may still come on this stream is passed over. */
  ignore(id: number): void {
    this.#ignored.add(id);
    if (this.#ignored.size <= IGNORED_MAX) return;
    for (const oldest of this.#ignored) {
      this.#ignored.delete(oldest);
      return;
    }
  }

  isIgnored(id: number): boolean {
    return this.#ignored.has(id);
  }

  /** So many bytes are gone from here: the peer may send as many more. */
  credit(bytes: number): void {
    this.#owed += bytes;
    // Measured by what is left and not by the window, so that it also works while much of it is held by stalled streams.
    if (this.#owed * 2 < this.#window || !this.connection.isOpen) return;
    this.connection.outbox.frame(Type.windowUpdate, 0, 0, uint32(this.#owed));
    this.#window += this.#owed;
    this.#owed = 0;
  }

  /** The peer broke the protocol on one stream (RFC 9113 section 5.4.2). */
  refuse(tunnel: Tunnel, code: number, message: string): void {
    this.#chargeReset();
    tunnel.resetBy(code, new StreamError("reset", `${message} (${nameOf(code)})`));
  }

  /** The same where there is no stream any more, or not yet. */
  refuseId(id: number, code: number): void {
    this.#chargeReset();
    this.ignore(id);
    this.connection.outbox.frame(Type.rstStream, 0, id, uint32(code));
  }

  dataBegins(id: number, flags: number, length: number): void {
    this.#window -= length;
    if (this.#window < 0) {
      throw new Fault(Code.flowControlError, "more DATA than the connection's window");
    }
    this.#judge(flags, length);
    this.#tunnel = undefined;
    const tunnel = this.connection.tunnels.get(id);
    if (tunnel === undefined) {
      if (!this.role.hasBeen(id)) {
        throw new Fault(Code.protocolError, `DATA on stream ${id}, which never was`);
      }
      if (!this.#ignored.has(id)) this.refuseId(id, Code.streamClosed);
      return this.credit(length);
    }
    if (tunnel.remoteEnded) {
      this.refuse(tunnel, Code.streamClosed, "DATA after END_STREAM");
      return this.credit(length);
    }
    tunnel.receiveWindow.left -= length;
    if (tunnel.receiveWindow.left < -this.#slack) {
      this.refuse(tunnel, Code.flowControlError, "more DATA than the stream's window");
      return this.credit(length);
    }
    this.#tunnel = tunnel;
  }

  dataPiece(bytes: Uint8Array, start: number, end: number): void {
    const tunnel = this.#tunnel;
    if (tunnel === undefined) return;
    if (tunnel.promisedBytes !== undefined) {
      tunnel.promisedBytes -= end - start;
      if (tunnel.promisedBytes < 0) this.#refuseLength(tunnel);
    }
    if (tunnel.isOver) this.credit(end - start);
    else tunnel.take(bytes, start, end);
  }

  dataPadding(bytes: number): void {
    if (this.#tunnel !== undefined) this.connection.taken(this.#tunnel, bytes);
  }

  dataEnds(_id: number, flags: number): void {
    const tunnel = this.#tunnel;
    this.#tunnel = undefined;
    if (tunnel === undefined || tunnel.isOver || (flags & Flag.endStream) === 0) return;
    this.end(tunnel);
  }

  /** END_STREAM came. */
  end(tunnel: Tunnel): void {
    if ((tunnel.promisedBytes ?? 0) !== 0) return this.#refuseLength(tunnel);
    tunnel.takeEnd();
  }

  frame(type: number, flags: number, id: number, payload: Uint8Array): void {
    switch (type) {
      case Type.headers:
      case Type.continuation: {
        const block = this.connection.blocks.take(type, flags, id, payload);
        if (block !== undefined) this.role.headersCame(block);
        return;
      }
      case Type.rstStream:
        return this.#resetFrame(id, payload);
      case Type.windowUpdate:
        return this.connection.windowFrame(id, payload);
      case Type.settings:
      case Type.ping:
      case Type.goaway:
        return this.#connectionFrame(type, flags, id, payload);
      case Type.pushPromise:
        throw new Fault(Code.protocolError, "PUSH_PROMISE, which nobody may send us");
      case Type.priority:
        if (id === 0) throw new Fault(Code.protocolError, "PRIORITY without a stream");
    }
    // PRIORITY and frames that we do not know mean nothing, but reading them is work.
    if (this.connection.guard.hit("window_update")) {
      throw new Fault(Code.enhanceYourCalm, "too many frames that mean nothing");
    }
  }

  #connectionFrame(type: number, flags: number, id: number, payload: Uint8Array): void {
    if (id !== 0) throw new Fault(Code.protocolError, `a frame of type ${type} on a stream`);
    if (type === Type.settings) this.connection.settingsFrame(flags, payload);
    else if (type === Type.ping) this.connection.pingFrame(flags, payload);
    else this.connection.goawayFrame(payload);
  }

  #resetFrame(id: number, payload: Uint8Array): void {
    const tunnel = this.connection.tunnels.get(id);
    if (tunnel === undefined) {
      if (id !== 0 && this.role.hasBeen(id)) return;
      throw new Fault(Code.protocolError, `RST_STREAM on stream ${id}, which never was`);
    }
    if (this.role.isServer && !tunnel.isAnswered && this.connection.guard.hit("rapid_reset")) {
      throw new Fault(Code.enhanceYourCalm, "too many requests reset before their answer");
    }
    tunnel.takeReset(uint32At(payload, 0));
  }

  #judge(flags: number, length: number): void {
    const { guard } = this.connection;
    guard.received(length);
    if (length >= TINY_DATA_BYTES || (flags & Flag.endStream) !== 0) return;
    if (guard.hit(length === 0 ? "empty_data" : "tiny_data")) {
      throw new Fault(Code.enhanceYourCalm, "too many DATA frames with next to nothing");
    }
  }

  #refuseLength(tunnel: Tunnel): void {
    this.refuse(tunnel, Code.protocolError, "DATA does not add up to content-length");
  }

  #chargeReset(): void {
    if (this.connection.guard.hit("made_you_reset")) {
      throw new Fault(Code.enhanceYourCalm, "too many streams that had to be reset");
    }
  }
}
