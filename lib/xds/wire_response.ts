/**
 * A response of istiod, walked while it arrives. The first one has the whole mesh (28 MB for 100,000 workloads), so it is
 * never in memory as a whole, and no message objects are made of it: a resource at a time is enough.
 */
import { Cursor, isBytesTag } from "#mesh";
import { RESOURCE, resourceOf, type WireResource } from "./wire_resource.ts";

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
  /**
   * Resources that do not say of what type they are, in front of a response that says it late: they wait for that. istiod's
   * always say it.
   */
  stagedBytesMax: 16 << 20,
  /** Names of what is gone, which all wait for the end: ten of the largest meshes, some 100 MB. */
  removedMax: 1_000_000,
} as const;

/** What waits to be read, at first; grows to the largest resource, or to what is staged. */
const BUFFER_BYTES = 256 << 10;
/** What one piece may have, mostly: frames of HTTP/2 have 16 KiB, and several may come at once. */
const PIECE_BYTES = 64 << 10;
/** A tag and a length: two varints. */
const HEADER_BYTES_MAX = 20;

/** Fields of DeltaDiscoveryResponse (behaviour.md, appendix A). */
const RESPONSE = { resources: 2, typeUrl: 4, nonce: 5, removed: 6 } as const;

/** A field that has begun: its number, and the length of its value where that is bytes. */
interface Header {
  readonly field: number;
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
 * says it too, and the first is believed: a response that says another in the end is refused there. Where resources do not
 * say it, they are staged until the response does.
 */
export class ResponseReader implements WireResponse {
  #buffer = new Uint8Array(0);
  #cursor = new Cursor(this.#buffer);
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
  /** Refused for their size before it was known of what type they are. */
  readonly #early: WireResource[] = [];
  /** Where the first staged resource begins, and how many names of what is gone stand in front of it. */
  #staged: number | undefined;
  #removedBeforeStaged = 0;
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
        if (this.#early.length === 0) return false;
        this.#knowNoType();
        return true;
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
    // What is staged is read again, and what stands behind it too.
    const isSkippable = this.#at === this.#end && this.#staged === undefined;
    const skipped = isSkippable ? Math.min(this.#skip, piece.length) : 0;
    this.#skip -= skipped;
    const rest = piece.subarray(skipped);
    if (this.#buffer.length - this.#end < rest.length) this.#makeRoom(rest.length);
    this.#buffer.set(rest, this.#end);
    this.#end += rest.length;
    const { stagedBytesMax } = RESPONSE_LIMITS;
    if (this.#staged !== undefined && this.#end - this.#staged > stagedBytesMax) {
      throw new Error(`more than ${stagedBytesMax} bytes before it is known of what type they are`);
    }
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
      this.#cursor = new Cursor(next);
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
      if (this.#oversize?.left === 0) this.#early.push(this.#oversized(this.#oversize));
      if (this.typeUrl !== "" && this.#early.length > 0) return this.#early.shift();
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
        if (!this.#isThere(headerBytes + length)) return "wait";
        this.#at += headerBytes + length;
        const resource = this.#resource(start, start + headerBytes);
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

  /** The one that was passed last: its tag is at `start`, it begins at `from`. */
  #resource(start: number, from: number): WireResource | undefined {
    const isTyped = this.typeUrl !== "";
    const { resource, innerType } = resourceOf(this.#cursorOver(from, this.#at), isTyped);
    if (isTyped) return resource;
    const isTelling = this.knownTypes.includes(innerType);
    if (isTelling) this.#believed = innerType;
    if (isTelling && this.#staged === undefined) return resource;
    if (isTelling) this.#unstage();
    else if (this.#staged === undefined) {
      this.#staged = start;
      this.#removedBeforeStaged = this.#removed.length;
    }
    return undefined;
  }

  /** Back to the first staged resource; what stands behind it is read again. True: there is something to read. */
  #unstage(): true {
    this.#at = this.#staged!;
    this.#staged = undefined;
    this.#skip = 0;
    this.#removed.length = this.#removedBeforeStaged;
    this.#knowNoType();
    return true;
  }

  /** Without any type it is an unknown one, which nobody will use. */
  #knowNoType(): void {
    if (this.typeUrl === "") this.#believed = "none";
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

  /** The text behind a header; undefined while it is not all there. */
  #text(headerBytes: number, length: number): string | undefined {
    if (length > RESPONSE_LIMITS.textBytesMax) throw new Error(`a text of ${length} bytes`);
    if (!this.#isThere(headerBytes + length)) return undefined;
    const start = this.#at + headerBytes;
    this.#at = start + length;
    return this.#cursorOver(start, this.#at).textTo(this.#at);
  }

  /** Whether so many bytes are there from here on; a message that is too short for them is none. */
  #isThere(count: number): boolean {
    if (this.#at + count <= this.#end) return true;
    const left = this.pieces.bytesCount - this.#arrived + this.#end - this.#at;
    if (count > left) throw cutShort();
    this.#wanted = count;
    return false;
  }

  /** The field that begins here; undefined while its header is not all there. */
  #header(): Header | undefined {
    this.#wanted = 1;
    const start = this.#at;
    const end = Math.min(this.#end, start + HEADER_BYTES_MAX);
    if (start >= end) return undefined;
    const cursor = this.#cursorOver(start, end);
    try {
      const tag = cursor.tag(end);
      const field = tag >>> 3;
      if (isBytesTag(tag)) {
        const length = cursor.uint32();
        return { field, headerBytes: cursor.at - start, length };
      }
      cursor.skip(tag);
      return { field, headerBytes: cursor.at - start, length: undefined };
    } catch (error) {
      if (end < start + HEADER_BYTES_MAX && this.#arrived < this.pieces.bytesCount) {
        this.#wanted = this.#end - start + 1;
        return undefined;
      }
      throw error;
    }
  }

  /** The one cursor there is, over a part of the buffer. */
  #cursorOver(from: number, to: number): Cursor {
    this.#cursor.at = from;
    this.#cursor.end = to;
    return this.#cursor;
  }
}

function cutShort(): Error {
  return new RangeError("premature EOF");
}
