/** A peer that says exactly the frames it is told to (RFC 9113 section 4), over one end of a stream. */
import { type ByteStream, StreamError } from "#stream";

export const TYPE = {
  data: 0,
  headers: 1,
  rst: 3,
  settings: 4,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;
export const FLAG = { endStream: 1, ack: 1, endHeaders: 4 } as const;
export const PREFACE = new TextEncoder().encode("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

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
): Uint8Array {
  const bytes = new Uint8Array(9 + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, payload.length << 8 | type);
  view.setUint8(4, flags);
  view.setUint32(5, id);
  bytes.set(payload, 9);
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

export class RawPeer {
  readonly frames: Frame[] = [];
  /** Resolves when the other side has ended the connection, in whatever way. */
  readonly ended: Promise<void>;
  #rest = new Uint8Array();
  #wake: () => void = () => {};
  #isOver = false;

  constructor(readonly stream: ByteStream) {
    this.ended = this.#readAll();
  }

  /** A peer that has said its preface and empty SETTINGS, as a client. */
  static async client(stream: ByteStream): Promise<RawPeer> {
    const peer = new RawPeer(stream);
    await peer.send(PREFACE, frame(TYPE.settings, 0, 0));
    return peer;
  }

  /** Sends as far as the other side takes it. */
  async send(...chunks: readonly Uint8Array[]): Promise<void> {
    try {
      for (const chunk of chunks) await this.stream.write(chunk);
    } catch (error) {
      if (!(error instanceof StreamError)) throw error;
    }
  }

  /** Waits for a frame like this; undefined if the connection ends before. */
  async next(wanted: (frame: Frame) => boolean): Promise<Frame | undefined> {
    for (;;) {
      const found = this.frames.find(wanted);
      if (found !== undefined || this.#isOver) return found;
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  of(type: number, id: number): Promise<Frame | undefined> {
    return this.next((frame) => frame.type === type && frame.id === id);
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
    const bytes = new Uint8Array(this.#rest.length + chunk.length);
    bytes.set(this.#rest);
    bytes.set(chunk, this.#rest.length);
    let at = bytes.indexOf(0x50) === 0 ? PREFACE.length : 0;
    while (at + 9 <= bytes.length) {
      const view = new DataView(bytes.buffer, at);
      const length = view.getUint32(0) >>> 8;
      if (at + 9 + length > bytes.length) break;
      this.frames.push({
        type: view.getUint8(3),
        flags: view.getUint8(4),
        id: view.getUint32(5) & 0x7fff_ffff,
        payload: bytes.slice(at + 9, at + 9 + length),
      });
      at += 9 + length;
    }
    this.#rest = bytes.slice(at);
    this.#wake();
  }
}
