import { fieldBytes, type HeaderField, HpackTable } from "./hpack_table.ts";
import { encodeHuffman, huffmanBytes } from "./huffman.ts";

/** What both sides begin with (RFC 9113, 6.5.2), and the most that we keep, whatever the peer offers. */
const TABLE_BYTES_MAX = 4_096;
/** An integer below 2^28 with its prefix: an index, or the length of a string. */
const INTEGER_BYTES_MAX = 5;
/** A field: its representation and the lengths of two strings. */
const FIELD_PREFIX_BYTES_MAX = 3 * INTEGER_BYTES_MAX;
/** Two size updates. */
const BLOCK_PREFIX_BYTES_MAX = 2 * INTEGER_BYTES_MAX;
/** What a thread keeps for encoding; larger blocks get a buffer of their own. */
const SCRATCH_BYTES = 16_384;

/** First octets (RFC 7541, 6). */
const INDEXED = 0x80;
const WITH_INDEXING = 0x40;
const SIZE_UPDATE = 0x20;
const NEVER_INDEXED = 0x10;
const WITHOUT_INDEXING = 0x00;

/** Their values must not be guessable from the size of a block (RFC 7541, 7.1). */
const SENSITIVE: ReadonlySet<string> = new Set([
  "authorization",
  "cookie",
  "proxy-authorization",
  "set-cookie",
]);

/** Their values are new in each message: in the table they would push out what comes again. */
const CHANGING: ReadonlySet<string> = new Set([
  ":path",
  "age",
  "content-length",
  "date",
  "etag",
  "forwarded",
  "traceparent",
  "tracestate",
  "x-request-id",
]);

const scratch = new Uint8Array(SCRATCH_BYTES);

/** Our header blocks, in the order of the connection (RFC 7541). */
export class HpackEncoder {
  readonly #table = new HpackTable(TABLE_BYTES_MAX);
  /** The smallest table that the peer asked for since the last block; undefined if it is to hear of no change. */
  #smallest: number | undefined;
  #out: Uint8Array = scratch;
  #at = 0;

  /** What the dynamic table takes now, by RFC 7541's count. */
  get tableBytes(): number {
    return this.#table.bytes;
  }

  /** The peer's SETTINGS_HEADER_TABLE_SIZE, which the next block answers if it changes anything. */
  setTableSizeMax(bytes: number): void {
    const bytesMax = Math.min(bytes, TABLE_BYTES_MAX);
    if (bytesMax === this.#table.bytesMax) return;
    this.#smallest = Math.min(this.#smallest ?? bytesMax, bytesMax);
    this.#table.resize(bytesMax);
  }

  /**
   * One whole header block, a copy of its own, to be sent in the order of these calls and never dropped. Throws a
   * RangeError if a field has a character above 255; later blocks are right nevertheless.
   */
  encode(fields: readonly HeaderField[]): Uint8Array {
    let bytesMax = BLOCK_PREFIX_BYTES_MAX;
    for (const [name, value] of fields) {
      bytesMax += FIELD_PREFIX_BYTES_MAX + name.length + value.length;
    }
    this.#out = bytesMax > SCRATCH_BYTES ? new Uint8Array(bytesMax) : scratch;
    this.#at = 0;
    try {
      this.#sizeUpdates();
      for (const field of fields) this.#field(field);
      return this.#out.slice(0, this.#at);
    } catch (error) {
      // The table may hold fields that the peer will not hear of: both sides begin anew.
      const { bytesMax } = this.#table;
      this.#table.resize(0);
      this.#table.resize(bytesMax);
      this.#smallest = 0;
      throw error;
    } finally {
      this.#out = scratch;
    }
  }

  /** The smallest size in between must be told, then the last one (RFC 7541, 4.2). */
  #sizeUpdates(): void {
    if (this.#smallest === undefined) return;
    const { bytesMax } = this.#table;
    if (this.#smallest < bytesMax) this.#integer(SIZE_UPDATE, 5, this.#smallest);
    this.#integer(SIZE_UPDATE, 5, bytesMax);
    this.#smallest = undefined;
  }

  #field(field: HeaderField): void {
    const [name, value] = field;
    const index = this.#table.find(name, value);
    const nameIndex = Math.abs(index);
    if (SENSITIVE.has(name)) this.#literal(NEVER_INDEXED, 4, nameIndex, field);
    else if (index > 0) this.#integer(INDEXED, 7, index);
    else if (this.#isWorthIndexing(name, value, nameIndex)) {
      this.#literal(WITH_INDEXING, 6, nameIndex, field);
      this.#table.insert(field);
    } else this.#literal(WITHOUT_INDEXING, 4, nameIndex, field);
  }

  #isWorthIndexing(name: string, value: string, nameIndex: number): boolean {
    if (fieldBytes(name, value) > this.#table.bytesMax / 2) return false;
    // Once, so that at least the name is in the table.
    return nameIndex === 0 || !CHANGING.has(name);
  }

  #literal(
    representation: number,
    prefixBits: number,
    nameIndex: number,
    [name, value]: HeaderField,
  ): void {
    this.#integer(representation, prefixBits, nameIndex);
    if (nameIndex === 0) this.#string(name);
    this.#string(value);
  }

  /** RFC 7541, 5.1. */
  #integer(high: number, prefixBits: number, value: number): void {
    const mask = (1 << prefixBits) - 1;
    if (value < mask) {
      this.#out[this.#at++] = high | value;
      return;
    }
    this.#out[this.#at++] = high | mask;
    let rest = value - mask;
    for (; rest >= 0x80; rest >>>= 7) this.#out[this.#at++] = rest & 0x7f | 0x80;
    this.#out[this.#at++] = rest;
  }

  /** RFC 7541, 5.2: by Huffman where that is shorter. */
  #string(text: string): void {
    const bytes = huffmanBytes(text);
    if (Number.isNaN(bytes)) {
      throw new RangeError(`Cannot encode ${JSON.stringify(text)}: a character is above 255`);
    }
    if (bytes < text.length) {
      this.#integer(0x80, 7, bytes);
      this.#at = encodeHuffman(text, this.#out, this.#at);
      return;
    }
    this.#integer(0x00, 7, text.length);
    for (let at = 0; at < text.length; at++) this.#out[this.#at++] = text.charCodeAt(at);
  }
}
