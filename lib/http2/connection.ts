import { type ByteStream, type Flow, type FlowTaker, StreamError } from "#stream";
import type { Clock, Timer } from "#system";
import { type ReceiveBuffer, ReceiveBuffers } from "./buffers.ts";
import { FloodGuard, settingsCost } from "./flood.ts";
import { FrameReader } from "./frame_reader.ts";
import {
  Code,
  Fault,
  Flag,
  nameOf,
  PREFACE,
  putUint32,
  Type,
  uint32,
  uint32At,
  WINDOW_BYTES_DEFAULT,
} from "./frames.ts";
import { HeaderBlocks } from "./header_blocks.ts";
import type { HeaderField } from "./hpack.ts";
import { answerPing, Liveness } from "./liveness.ts";
import { Outbox } from "./outbox.ts";
import { Receiver } from "./receiver.ts";
import type { Role } from "./role.ts";
import { Sender } from "./sender.ts";
import { announced, firstWindowBytes, PeerSettings } from "./settings.ts";
import type { Carrier } from "./carrier.ts";
import { Tunnel } from "./tunnel.ts";
import type { Http2Settings } from "./types.ts";
import { ReceiveWindow } from "./window.ts";
import { flowOver } from "./wire.ts";

/** After our GOAWAY a peer that does not close its side is cut off. */
const CLOSE_LINGER_MS = 1_000;
/** RFC 9113 section 6.5.3 leaves the time to us; it is a round trip and a turn of the peer's loop. */
const SETTINGS_ACK_TIMEOUT_MS = 10_000;
const EMPTY = new Uint8Array();

/** One HTTP/2 connection, either side: bytes in, frames understood, bytes out (RFC 9113). */
export class Connection implements Carrier, FlowTaker {
  readonly closed: Promise<Error | undefined>;
  #resolveClosed: (error: Error | undefined) => void = () => {};
  readonly tunnels = new Map<number, Tunnel>();
  readonly guard: FloodGuard;
  readonly peer = new PeerSettings();
  readonly outbox: Outbox;
  readonly blocks: HeaderBlocks;
  readonly liveness: Liveness;
  readonly receiver: Receiver;
  readonly sender: Sender;
  readonly #reader: FrameReader;
  readonly #buffers = new ReceiveBuffers();
  readonly #flow: Flow;
  #buffer: Uint8Array = EMPTY;
  #wasFilled = false;
  /** Of the client's preface, still to come. */
  #prefaceLeft: number;
  #state: "open" | "ending" | "over" = "open";
  #hasSettings = false;
  #settingsTimer: Timer | undefined;
  #lingerTimer: Timer | undefined;
  /** One of both sides has announced an orderly end. */
  isClosing = false;
  error: Error | undefined;

  constructor(
    private readonly stream: ByteStream,
    readonly settings: Http2Settings,
    private readonly clock: Clock,
    private readonly role: Role,
  ) {
    this.closed = new Promise((resolve) => this.#resolveClosed = resolve);
    this.guard = new FloodGuard(clock, role.onFlood);
    this.#flow = flowOver(stream);
    this.outbox = new Outbox(this.#flow, () => this.sender.pump());
    this.blocks = new HeaderBlocks(settings.headerListBytesMax, this.guard);
    this.sender = new Sender(this.outbox, this.peer, this.guard, (fault) => this.#fault(fault));
    this.receiver = new Receiver(this, role);
    this.#reader = new FrameReader(
      this.receiver,
      settings.frameBytesMax,
      HeaderBlocks.bytesMax(settings.headerListBytesMax),
    );
    this.liveness = new Liveness(
      this.outbox,
      settings,
      clock,
      () => this.#tick(),
      (message) => this.cutOff(new Error(message)),
    );
    this.#prefaceLeft = role.isServer ? PREFACE.length : 0;
  }

  /** Says our preface and begins to listen. */
  start(): void {
    const { settings, role } = this;
    if (!role.isServer) this.outbox.raw(PREFACE);
    this.outbox.frame(Type.settings, 0, 0, announced(settings, role.isServer));
    const wider = settings.connectionWindowBytes - WINDOW_BYTES_DEFAULT;
    if (wider > 0) this.outbox.frame(Type.windowUpdate, 0, 0, uint32(wider));
    this.#settingsTimer = this.clock.after(role.settingsTimeoutMs, () => {
      this.guard.hit("handshake");
      this.cutOff(new Error(`the peer sent no SETTINGS within ${role.settingsTimeoutMs} ms`));
    });
    this.#flow.start(this);
    this.stream.closed.then(() => this.#finish());
  }

  get isOpen(): boolean {
    return this.#state === "open";
  }

  get isBusy(): boolean {
    return this.sender.isBusy;
  }

  /** A new stream of either side. */
  open(id: number): Tunnel {
    const { streamWindowBytes } = this.settings;
    const window = new ReceiveWindow(firstWindowBytes(this.settings), streamWindowBytes);
    const tunnel = new Tunnel(id, this, this.peer.initialWindowBytes, window);
    this.tunnels.set(id, tunnel);
    return tunnel;
  }

  /** Sends a header block; false if the peer takes no list of this size. */
  sendHeaders(id: number, fields: readonly HeaderField[], endStream: boolean): boolean {
    return this.blocks.send(this.outbox, this.peer, id, fields, endStream);
  }

  sendGoaway(lastId: number, code: number): void {
    const payload = new Uint8Array(8);
    putUint32(payload, 0, lastId);
    putUint32(payload, 4, code);
    this.outbox.frame(Type.goaway, 0, 0, payload);
  }

  /** Ends an idle connection in good order, or with what is left of it; `code` is the GOAWAY's. */
  shut(code: number, reason: StreamError): void {
    if (this.#state !== "open") return;
    this.#state = "ending";
    // One by one, since a peer may take the end of a connection for the end of its streams.
    for (const tunnel of [...this.tunnels.values()]) tunnel.resetBy(Code.cancel, reason);
    this.sendGoaway(this.receiver.lastPeerId, code);
    this.#end();
  }

  /** Ends at once and without waiting: the peer does not listen any more. */
  cutOff(error: Error): void {
    if (this.#state === "over") return;
    this.error ??= error;
    this.shut(Code.noError, new StreamError("reset", error.message));
    this.stream.abort();
    this.#finish();
  }

  /** We end it, streams included. */
  destroy(): void {
    if (this.#state !== "open") return;
    this.isClosing = true;
    this.shut(Code.noError, new StreamError("reset", "we ended the connection"));
  }

  // What the flow says.

  buffer(): Uint8Array {
    return this.#buffer = this.#buffers.next(this.#wasFilled);
  }

  received(count: number): void {
    this.#wasFilled = count === this.#buffer.length;
    if (this.#state !== "open") return;
    try {
      const at = this.#prefaceLeft > 0 ? this.#readPreface(count) : 0;
      if (at < count) this.#reader.read(this.#buffer, at, count);
    } catch (error) {
      this.#fault(error);
    }
    if (this.outbox.isOverrun) {
      this.#fault(new Fault(Code.enhanceYourCalm, "the peer asks and reads no answers"));
    }
  }

  ended(): void {
    if (this.#state !== "open") return;
    this.#state = "ending";
    if (!this.isClosing || this.tunnels.size > 0) {
      this.error ??= new Error("the peer closed the connection");
    }
    this.#cutTunnels(this.error?.message ?? "the peer closed the connection");
    this.#end();
  }

  failed(error: StreamError): void {
    if (this.#state === "open") {
      this.#state = "ending";
      if (!this.isClosing || this.tunnels.size > 0) this.error ??= error;
      this.#cutTunnels(error.message);
    }
    this.stream.abort();
    this.#finish();
  }

  // What tunnels ask for.

  sendReset(tunnel: Tunnel, code: number): void {
    this.receiver.ignore(tunnel.id);
    this.outbox.frame(Type.rstStream, 0, tunnel.id, uint32(code));
  }

  taken(tunnel: Tunnel, bytes: number): void {
    this.receiver.credit(bytes);
    const credit = tunnel.remoteEnded || tunnel.isOver
      ? 0
      : tunnel.receiveWindow.take(bytes, tunnel.keepsUp);
    if (credit > 0) this.outbox.frame(Type.windowUpdate, 0, tunnel.id, uint32(credit));
  }

  dropped(bytes: number): void {
    this.receiver.credit(bytes);
  }

  forget(tunnel: Tunnel): void {
    this.tunnels.delete(tunnel.id);
    this.sender.forget(tunnel);
    this.role.tunnelEnded(tunnel);
  }

  hold(): ReceiveBuffer | undefined {
    return this.#buffers.mayHold ? this.#buffers.pin() : undefined;
  }

  lend(): ReceiveBuffer {
    return this.#buffers.pin();
  }

  release(buffer: ReceiveBuffer): void {
    this.#buffers.release(buffer);
  }

  abandon(buffer: ReceiveBuffer): void {
    this.#buffers.abandon(buffer);
  }

  // What the receiver hands on.

  settingsFrame(flags: number, payload: Uint8Array): void {
    if ((flags & Flag.ack) !== 0) {
      if (payload.length > 0) throw new Fault(Code.frameSizeError, "SETTINGS with ACK and a load");
      this.receiver.settingsAcked();
      if (this.#hasSettings) this.#settingsTimer?.cancel();
      return;
    }
    this.#charge("settings", settingsCost(payload.length / 6));
    const before = this.peer.initialWindowBytes;
    const tableBytes = this.peer.headerTableBytes;
    this.peer.apply(payload, this.role.isServer);
    if (this.peer.headerTableBytes !== tableBytes) {
      this.#charge("hpack_table", 1);
      this.blocks.setTableSizeMax(this.peer.headerTableBytes);
    }
    this.outbox.frame(Type.settings, Flag.ack, 0, EMPTY);
    const change = this.peer.initialWindowBytes - before;
    for (const tunnel of change === 0 ? [] : this.tunnels.values()) {
      if (this.sender.widenStream(tunnel, change)) continue;
      throw new Fault(Code.flowControlError, "SETTINGS widen a stream beyond 2^31-1");
    }
    if (!this.#hasSettings) this.#settle();
    this.role.settingsCame();
  }

  pingFrame(flags: number, payload: Uint8Array): void {
    if ((flags & Flag.ack) !== 0) return this.liveness.answered(payload);
    this.#charge("ping", 1);
    answerPing(this.outbox, payload);
  }

  windowFrame(id: number, payload: Uint8Array): void {
    this.#charge("window_update", 1);
    const bytes = uint32At(payload, 0) & 0x7fff_ffff;
    if (id === 0) {
      if (bytes === 0) throw new Fault(Code.protocolError, "WINDOW_UPDATE of 0");
      return this.sender.widen(bytes);
    }
    const tunnel = this.tunnels.get(id);
    if (tunnel === undefined) {
      if (this.role.hasBeen(id)) return;
      throw new Fault(Code.protocolError, `WINDOW_UPDATE on stream ${id}, which never was`);
    }
    if (bytes === 0) return this.receiver.refuse(tunnel, Code.protocolError, "WINDOW_UPDATE of 0");
    if (this.sender.widenStream(tunnel, bytes)) return;
    this.receiver.refuse(tunnel, Code.flowControlError, "a window above 2^31-1");
  }

  goawayFrame(payload: Uint8Array): void {
    const code = uint32At(payload, 4);
    if (code === Code.noError) this.isClosing = true;
    else this.error ??= new Error(`the peer sent GOAWAY: ${nameOf(code)}`);
    this.role.goawayCame(uint32At(payload, 0) & 0x7fff_ffff, code);
  }

  #charge(kind: Parameters<FloodGuard["hit"]>[0], amount: number): void {
    if (!this.guard.hit(kind, amount)) return;
    throw new Fault(Code.enhanceYourCalm, `too much of ${kind}`);
  }

  #settle(): void {
    this.#hasSettings = true;
    this.#settingsTimer?.cancel();
    if (!this.receiver.isSettingsAcked) {
      this.#settingsTimer = this.clock.after(SETTINGS_ACK_TIMEOUT_MS, () => {
        const message = `the peer did not accept our SETTINGS in ${SETTINGS_ACK_TIMEOUT_MS} ms`;
        this.#fault(new Fault(Code.settingsTimeout, message));
      }, { background: true });
    }
    this.liveness.start();
  }

  /** Returns where the frames begin. */
  #readPreface(count: number): number {
    const from = PREFACE.length - this.#prefaceLeft;
    const piece = Math.min(count, this.#prefaceLeft);
    for (let at = 0; at < piece; at++) {
      if (this.#buffer[at] === PREFACE[from + at]) continue;
      throw new Fault(Code.protocolError, "the peer does not speak HTTP/2");
    }
    this.#prefaceLeft -= piece;
    return piece;
  }

  #tick(): void {
    this.#buffers.rest();
    let stalledBytes = 0;
    for (const tunnel of this.tunnels.values()) {
      tunnel.rest();
      stalledBytes += this.sender.stalledBytes(tunnel);
    }
    if (stalledBytes === 0) return;
    if (this.guard.hit("zero_window", Math.ceil(stalledBytes / 1_024))) {
      this.#fault(new Fault(Code.enhanceYourCalm, "the peer grants no window for what we hold"));
    }
  }

  /** A Fault is the peer's; anything else is a bug of ours, which ends this connection and no other. */
  #fault(error: unknown): void {
    if (this.#state !== "open") return;
    this.#state = "ending";
    const [code, message] = error instanceof Fault
      ? [error.code, `${error.message} (${nameOf(error.code)})`]
      : [Code.internalError, `a bug: ${error instanceof Error ? error.message : String(error)}`];
    this.error ??= new Error(message);
    this.#cutTunnels(message);
    this.sendGoaway(this.receiver.lastPeerId, code);
    this.#end();
  }

  #cutTunnels(message: string): void {
    const reason = new StreamError("reset", message);
    for (const tunnel of [...this.tunnels.values()]) tunnel.cut(reason);
  }

  #end(): void {
    this.#settingsTimer?.cancel();
    this.liveness.stop();
    this.outbox.flush();
    this.#flow.closeWrite();
    this.#lingerTimer = this.clock.after(CLOSE_LINGER_MS, () => {
      this.stream.abort();
      this.#finish();
    });
  }

  #finish(): void {
    if (this.#state === "over") return;
    const wasOpen = this.#state === "open";
    this.#state = "over";
    if (wasOpen) this.#cutTunnels((this.error ??= new Error("the connection was closed")).message);
    this.#settingsTimer?.cancel();
    this.liveness.stop();
    this.#lingerTimer?.cancel();
    this.outbox.shut();
    this.#resolveClosed(this.error);
  }
}
