import { Code, Fault, Flag, FRAME_BYTES_MIN, HEADER_BYTES, Type, uint32At } from "./frames.ts";

/** Whom frames are read out to. Any method may throw a Fault. */
export interface FrameHandler {
  /** A DATA frame of `length` bytes of payload begins, padding and its length included. */
  dataBegins(id: number, flags: number, length: number): void;
  /** A piece of its data. The memory is the caller's again afterwards. */
  dataPiece(bytes: Uint8Array, start: number, end: number): void;
  /** So many bytes of the frame are padding. */
  dataPadding(bytes: number): void;
  dataEnds(id: number, flags: number): void;
  /** Any other frame, whole; `payload` is without padding and priority, and the caller's again afterwards. */
  frame(type: number, flags: number, id: number, payload: Uint8Array): void;
}

/** What GOAWAY says in words is of no use to us beyond this. */
const GOAWAY_BYTES_MAX = 1_024;
/** By type: the only length that it has. */
const LENGTHS: Readonly<Record<number, number>> = {
  [Type.priority]: 5,
  [Type.rstStream]: 4,
  [Type.ping]: 8,
  [Type.windowUpdate]: 4,
};
const EMPTY = new Uint8Array();

/** Cuts bytes into frames, however they are cut into reads (RFC 9113 section 4.1). Holds no DATA. */
export class FrameReader {
  readonly #head = new Uint8Array(HEADER_BYTES);
  #headLength = 0;
  #type: number = -1;
  #flags = 0;
  #id = 0;
  /** Of the frame's payload, not yet read. */
  #left = 0;
  #padding = 0;
  #wantsPadLength = false;
  /** To be passed over, after what is kept. */
  #skip = 0;
  #payload: Uint8Array = EMPTY;
  #payloadLength = 0;
  /** The stream whose header block must go on; 0 outside of one. */
  #blockId = 0;
  #isFirst = true;

  constructor(
    private readonly handler: FrameHandler,
    private readonly frameBytesMax: number,
    private readonly blockBytesMax: number,
  ) {}

  /** Reads `bytes` from `start` to `end`. Throws a Fault. */
  read(bytes: Uint8Array, start: number, end: number): void {
    let at = start;
    while (at < end) {
      if (this.#type < 0) at = this.#readHead(bytes, at, end);
      else if (this.#type === Type.data) at = this.#readData(bytes, at, end);
      else at = this.#readPayload(bytes, at, end);
    }
  }

  #readHead(bytes: Uint8Array, at: number, end: number): number {
    if (this.#headLength === 0 && end - at >= HEADER_BYTES) {
      this.#begin(bytes, at);
      return at + HEADER_BYTES;
    }
    let next = at;
    while (this.#headLength < HEADER_BYTES && next < end) {
      this.#head[this.#headLength++] = bytes[next++]!;
    }
    if (this.#headLength < HEADER_BYTES) return next;
    this.#headLength = 0;
    this.#begin(this.#head, 0);
    return next;
  }

  #begin(head: Uint8Array, at: number): void {
    const length = (head[at]! << 16) | (head[at + 1]! << 8) | head[at + 2]!;
    const type = head[at + 3]!;
    const flags = head[at + 4]!;
    const id = uint32At(head, at + 5) & 0x7fff_ffff;
    if (length > this.frameBytesMax) {
      throw new Fault(Code.frameSizeError, `a frame of ${length} bytes, more than we allow`);
    }
    if (this.#isFirst && (type !== Type.settings || (flags & Flag.ack) !== 0)) {
      throw new Fault(Code.protocolError, "the peer's first frame is not SETTINGS");
    }
    this.#isFirst = false;
    if (this.#blockId !== 0 && (type !== Type.continuation || id !== this.#blockId)) {
      throw new Fault(Code.protocolError, "a header block is broken off by another frame");
    }
    this.#type = type;
    this.#flags = flags;
    this.#id = id;
    this.#left = length;
    this.#padding = 0;
    this.#skip = 0;
    if (type === Type.data) return this.#beginData(length);
    this.#checkLength(length);
    this.#payloadLength = 0;
    this.#left = this.#kept(length);
    this.#skip = length - this.#left;
    if (this.#left === 0 && this.#skip === 0) this.#finish(EMPTY);
  }

  #beginData(length: number): void {
    if (this.#id === 0) throw new Fault(Code.protocolError, "DATA without a stream");
    this.#wantsPadLength = (this.#flags & Flag.padded) !== 0;
    if (this.#wantsPadLength && length === 0) {
      throw new Fault(Code.frameSizeError, "a padded frame without its pad length");
    }
    this.handler.dataBegins(this.#id, this.#flags, length);
    if (length === 0) this.#finishData();
  }

  #checkLength(length: number): void {
    const wanted = LENGTHS[this.#type];
    if (wanted !== undefined && length !== wanted) {
      throw new Fault(Code.frameSizeError, `a frame of type ${this.#type} with ${length} bytes`);
    }
    if (this.#type === Type.settings && (length % 6 !== 0)) {
      throw new Fault(Code.frameSizeError, `SETTINGS of ${length} bytes`);
    }
    if (this.#type === Type.goaway && length < 8) {
      throw new Fault(Code.frameSizeError, `GOAWAY of ${length} bytes`);
    }
    const isBlock = this.#type === Type.headers || this.#type === Type.continuation;
    if (isBlock && length > this.blockBytesMax + 256) {
      throw new Fault(Code.enhanceYourCalm, `a header block of more than ${length} bytes`);
    }
    if (this.#type === Type.settings && length > FRAME_BYTES_MIN) {
      throw new Fault(Code.enhanceYourCalm, `SETTINGS of ${length} bytes`);
    }
  }

  /** How much of a payload we want to see. */
  #kept(length: number): number {
    if (this.#type === Type.goaway) return Math.min(length, GOAWAY_BYTES_MAX);
    return this.#type > Type.continuation ? 0 : length;
  }

  #readData(bytes: Uint8Array, start: number, end: number): number {
    let at = start;
    if (this.#wantsPadLength) {
      this.#wantsPadLength = false;
      this.#padding = bytes[at++]!;
      this.#left--;
      if (this.#padding > this.#left) {
        throw new Fault(Code.protocolError, "more padding than payload");
      }
      this.handler.dataPadding(1 + this.#padding);
      this.#left -= this.#padding;
    }
    const piece = Math.min(this.#left, end - at);
    if (piece > 0) {
      this.handler.dataPiece(bytes, at, at + piece);
      this.#left -= piece;
      at += piece;
    }
    const passed = Math.min(this.#padding, end - at);
    if (this.#left === 0) {
      this.#padding -= passed;
      at += passed;
      if (this.#padding === 0) this.#finishData();
    }
    return at;
  }

  #finishData(): void {
    this.#type = -1;
    this.handler.dataEnds(this.#id, this.#flags);
  }

  #readPayload(bytes: Uint8Array, start: number, end: number): number {
    let at = start;
    if (this.#left > 0) {
      const piece = Math.min(this.#left, end - at);
      const isWhole = this.#payloadLength === 0 && piece === this.#left && this.#skip === 0;
      if (isWhole) {
        this.#left = 0;
        this.#finish(bytes.subarray(at, at + piece));
        return at + piece;
      }
      if (this.#payloadLength === 0) this.#payload = new Uint8Array(this.#left);
      this.#payload.set(bytes.subarray(at, at + piece), this.#payloadLength);
      this.#payloadLength += piece;
      this.#left -= piece;
      at += piece;
    }
    if (this.#left > 0) return at;
    const passed = Math.min(this.#skip, end - at);
    this.#skip -= passed;
    at += passed;
    if (this.#skip > 0) return at;
    const payload = this.#payload.subarray(0, this.#payloadLength);
    this.#payload = EMPTY;
    this.#finish(payload);
    return at;
  }

  #finish(payload: Uint8Array): void {
    const type = this.#type;
    this.#type = -1;
    if (type === Type.headers || type === Type.continuation) {
      if (type === Type.continuation && this.#blockId === 0) {
        throw new Fault(Code.protocolError, "CONTINUATION without HEADERS before it");
      }
      if (this.#id === 0) throw new Fault(Code.protocolError, "HEADERS without a stream");
      this.#blockId = (this.#flags & Flag.endHeaders) === 0 ? this.#id : 0;
    }
    const body = type === Type.headers ? this.#unpad(payload) : payload;
    this.handler.frame(type, this.#flags, this.#id, body);
  }

  /** A HEADERS payload without its padding and priority. */
  #unpad(payload: Uint8Array): Uint8Array {
    let start = 0;
    let padding = 0;
    if ((this.#flags & Flag.padded) !== 0) {
      if (payload.length < 1) {
        throw new Fault(Code.frameSizeError, "a padded frame without its pad length");
      }
      padding = payload[0]!;
      start = 1;
    }
    if ((this.#flags & Flag.priority) !== 0) {
      if (payload.length < start + 5) throw new Fault(Code.frameSizeError, "HEADERS cut short");
      start += 5;
    }
    if (start + padding > payload.length) {
      throw new Fault(Code.protocolError, "more padding than payload");
    }
    return payload.subarray(start, payload.length - padding);
  }
}
