import { Buffer } from "node:buffer";
import { decodedBytesMax, decodeHuffman } from "./huffman.ts";
import { fieldBytes, type HeaderField, HpackTable } from "./hpack_table.ts";

export type { HeaderField } from "./hpack_table.ts";
export { HpackEncoder } from "./hpack_encoder.ts";

/**
 * The block cannot be decoded, and with it the dynamic table is lost: a connection error COMPRESSION_ERROR
 * (RFC 9113, 4.3).
 */
export class HpackError extends Error {
  override readonly name = "HpackError";
}

/**
 * The list is over our limits. The block was decoded to its end all the same, so that the dynamic table is in step
 * and only the stream need be refused (RFC 9113, 10.5.1).
 */
export class HeaderListTooLarge extends Error {
  override readonly name = "HeaderListTooLarge";
}

export interface HpackLimits {
  /**
   * SETTINGS_HEADER_TABLE_SIZE as advertised. It holds from the first block on, so below 4,096 it would refuse a
   * peer that has not read our SETTINGS yet.
   */
  readonly tableBytesMax: number;
  /** SETTINGS_MAX_HEADER_LIST_SIZE: names, values and 32 bytes for each field. */
  readonly listBytesMax: number;
  readonly fieldsMax: number;
}

/** What both sides begin with (RFC 9113, 6.5.2). */
const TABLE_BYTES = 4_096;
/** Octets behind an integer's prefix: 2^28 is beyond every size in HTTP/2, and zeros may not go on for ever. */
const INTEGER_OCTETS_MAX = 4;
/** Strings that decode into more than this get a buffer of their own, given up afterwards. */
const SCRATCH_BYTES = 16_384;

/** Shared by all connections of a thread: a block is decoded or encoded within one turn. */
const scratch = Buffer.alloc(SCRATCH_BYTES);

/** The peer's header blocks, in the order of the connection (RFC 7541). */
export class HpackDecoder {
  readonly #table: HpackTable;
  #block: Uint8Array = scratch;
  #at = 0;

  constructor(private readonly limits: HpackLimits) {
    this.#table = new HpackTable(Math.min(TABLE_BYTES, limits.tableBytesMax));
  }

  /** What the dynamic table takes now, by RFC 7541's count. */
  get tableBytes(): number {
    return this.#table.bytes;
  }

  /**
   * The fields of one whole header block. Throws HpackError, after which this decoder is of no more use, or
   * HeaderListTooLarge.
   */
  decode(block: Uint8Array): HeaderField[] {
    this.#block = block;
    this.#at = 0;
    try {
      this.#sizeUpdates();
      return this.#fields();
    } finally {
      // The block is lent, and often part of a large buffer.
      this.#block = scratch;
    }
  }

  /** These come first, if at all (RFC 7541, 4.2). More than two serve nothing, but some peers send them. */
  #sizeUpdates(): void {
    while (this.#at < this.#block.length && (this.#block[this.#at]! & 0xe0) === 0x20) {
      const bytes = this.#integer(5);
      if (bytes > this.limits.tableBytesMax) {
        throw new HpackError(
          `Cannot set the table to ${bytes} bytes: ${this.limits.tableBytesMax} are allowed`,
        );
      }
      this.#table.resize(bytes);
    }
  }

  #fields(): HeaderField[] {
    const { listBytesMax, fieldsMax } = this.limits;
    const fields: HeaderField[] = [];
    let fieldsCount = 0;
    let listBytes = 0;
    while (this.#at < this.#block.length) {
      const field = this.#field();
      fieldsCount++;
      listBytes += fieldBytes(field[0], field[1]);
      // What is over the limit is read for the table's sake and kept by nobody.
      if (fieldsCount <= fieldsMax && listBytes <= listBytesMax) fields.push(field);
    }
    if (listBytes > listBytesMax) {
      throw new HeaderListTooLarge(`${listBytes} bytes of headers are over ${listBytesMax}`);
    }
    if (fieldsCount > fieldsMax) {
      throw new HeaderListTooLarge(`${fieldsCount} header fields are over ${fieldsMax}`);
    }
    return fields;
  }

  #field(): HeaderField {
    const first = this.#block[this.#at]!;
    if (first >= 0x80) return this.#indexed(this.#integer(7));
    if (first >= 0x40) {
      const field = this.#literal(6);
      this.#table.insert(field);
      return field;
    }
    if (first >= 0x20) {
      throw new HpackError(`Cannot set the table at octet ${this.#at}: behind a field`);
    }
    // Without indexing, or never indexed: the same to us, who never encode it again.
    return this.#literal(4);
  }

  #literal(prefixBits: number): HeaderField {
    const index = this.#integer(prefixBits);
    const name = index === 0 ? this.#string() : this.#indexed(index)[0];
    return [name, this.#string()];
  }

  #indexed(index: number): HeaderField {
    const field = this.#table.at(index);
    if (field === undefined) {
      throw new HpackError(`Cannot look up index ${index} before octet ${this.#at}: no such entry`);
    }
    return field;
  }

  /** RFC 7541, 5.1; the octet that holds the prefix is there. */
  #integer(prefixBits: number): number {
    const mask = (1 << prefixBits) - 1;
    let value = this.#block[this.#at++]! & mask;
    if (value < mask) return value;
    for (let octet = 0; octet < INTEGER_OCTETS_MAX; octet++) {
      if (this.#at >= this.#block.length) throw this.#truncated("an integer");
      const byte = this.#block[this.#at++]!;
      value += (byte & 0x7f) << octet * 7;
      if (byte < 0x80) return value;
    }
    throw new HpackError(`Cannot read the integer before octet ${this.#at}: too long`);
  }

  /** RFC 7541, 5.2. */
  #string(): string {
    if (this.#at >= this.#block.length) throw this.#truncated("a string");
    const isHuffman = this.#block[this.#at]! >= 0x80;
    const bytes = this.#integer(7);
    const from = this.#at;
    if (bytes > this.#block.length - from) throw this.#truncated("a string");
    this.#at += bytes;
    return isHuffman ? this.#huffmanText(from) : this.#plainText(from);
  }

  #huffmanText(from: number): string {
    const bytesMax = decodedBytesMax(this.#at - from);
    const room = bytesMax > SCRATCH_BYTES ? Buffer.alloc(bytesMax) : scratch;
    const written = decodeHuffman(this.#block, from, this.#at, room);
    if (written < 0) {
      throw new HpackError(
        `Cannot decode the string at octet ${from}: bad Huffman code or padding`,
      );
    }
    return room.toString("latin1", 0, written);
  }

  #plainText(from: number): string {
    const bytes = this.#at - from;
    if (bytes > SCRATCH_BYTES) {
      return Buffer.from(this.#block.subarray(from, this.#at)).toString("latin1");
    }
    // Copied by hand: a view costs more than the few bytes of a header.
    for (let at = 0; at < bytes; at++) scratch[at] = this.#block[from + at]!;
    return scratch.toString("latin1", 0, bytes);
  }

  #truncated(what: string): HpackError {
    return new HpackError(`Cannot read ${what}: the block ends after ${this.#block.length} octets`);
  }
}
