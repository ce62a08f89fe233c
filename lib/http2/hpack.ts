/** A field as it was on the wire, each char one byte (latin1). Names are not checked here. */
export type HeaderField = readonly [name: string, value: string];

/** The block cannot be decoded; the dynamic table is lost: connection error COMPRESSION_ERROR (RFC 9113, 4.3). */
export class HpackError extends Error {
  override readonly name = "HpackError";
}

/** The block was decoded to its end, the table is in step, but the list is over our limits: refuse the stream. */
export class HeaderListTooLarge extends Error {
  override readonly name = "HeaderListTooLarge";
}

export interface HpackLimits {
  /** SETTINGS_HEADER_TABLE_SIZE that we advertised (4096 if none). */
  readonly tableBytesMax: number;
  /** SETTINGS_MAX_HEADER_LIST_SIZE: names, values and 32 bytes per field. */
  readonly listBytesMax: number;
  readonly fieldsMax: number;
}

export class HpackDecoder {
  constructor(_limits: HpackLimits) {}
  /** One whole header block. Throws HpackError or HeaderListTooLarge. */
  decode(_block: Uint8Array): HeaderField[] {
    throw new Error("not written");
  }
}

export class HpackEncoder {
  /** The peer's SETTINGS_HEADER_TABLE_SIZE. */
  setTableSizeMax(_bytes: number): void {}
  /** One whole header block. The bytes are the caller's to read, not to write. */
  encode(_fields: readonly HeaderField[]): Uint8Array {
    throw new Error("not written");
  }
}
