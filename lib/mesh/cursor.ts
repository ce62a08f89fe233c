import { Buffer } from "node:buffer";
import { reject } from "./wire_shared.ts";

/** protobuf's own limit for a varint of 64 bits. */
const VARINT_BYTES_MAX = 10;
/** Groups inside groups, in unknown fields; every real message has none. */
const GROUP_DEPTH_MAX = 32;

export const WIRE = { varint: 0, fixed64: 1, bytes: 2, startGroup: 3, endGroup: 4, fixed32: 5 };

/** Whether the field's value is bytes, text, a message, or a packed list. */
export const isBytesTag = (tag: number): boolean => (tag & 7) === WIRE.bytes;
/** The tag of a field whose value is a varint. */
export const varintTag = (field: number): number => field << 3;
/** The tag of a field whose value is bytes, text, a message, or a packed list. */
export const bytesTag = (field: number): number => field << 3 | WIRE.bytes;

/**
 * Reads protobuf from private memory. Fields of another wire type than the schema says are unknown fields, and those are
 * skipped. Rejects whatever is no protobuf.
 */
export class Cursor {
  at = 0;
  /** Nothing behind it is looked at. */
  end: number;
  readonly #bytes: Uint8Array;
  /** The same, for reading texts. */
  readonly #buffer: Buffer;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.end = bytes.byteLength;
  }

  /** Looks at the first `length` bytes from now on. */
  restart(length: number): void {
    this.at = 0;
    this.end = length;
  }

  /** The next tag, or 0 at `end`. */
  tag(end: number): number {
    if (this.at >= end) return 0;
    const tag = this.uint32();
    if (tag >>> 3 === 0) reject("invalid protobuf: field number 0");
    return tag;
  }

  /** The low 32 bits of a varint. */
  uint32(): number {
    let byte = this.#byte();
    if (byte < 0x80) return byte;
    let value = byte & 0x7f;
    for (let index = 1; index < VARINT_BYTES_MAX; index++) {
      byte = this.#byte();
      if (index < 5) value |= (byte & 0x7f) << (7 * index);
      if (byte < 0x80) return value >>> 0;
    }
    reject("invalid protobuf: a number of more than 64 bits");
  }

  /** Enums are signed. */
  int32(): number {
    return this.uint32() | 0;
  }

  bool(): boolean {
    let isSet = false;
    for (let index = 0; index < VARINT_BYTES_MAX; index++) {
      const byte = this.#byte();
      if ((byte & 0x7f) !== 0) isSet = true;
      if (byte < 0x80) return isSet;
    }
    reject("invalid protobuf: a number of more than 64 bits");
  }

  /** Where the value ends that starts here, after its length. */
  length(): number {
    const length = this.uint32();
    const end = this.at + length;
    if (end > this.end) reject("invalid protobuf: it ends in the middle of a field");
    return end;
  }

  text(): string {
    return this.textTo(this.length());
  }

  /** Text without a length of its own. */
  textTo(end: number): string {
    const text = this.#buffer.toString("utf8", this.at, end);
    // The replacement character is what bad bytes become, but somebody may also have written it.
    if (text.includes("\ufffd")) this.#checkUtf8(end);
    this.at = end;
    return text;
  }

  /** Lent: a part of what is read. */
  bytes(): Uint8Array {
    const end = this.length();
    const bytes = this.#bytes.subarray(this.at, end);
    this.at = end;
    return bytes;
  }

  /** A message ends where its length says; a field that reaches further is not in it. */
  close(end: number): void {
    if (this.at !== end) {
      reject("invalid protobuf: a field reaches beyond its message");
    }
  }

  skip(tag: number, depth = 0): void {
    switch (tag & 7) {
      case WIRE.varint:
        this.bool();
        return;
      case WIRE.fixed64:
        return this.#forward(8);
      case WIRE.bytes:
        this.at = this.length();
        return;
      case WIRE.fixed32:
        return this.#forward(4);
      case WIRE.startGroup:
        return this.#skipGroup(tag >>> 3, depth);
      default:
        reject(`invalid protobuf: wire type ${tag & 7}`);
    }
  }

  #skipGroup(field: number, depth: number): void {
    if (depth >= GROUP_DEPTH_MAX) reject("invalid protobuf: groups nested too deeply");
    for (;;) {
      const tag = this.tag(this.end);
      if (tag === 0) reject("invalid protobuf: it ends in the middle of a group");
      if ((tag & 7) !== WIRE.endGroup) this.skip(tag, depth + 1);
      else if (tag >>> 3 === field) return;
      else reject("invalid protobuf: the end of another group");
    }
  }

  #byte(): number {
    if (this.at >= this.end) {
      reject("invalid protobuf: it ends in the middle of a field");
    }
    return this.#bytes[this.at++]!;
  }

  #forward(count: number): void {
    this.at += count;
    if (this.at > this.end) {
      reject("invalid protobuf: it ends in the middle of a field");
    }
  }

  #checkUtf8(end: number): void {
    try {
      new TextDecoder("utf-8", { fatal: true }).decode(this.#buffer.subarray(this.at, end));
    } catch {
      reject("invalid protobuf: text that is not UTF-8");
    }
  }
}
