/**
 * A response of istiod, walked while it arrives. The first one has the whole mesh (28 MB for 100,000 workloads), so it is
 * never in memory as a whole, and no message objects are made of it: a resource at a time is enough.
 */
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";

/** One resource. Its payload is a view of what arrived, good until the reader's next `release`. */
export interface WireResource {
  readonly name: string;
  readonly version: string;
  /** Other names that it may have been asked for by. */
  readonly aliases: readonly string[];
  /** The resource's own message; undefined if there is none. */
  readonly payload: Uint8Array | undefined;
  /** Why it cannot be read; then the fields above are those that could. */
  readonly malformed: string | undefined;
}

/** What a response says beside its resources. */
export interface WireResponse {
  /** Known as soon as there is a resource. */
  readonly typeUrl: string;
  /** These two are complete when the last resource was taken. */
  readonly nonce: string;
  readonly removed: readonly string[];
}

/** A message on its way. */
export interface Pieces {
  readonly bytesCount: number;
  /** The next bytes, lent until the next call; undefined at the end. */
  read(): Promise<Uint8Array | undefined>;
}

export const RESPONSE_LIMITS = {
  /** One resource. etcd takes objects of 1.5 MB; a larger one is refused by its name, and costs no memory. */
  resourceBytesMax: 4 << 20,
  /** A name, a version, a nonce. Kubernetes' own names end at 253 characters. */
  textBytesMax: 64 << 10,
  /** Names of what is gone, which all wait for the end: ten of the largest meshes, some 100 MB. */
  removedMax: 1_000_000,
} as const;

/** What waits to be read, at first; grows to the largest resource, or to what is staged. */
const BUFFER_BYTES = 256 << 10;
/** What one piece may have, mostly: frames of HTTP/2 have 16 KiB, and several may come at once. */
const PIECE_BYTES = 64 << 10;
/** A tag and a length: two varints. */
const HEADER_BYTES_MAX = 20;

/** Fields of DeltaDiscoveryResponse, Resource and Any (behaviour.md, appendix A). */
const RESPONSE = { resources: 2, typeUrl: 4, nonce: 5, removed: 6 } as const;
const RESOURCE = { version: 1, resource: 2, name: 3, aliases: 4 } as const;
const ANY = { typeUrl: 1, value: 2 } as const;

/** A field that has begun: its number, and the length of its value where that is bytes. */
interface Header {
  readonly field: number;
  readonly wireType: WireType;
  readonly headerBytes: number;
  /** Undefined for what is no bytes; then the value is in `headerBytes`. */
  readonly length: number | undefined;
}

/** A resource above the limit, of which only the name is wanted. */
interface Oversize {
  readonly bytesCount: number;
  left: number;
  name: string;
}

/**
 * Reads one response. `take` gives what has arrived, `more` waits for the rest. Any of them throws an Error if the bytes
 * are no response; what was taken before was right.
 *
 * Senders write fields in the order of their numbers, so what type the resources are of stands behind them. Each of them
 * says it too, and that is believed at first: types that contradict each other end the response. Where resources do not
 * say it, they are staged until the response does.
 */
export class ResponseReader implements WireResponse {
  #buffer: Uint8Array = new Uint8Array(0);
  /** Of the buffer: where what is lent begins, if anything is, what is not read yet, and its end. */
  #lent: number | undefined;
  #at = 0;
  #end = 0;
  #arrived = 0;
  /** Bytes of a value that nobody wants. */
  #skip = 0;
  #oversize: Oversize | undefined;
  #next: WireResource | undefined;
  #typeUrl = "";
  /** What the first resource says of itself. */
  #believed = "";
  #nonce = "";
  readonly #removed: string[] = [];
  /** Where the first staged resource begins. */
  #staged: number | undefined;
  /** How many bytes must be there before there is anything to do. */
  #wanted = 1;

  constructor(private readonly pieces: Pieces, private readonly knownTypes: readonly string[]) {}

  get typeUrl(): string {
    return this.#typeUrl || this.#believed;
  }

  get nonce(): string {
    return this.#nonce;
  }

  get removed(): readonly string[] {
    return this.#removed;
  }

  /** Views are lent, and `more` would need new memory for that: a good time to `release` them. */
  get isTight(): boolean {
    return this.#lent !== undefined && this.#buffer.length - this.#end < PIECE_BYTES;
  }

  /** Resolves when `typeUrl` is known. Rejects with what `pieces` rejects with, too. */
  async begin(): Promise<void> {
    while (this.#next === undefined) {
      this.#next = this.#read();
      if (this.#next === undefined && !await this.more()) return;
    }
  }

  /** The next resource, if it has arrived. */
  take(): WireResource | undefined {
    const next = this.#next ?? this.#read();
    this.#next = undefined;
    return next;
  }

  /** Waits until more has arrived; false if there is no more. */
  async more(): Promise<boolean> {
    do {
      const piece = await this.pieces.read();
      if (piece === undefined) {
        if (this.#staged !== undefined) return this.#unstage();
        if (this.#oversize?.left === 0 && this.#skip === 0) return true;
        if (this.#at < this.#end || this.#skip > 0 || this.#oversize !== undefined) {
          throw cutShort();
        }
        return false;
      }
      this.#append(piece);
    } while (this.#end - this.#at < this.#wanted && this.#skip === 0);
    return true;
  }

  /** Nobody looks any more at what was taken so far. */
  release(): void {
    this.#lent = undefined;
  }

  #append(piece: Uint8Array): void {
    this.#arrived += piece.length;
    const skipped = this.#at === this.#end ? Math.min(this.#skip, piece.length) : 0;
    this.#skip -= skipped;
    const rest = piece.subarray(skipped);
    if (this.#buffer.length - this.#end < rest.length) this.#makeRoom(rest.length);
    this.#buffer.set(rest, this.#end);
    this.#end += rest.length;
  }

  /** What is lent and not read yet moves to the front; views that are lent keep the memory that they are of. */
  #makeRoom(count: number): void {
    const isLent = this.#lent !== undefined;
    const kept = Math.min(this.#lent ?? this.#at, this.#staged ?? this.#at);
    const used = this.#end - kept;
    const room = Math.max(used + count, this.#wanted, BUFFER_BYTES);
    if (isLent || room > this.#buffer.length) {
      const next = new Uint8Array(Math.max(room, isLent ? this.#buffer.length : used * 2));
      next.set(this.#buffer.subarray(kept, this.#end));
      this.#buffer = next;
    } else this.#buffer.copyWithin(0, kept, this.#end);
    this.#at -= kept;
    this.#end = used;
    if (this.#lent !== undefined) this.#lent -= kept;
    if (this.#staged !== undefined) this.#staged -= kept;
  }

  /** The next resource that is there as a whole, past whatever else there is. */
  #read(): WireResource | undefined {
    for (;;) {
      const skipped = Math.min(this.#skip, this.#end - this.#at);
      this.#skip -= skipped;
      this.#at += skipped;
      if (this.#skip > 0) return undefined;
      if (this.#oversize?.left === 0) return this.#oversized(this.#oversize);
      const header = this.#header();
      if (header === undefined) return undefined;
      const resource = this.#oversize === undefined
        ? this.#field(header)
        : this.#oversizeField(header, this.#oversize);
      if (resource === "wait") return undefined;
      if (resource !== undefined) return resource;
    }
  }

  #field({ field, headerBytes, length }: Header): WireResource | "wait" | undefined {
    if (length === undefined) return void (this.#at += headerBytes);
    switch (field) {
      case RESPONSE.resources: {
        if (length > RESPONSE_LIMITS.resourceBytesMax) {
          if (this.#staged !== undefined) throw new Error(`a resource of ${length} bytes, untyped`);
          this.#oversize = { bytesCount: length, left: length, name: "" };
          return void (this.#at += headerBytes);
        }
        const start = this.#at;
        const bytes = this.#value(headerBytes, length);
        if (bytes === undefined) return "wait";
        const resource = this.#resource(bytes, start);
        if (resource !== undefined) this.#lent ??= start;
        return resource;
      }
      case RESPONSE.typeUrl:
      case RESPONSE.nonce:
      case RESPONSE.removed: {
        const text = this.#text(headerBytes, length);
        return text === undefined ? "wait" : this.#say(field, text);
      }
      default:
        this.#at += headerBytes;
        this.#skip = length;
    }
  }

  #say(field: number, text: string): undefined {
    if (field === RESPONSE.nonce) this.#nonce = text;
    else if (field === RESPONSE.removed) {
      if (this.#removed.length >= RESPONSE_LIMITS.removedMax) {
        throw new Error(`more than ${RESPONSE_LIMITS.removedMax} removed resources`);
      }
      this.#removed.push(text);
    } else {
      this.#typeUrl = text;
      if (this.#believed !== "" && this.#believed !== text) {
        throw new Error(`the response is of type ${text}, its resources of ${this.#believed}`);
      }
      if (this.#staged !== undefined) this.#unstage();
    }
  }

  #resource(bytes: Uint8Array, start: number): WireResource | undefined {
    const { resource, innerType } = resourceOf(bytes);
    if (this.typeUrl !== "") return resource;
    const isTelling = this.knownTypes.includes(innerType);
    if (isTelling) this.#believed = innerType;
    if (isTelling && this.#staged === undefined) return resource;
    if (isTelling) this.#unstage();
    else this.#staged ??= start;
    return undefined;
  }

  /** Back to the first staged resource; what stands behind it is read again. True: there is something to read. */
  #unstage(): true {
    this.#at = this.#staged!;
    this.#staged = undefined;
    this.#removed.length = 0;
    // Without any type it is an unknown one, which nobody will use.
    if (this.typeUrl === "") this.#believed = "none";
    return true;
  }

  #oversizeField(header: Header, oversize: Oversize): "wait" | undefined {
    const { field, headerBytes, length } = header;
    const total = headerBytes + (length ?? 0);
    if (total > oversize.left) throw cutShort();
    if (field === RESOURCE.name && length !== undefined) {
      const name = this.#text(headerBytes, length);
      if (name === undefined) return "wait";
      oversize.name = name;
    } else {
      this.#at += headerBytes;
      this.#skip = length ?? 0;
    }
    oversize.left -= total;
  }

  #oversized({ bytesCount, name }: Oversize): WireResource {
    this.#oversize = undefined;
    const malformed = `${bytesCount} bytes, at most ${RESPONSE_LIMITS.resourceBytesMax}`;
    return { name, version: "", aliases: [], payload: undefined, malformed };
  }

  /** The value behind a header; undefined while it is not all there. */
  #value(headerBytes: number, length: number): Uint8Array | undefined {
    const start = this.#at + headerBytes;
    if (start + length > this.#end) {
      this.#expect(headerBytes + length);
      return undefined;
    }
    this.#at = start + length;
    return this.#buffer.subarray(start, this.#at);
  }

  #text(headerBytes: number, length: number): string | undefined {
    if (length > RESPONSE_LIMITS.textBytesMax) throw new Error(`a text of ${length} bytes`);
    const bytes = this.#value(headerBytes, length);
    return bytes && TEXT.decode(bytes);
  }

  /** So many bytes from here on; a message that is too short for them is none. */
  #expect(count: number): void {
    const left = this.pieces.bytesCount - this.#arrived + this.#end - this.#at;
    if (count > left) throw cutShort();
    this.#wanted = count;
  }

  /** The field that begins here; undefined while its header is not all there. */
  #header(): Header | undefined {
    this.#wanted = 1;
    const end = Math.min(this.#end, this.#at + HEADER_BYTES_MAX);
    if (this.#at >= end) return undefined;
    const reader = new BinaryReader(this.#buffer.subarray(this.#at, end));
    try {
      const [field, wireType] = reader.tag();
      if (wireType === WireType.LengthDelimited) {
        const length = reader.uint32();
        return { field, wireType, headerBytes: reader.pos, length };
      }
      reader.skip(wireType, field);
      return { field, wireType, headerBytes: reader.pos, length: undefined };
    } catch (error) {
      if (end < this.#at + HEADER_BYTES_MAX && this.#arrived < this.pieces.bytesCount) {
        this.#wanted = this.#end - this.#at + 1;
        return undefined;
      }
      throw error;
    }
  }
}

const TEXT = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function cutShort(): Error {
  return new RangeError("premature EOF");
}

/** A payload that cannot be read costs the resource its payload only: its name stands behind it. */
function resourceOf(
  bytes: Uint8Array,
): { readonly resource: WireResource; readonly innerType: string } {
  let [name, version, innerType] = ["", "", ""];
  let any: Uint8Array | undefined;
  let payload: Uint8Array | undefined;
  let malformed: string | undefined;
  const aliases: string[] = [];
  try {
    for (const { field, reader } of fieldsOf(bytes)) {
      if (field === RESOURCE.name) name = reader.string(true);
      else if (field === RESOURCE.version) version = reader.string(true);
      else if (field === RESOURCE.aliases) aliases.push(reader.string(true));
      else if (field === RESOURCE.resource) any = reader.bytes();
      else skipBytes(reader);
    }
    for (const { field, reader } of any === undefined ? [] : fieldsOf(any)) {
      if (field === ANY.value) payload = reader.bytes();
      else if (field === ANY.typeUrl) innerType = reader.string(true);
      else skipBytes(reader);
    }
    if (any !== undefined) payload ??= new Uint8Array();
  } catch (error) {
    payload = undefined;
    malformed = error instanceof Error ? error.message : String(error);
  }
  return { resource: { name, version, aliases, payload, malformed }, innerType };
}

interface Field {
  readonly field: number;
  /** Stands at the value, which is length-delimited and must be read. */
  readonly reader: BinaryReader;
}

/** The length-delimited fields of a message; others mean nothing in the messages that are read here. */
function* fieldsOf(bytes: Uint8Array): Generator<Field> {
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (wireType === WireType.LengthDelimited) yield { field, reader };
    else reader.skip(wireType, field);
  }
}

function skipBytes(reader: BinaryReader): void {
  const length = reader.uint32();
  if (length > reader.len - reader.pos) throw new RangeError("premature EOF");
  reader.pos += length;
}
