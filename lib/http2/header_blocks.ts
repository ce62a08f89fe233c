import type { FloodGuard } from "./flood.ts";
import { Code, Fault, Flag, Type } from "./frames.ts";
import {
  type HeaderField,
  HeaderListTooLarge,
  HpackDecoder,
  HpackEncoder,
  HpackError,
} from "./hpack.ts";
import type { Outbox } from "./outbox.ts";
import type { PeerSettings } from "./settings.ts";

/** HBONE has six; a request with more is refused (users.md 3.2). */
const HEADER_FIELDS_MAX = 64;
/** SETTINGS_HEADER_TABLE_SIZE: we announce none, so this holds (RFC 9113 section 6.5.2). */
const TABLE_BYTES = 4_096;
/** An encoded block so many times the list's limit is an attack, not a mistake: the connection ends. */
const BLOCK_FACTOR = 4;
/** The most of a block that goes into one of our frames: every peer takes frames of this size. */
const FRAGMENT_BYTES_MAX = 16_384;

export interface HeaderBlock {
  readonly id: number;
  /** Undefined: the list is above our limit. */
  readonly fields: readonly HeaderField[] | undefined;
  readonly endStream: boolean;
}

/** Header blocks of one connection, out of and into HEADERS and CONTINUATION (RFC 9113 section 4.3). */
export class HeaderBlocks {
  readonly #decoder: HpackDecoder;
  readonly #encoder = new HpackEncoder();
  #fragments: Uint8Array[] = [];
  #bytes = 0;
  #endStream = false;

  constructor(private readonly listBytesMax: number, private readonly guard: FloodGuard) {
    this.#decoder = new HpackDecoder({
      tableBytesMax: TABLE_BYTES,
      listBytesMax,
      fieldsMax: HEADER_FIELDS_MAX,
    });
  }

  static bytesMax(listBytesMax: number): number {
    return listBytesMax * BLOCK_FACTOR;
  }

  /** Takes HEADERS or CONTINUATION in; returns the block when it is whole. Throws a Fault. */
  take(type: number, flags: number, id: number, payload: Uint8Array): HeaderBlock | undefined {
    if (type === Type.headers) this.#endStream = (flags & Flag.endStream) !== 0;
    else if (this.guard.hit("continuation", this.#fragments.length)) {
      throw new Fault(Code.enhanceYourCalm, "too many CONTINUATION frames");
    }
    const isLast = (flags & Flag.endHeaders) !== 0;
    if (isLast && this.#fragments.length === 0) return this.#decode(id, payload);
    this.#bytes += payload.length;
    if (this.#bytes > HeaderBlocks.bytesMax(this.listBytesMax)) {
      throw new Fault(Code.enhanceYourCalm, "the header block is too large");
    }
    // A copy: the payload lies in the receive buffer.
    this.#fragments.push(payload.slice());
    return isLast ? this.#decode(id, this.#joined()) : undefined;
  }

  /** Sends `fields` as one block; false, and nothing sent, if the peer does not take so many. */
  send(
    outbox: Outbox,
    peer: PeerSettings,
    id: number,
    fields: readonly HeaderField[],
    endStream: boolean,
  ): boolean {
    let listBytes = 0;
    for (const [name, value] of fields) listBytes += name.length + value.length + 32;
    if (listBytes > peer.headerListBytesMax) return false;
    const block = this.#encoder.encode(fields);
    let type: number = Type.headers;
    let at = 0;
    do {
      const end = Math.min(block.length, at + FRAGMENT_BYTES_MAX);
      const flags = (end === block.length ? Flag.endHeaders : 0) |
        (endStream && type === Type.headers ? Flag.endStream : 0);
      outbox.frame(type, flags, id, block.subarray(at, end));
      type = Type.continuation;
      at = end;
    } while (at < block.length);
    return true;
  }

  setTableSizeMax(bytes: number): void {
    this.#encoder.setTableSizeMax(bytes);
  }

  #joined(): Uint8Array {
    const whole = new Uint8Array(this.#bytes);
    let at = 0;
    for (const fragment of this.#fragments) {
      whole.set(fragment, at);
      at += fragment.length;
    }
    this.#fragments = [];
    this.#bytes = 0;
    return whole;
  }

  #decode(id: number, block: Uint8Array): HeaderBlock {
    // An instruction to change the table's size, RFC 7541 section 6.3.
    if ((block[0]! & 0xe0) === 0x20 && this.guard.hit("hpack_table")) {
      throw new Fault(Code.enhanceYourCalm, "the table's size changes too often");
    }
    try {
      return { id, fields: this.#decoder.decode(block), endStream: this.#endStream };
    } catch (error) {
      if (error instanceof HpackError) throw new Fault(Code.compressionError, error.message);
      if (!(error instanceof HeaderListTooLarge)) throw error;
      const times = Math.max(1, Math.ceil(block.length / this.listBytesMax));
      if (this.guard.hit("header_list", times)) {
        throw new Fault(Code.enhanceYourCalm, "too many header lists above the limit");
      }
      return { id, fields: undefined, endStream: this.#endStream };
    }
  }
}
