/**
 * A peer that says exactly the frames it is told to (RFC 9113 section 4), as client or as server, over one end of any
 * stream. For attacks, and for whatever no library would send.
 * @module
 */
import { type ByteStream, StreamError } from "#stream";

export const TYPE = {
  data: 0,
  headers: 1,
  priority: 2,
  rst: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;
export const FLAG = { endStream: 1, ack: 1, endHeaders: 4, padded: 8, priority: 32 } as const;
export const CODE = {
  noError: 0,
  protocolError: 1,
  flowControlError: 3,
  settingsTimeout: 4,
  streamClosed: 5,
  frameSizeError: 6,
  refusedStream: 7,
  cancel: 8,
  compressionError: 9,
  enhanceYourCalm: 11,
} as const;
/** Identifiers of SETTINGS (RFC 9113 section 6.5.2). */
export const SETTING = {
  headerTableSize: 1,
  enablePush: 2,
  concurrentStreamsMax: 3,
  initialWindowSize: 4,
  frameSizeMax: 5,
  headerListSizeMax: 6,
} as const;
export const PREFACE = new TextEncoder().encode("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
/** What a frame is before its payload. */
const HEAD_BYTES = 9;
/** Frames kept per peer: enough for every test to find its own, and no flood of answers grows the test itself. */
const FRAMES_MAX = 10_000;

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly id: number;
  readonly payload: Uint8Array;
}

export function frame(
  type: number,
  flags: number,
  id: number,
  payload: Uint8Array = new Uint8Array(),
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(HEAD_BYTES + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, payload.length << 8 | type);
  view.setUint8(4, flags);
  view.setUint32(5, id);
  bytes.set(payload, HEAD_BYTES);
  return bytes;
}

/** HPACK without its table or Huffman: every field a literal (RFC 7541 section 6.2.2). */
export function fields(...pairs: readonly (readonly [string, string])[]): Uint8Array {
  const bytes: number[] = [];
  const text = (value: string) => {
    // RFC 7541 section 5.1, prefix of 7 bits.
    let left = value.length;
    if (left < 127) bytes.push(left);
    else {
      bytes.push(127);
      for (left -= 127; left >= 128; left >>= 7) bytes.push(left & 127 | 128);
      bytes.push(left);
    }
    for (const byte of new TextEncoder().encode(value)) bytes.push(byte);
  };
  for (const [name, value] of pairs) {
    bytes.push(0);
    text(name);
    text(value);
  }
  return Uint8Array.from(bytes);
}

export const CONNECT: readonly (readonly [string, string])[] = [
  [":method", "CONNECT"],
  [":authority", "10.1.0.9:8080"],
];

export function uint32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

export function settings(
  entries: readonly (readonly [number, number])[] = [],
): Uint8Array<ArrayBuffer> {
  const payload = new Uint8Array(entries.length * 6);
  const view = new DataView(payload.buffer);
  entries.forEach(([id, value], at) => {
    view.setUint16(at * 6, id);
    view.setUint32(at * 6 + 2, value);
  });
  return frame(TYPE.settings, 0, 0, payload);
}

export function connectRequest(id: number): Uint8Array<ArrayBuffer> {
  return frame(TYPE.headers, FLAG.endHeaders, id, fields(...CONNECT));
}

export function windowUpdate(id: number, bytes: number): Uint8Array<ArrayBuffer> {
  return frame(TYPE.windowUpdate, 0, id, uint32(bytes));
}

export function resetStream(id: number, code: number = CODE.cancel): Uint8Array<ArrayBuffer> {
  return frame(TYPE.rst, 0, id, uint32(code));
}

export function join(chunks: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}

export interface RawPeerOptions {
  /** Acknowledges SETTINGS and PINGs, as everyone must who stays for longer than a timeout. */
  readonly polite?: boolean;
  /** Called with each frame as it comes, before anybody who waits for it. */
  readonly onFrame?: (frame: Frame, peer: RawPeer) => void;
}

export class RawPeer {
  /** What the other side said, the last 10,000 frames. */
  readonly frames: Frame[] = [];
  /** Resolves when the other side has ended the connection, in whatever way. */
  readonly ended: Promise<void>;
  framesCount = 0;
  #rest = new Uint8Array();
  #sawPreface = false;
  #isOver = false;
  #sending: Promise<void> = Promise.resolve();
  readonly #waiting = new Set<() => void>();

  constructor(readonly stream: ByteStream, private readonly options: RawPeerOptions = {}) {
    this.ended = this.#readAll();
  }

  /** A peer that has said its preface and SETTINGS, as a client. */
  static async client(
    stream: ByteStream,
    options?: RawPeerOptions,
    entries?: readonly (readonly [number, number])[],
  ): Promise<RawPeer> {
    const peer = new RawPeer(stream, options);
    await peer.send(PREFACE, settings(entries));
    return peer;
  }

  /** A peer that has said its SETTINGS, as a server. */
  static async server(
    stream: ByteStream,
    options?: RawPeerOptions,
    entries?: readonly (readonly [number, number])[],
  ): Promise<RawPeer> {
    const peer = new RawPeer(stream, options);
    await peer.send(settings(entries));
    return peer;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** Sends as far as the other side takes it; calls queue up, so that answers may be sent from `onFrame`. */
  send(...chunks: readonly Uint8Array[]): Promise<void> {
    const sent = this.#sending.then(async () => {
      try {
        for (const chunk of chunks) await this.stream.write(chunk);
      } catch (error) {
        if (!(error instanceof StreamError)) throw error;
      }
    });
    this.#sending = sent;
    return sent;
  }

  /** Waits for a frame like this; undefined if the connection ends before. */
  async next(wanted: (frame: Frame) => boolean): Promise<Frame | undefined> {
    for (;;) {
      const found = this.frames.find(wanted);
      if (found !== undefined || this.#isOver) return found;
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  of(type: number, id: number): Promise<Frame | undefined> {
    return this.next((frame) => frame.type === type && frame.id === id);
  }

  /** The code of the other side's GOAWAY, or of its last if there are two; undefined if it ended without. */
  async goawayCode(): Promise<number | undefined> {
    await this.ended;
    const last = this.frames.findLast(({ type }) => type === TYPE.goaway);
    if (last === undefined) return undefined;
    return new DataView(last.payload.buffer, last.payload.byteOffset).getUint32(4);
  }

  async #readAll(): Promise<void> {
    try {
      for (let c = await this.stream.read(); c !== null; c = await this.stream.read()) {
        this.#take(c);
      }
    } catch (error) {
      if (!(error instanceof StreamError)) throw error;
    }
    this.#isOver = true;
    this.#wake();
  }

  #take(chunk: Uint8Array): void {
    const bytes = join([this.#rest, chunk]);
    let at = 0;
    // Only a client's first bytes can start like this: as a frame they would be 5 MB long.
    if (!this.#sawPreface && bytes[0] === PREFACE[0]) {
      if (bytes.length < PREFACE.length) return void (this.#rest = bytes);
      at = PREFACE.length;
    }
    this.#sawPreface ||= bytes.length > 0;
    while (at + HEAD_BYTES <= bytes.length) {
      const view = new DataView(bytes.buffer, at);
      const length = view.getUint32(0) >>> 8;
      const end = at + HEAD_BYTES + length;
      if (end > bytes.length) break;
      this.#keep({
        type: view.getUint8(3),
        flags: view.getUint8(4),
        id: view.getUint32(5) & 0x7fff_ffff,
        payload: bytes.slice(at + HEAD_BYTES, end),
      });
      at = end;
    }
    this.#rest = bytes.slice(at);
    this.#wake();
  }

  #keep(came: Frame): void {
    this.framesCount++;
    if (this.frames.length >= FRAMES_MAX) this.frames.splice(0, FRAMES_MAX / 2);
    this.frames.push(came);
    if (this.options.polite && (came.flags & FLAG.ack) === 0) {
      if (came.type === TYPE.settings) void this.send(frame(TYPE.settings, FLAG.ack, 0));
      if (came.type === TYPE.ping) void this.send(frame(TYPE.ping, FLAG.ack, 0, came.payload));
    }
    this.options.onFrame?.(came, this);
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }
}
