/**
 * What a mesh of 100,000 workloads would be as a Map of texts: 20 MB, and a million things for the collector to visit.
 * @module
 */
import { Buffer } from "node:buffer";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";

/** The names are in so many parts, so that growing never means more than copying one of them. */
const PARTS_BITS = 8;
/** Three million names. Address space only, until it is used. */
const STORE_BYTES_MAX = 256 << 20;
const STORE_GROWTH_BYTES = 1 << 20;
/** What room is given out in. */
const UNIT_BYTES = 8;
/** Of a part, at first. */
const SLOTS_MIN = 16;
/** How full the slots may be: probing stays under four steps on average. */
const LOAD_MAX = 0.7;
/** Slots for each name after growing, so that a name moves twice while 100,000 come, and not six times. */
const SLOTS_PER_NAME = 2.5;
/** Of a record: the mark of the last sweep that saw it, and both lengths, 16 bits each. */
const HEADER_BYTES = 5;
/** Longest name or version, in bytes of UTF-8; names of Kubernetes end far below. */
export const VERSION_TEXT_BYTES_MAX = 0xffff;
/** protobuf's own field numbers. */
const MAP_ENTRY = { key: 1, value: 2 } as const;
const EMPTY = 0;
const GONE = 0xffffffff;

const ASCII_MAX = 0x7f;
const encoder = new TextEncoder();
const scratch = new Uint8Array(2 * 3 * VERSION_TEXT_BYTES_MAX);

/** Names with their versions, packed: 90 bytes each instead of 200, and in no order. */
export class VersionBook {
  readonly #parts: (Part | undefined)[] = Array.from({ length: 1 << PARTS_BITS });
  readonly #store = new Store();
  #sweep = 0;

  get size(): number {
    return this.#parts.reduce((sum, part) => sum + (part?.count ?? 0), 0);
  }

  /** Texts above VERSION_TEXT_BYTES_MAX, and what has no room, are not kept, so that whoever sent them sends them again. */
  set(name: string, version: string): void {
    const nameBytes = encode(name, 0);
    const versionBytes = encode(version, nameBytes);
    if (nameBytes > VERSION_TEXT_BYTES_MAX || versionBytes > VERSION_TEXT_BYTES_MAX) return;
    const hash = hashOf(nameBytes);
    const index = hash >>> (32 - PARTS_BITS);
    const part = this.#parts[index] ??= new Part(this.#store);
    part.remove(hash, nameBytes);
    part.add(hash, nameBytes, versionBytes, this.#sweep);
  }

  delete(name: string): void {
    const nameBytes = encode(name, 0);
    const hash = hashOf(nameBytes);
    this.#parts[hash >>> (32 - PARTS_BITS)]?.remove(hash, nameBytes);
  }

  *names(): Generator<string> {
    for (const part of this.#parts) if (part !== undefined) yield* part.names();
  }

  /** Names and versions as entries of a protobuf `map<string, string>` of that field number, a 256th at a time. */
  *mapEntries(field: number): Generator<Uint8Array> {
    for (const part of this.#parts) if (part !== undefined) yield part.mapEntries(field);
  }

  /** From now on it is remembered what was seen. */
  beginSweep(): void {
    this.#sweep = (this.#sweep + 1) & 0xff;
    // A mark that is still about from 256 sweeps ago would pass for one of now.
    if (this.#sweep === 0) this.#sweep = 1;
    for (const part of this.#parts) part?.unmark(this.#sweep);
  }

  /** The name, if it is here, was seen in this sweep. */
  see(name: string): void {
    const nameBytes = encode(name, 0);
    const hash = hashOf(nameBytes);
    this.#parts[hash >>> (32 - PARTS_BITS)]?.mark(hash, nameBytes, this.#sweep);
  }

  /** Names that were neither seen nor set in this sweep. */
  *unseen(): Generator<string> {
    for (const part of this.#parts) if (part !== undefined) yield* part.unseen(this.#sweep);
  }
}

/** Where the records are: one growing piece of memory, which is never copied, in which freed room is used again. */
class Store {
  readonly #buffer = new SharedArrayBuffer(0, { maxByteLength: STORE_BYTES_MAX });
  bytes = new Uint8Array(this.#buffer);
  /** The same, for reading texts: TextDecoder takes five times as long. */
  #text = Buffer.from(this.#buffer);
  #used = 0;
  /** Freed room by its size in units. */
  readonly #free: number[][] = [];

  /** Where there is room for a record of so many bytes; undefined if there is none left. */
  take(total: number): number | undefined {
    const units = unitsOf(total);
    const freed = this.#free[units]?.pop();
    if (freed !== undefined) return freed;
    const at = this.#used;
    const end = at + units * UNIT_BYTES;
    if (end > STORE_BYTES_MAX) return undefined;
    if (end > this.#buffer.byteLength) {
      this.#buffer.grow(Math.min(STORE_BYTES_MAX, end + STORE_GROWTH_BYTES));
      this.bytes = new Uint8Array(this.#buffer, 0, this.#buffer.byteLength);
      this.#text = Buffer.from(this.#buffer, 0, this.#buffer.byteLength);
    }
    this.#used = end;
    return at;
  }

  free(at: number, total: number): void {
    (this.#free[unitsOf(total)] ??= []).push(at);
  }

  nameAt(at: number): string {
    const start = at + HEADER_BYTES;
    return this.#text.toString("utf8", start, start + this.nameBytesAt(at));
  }

  nameBytesAt(at: number): number {
    return this.bytes[at + 1]! | this.bytes[at + 2]! << 8;
  }

  lengthAt(at: number): number {
    const versionBytes = this.bytes[at + 3]! | this.bytes[at + 4]! << 8;
    return HEADER_BYTES + this.nameBytesAt(at) + versionBytes;
  }

  /** The first `nameBytes` of the scratch are the name, the version follows. */
  write(at: number, nameBytes: number, versionBytes: number, mark: number): void {
    const { bytes } = this;
    bytes[at] = mark;
    bytes[at + 1] = nameBytes & 0xff;
    bytes[at + 2] = nameBytes >> 8;
    bytes[at + 3] = versionBytes & 0xff;
    bytes[at + 4] = versionBytes >> 8;
    const start = at + HEADER_BYTES;
    for (let index = nameBytes + versionBytes - 1; index >= 0; index--) {
      bytes[start + index] = scratch[index]!;
    }
  }
}

function unitsOf(total: number): number {
  return Math.ceil(total / UNIT_BYTES);
}

/** The names whose hashes begin alike. */
class Part {
  count = 0;
  /** Where a record begins, plus one. */
  #slots = new Uint32Array(SLOTS_MIN);
  #usedSlots = 0;

  constructor(private readonly store: Store) {}

  add(hash: number, nameBytes: number, versionBytes: number, mark: number): void {
    const at = this.store.take(HEADER_BYTES + nameBytes + versionBytes);
    if (at === undefined) return;
    if (this.#usedSlots + 1 > this.#slots.length * LOAD_MAX) this.#rehash();
    this.store.write(at, nameBytes, versionBytes, mark);
    this.count++;
    this.#put(hash, at + 1);
  }

  remove(hash: number, nameBytes: number): void {
    const slot = this.#find(hash, nameBytes);
    if (slot < 0) return;
    const at = this.#slots[slot]! - 1;
    this.store.free(at, this.store.lengthAt(at));
    this.#slots[slot] = GONE;
    this.count--;
  }

  mark(hash: number, nameBytes: number, mark: number): void {
    const slot = this.#find(hash, nameBytes);
    if (slot >= 0) this.store.bytes[this.#slots[slot]! - 1] = mark;
  }

  unmark(mark: number): void {
    const { bytes } = this.store;
    for (const at of this.#records()) if (bytes[at] === mark) bytes[at] = 0;
  }

  *unseen(mark: number): Generator<string> {
    const { store } = this;
    for (const at of this.#records()) if (store.bytes[at] !== mark) yield store.nameAt(at);
  }

  *names(): Generator<string> {
    for (const at of this.#records()) yield this.store.nameAt(at);
  }

  mapEntries(field: number): Uint8Array {
    const writer = new BinaryWriter();
    for (const at of this.#records()) {
      const nameEnd = at + HEADER_BYTES + this.store.nameBytesAt(at);
      writer.tag(field, WireType.LengthDelimited).fork();
      writer.tag(MAP_ENTRY.key, WireType.LengthDelimited)
        .bytes(this.store.bytes.subarray(at + HEADER_BYTES, nameEnd));
      writer.tag(MAP_ENTRY.value, WireType.LengthDelimited)
        .bytes(this.store.bytes.subarray(nameEnd, at + this.store.lengthAt(at)));
      writer.join();
    }
    return writer.finish();
  }

  *#records(): Generator<number> {
    for (const slot of this.#slots) if (slot !== EMPTY && slot !== GONE) yield slot - 1;
  }

  #find(hash: number, nameBytes: number): number {
    const { length } = this.#slots;
    for (let slot = homeOf(hash, length), step = 0; step < length; step++) {
      const value = this.#slots[slot]!;
      if (value === EMPTY) return -1;
      if (value !== GONE && this.#isName(value - 1, nameBytes)) return slot;
      slot = slot + 1 === length ? 0 : slot + 1;
    }
    return -1;
  }

  #isName(at: number, nameBytes: number): boolean {
    const { store } = this;
    if (store.nameBytesAt(at) !== nameBytes) return false;
    const start = at + HEADER_BYTES;
    // From the end: names differ there.
    for (let index = nameBytes - 1; index >= 0; index--) {
      if (store.bytes[start + index] !== scratch[index]) return false;
    }
    return true;
  }

  #put(hash: number, value: number): void {
    const { length } = this.#slots;
    let slot = homeOf(hash, length);
    while (this.#slots[slot] !== EMPTY) slot = slot + 1 === length ? 0 : slot + 1;
    this.#slots[slot] = value;
    this.#usedSlots++;
  }

  #rehash(): void {
    const { bytes } = this.store;
    const before = this.#slots;
    this.#slots = new Uint32Array(
      Math.max(SLOTS_MIN, Math.ceil((this.count + 1) * SLOTS_PER_NAME)),
    );
    this.#usedSlots = 0;
    for (const slot of before) {
      if (slot === EMPTY || slot === GONE) continue;
      const start = slot - 1 + HEADER_BYTES;
      this.#put(hashBytes(bytes, start, start + this.store.nameBytesAt(slot - 1)), slot);
    }
  }
}

/** Into the scratch from `at` on, as UTF-8; how many bytes that takes. Above VERSION_TEXT_BYTES_MAX nothing is written. */
function encode(text: string, at: number): number {
  const { length } = text;
  if (length > VERSION_TEXT_BYTES_MAX) return length;
  for (let index = 0; index < length; index++) {
    const code = text.charCodeAt(index);
    if (code > ASCII_MAX) return encoder.encodeInto(text, scratch.subarray(at)).written;
    scratch[at + index] = code;
  }
  return length;
}

function hashOf(nameBytes: number): number {
  return hashBytes(scratch, 0, nameBytes);
}

/** FNV-1a, mixed so that the upper bits depend on all of it. */
function hashBytes(bytes: Uint8Array, start: number, end: number): number {
  let hash = 0x811c9dc5;
  for (let at = start; at < end; at++) hash = Math.imul(hash ^ bytes[at]!, 0x01000193);
  hash = Math.imul(hash ^ hash >>> 16, 0x85ebca6b);
  hash = Math.imul(hash ^ hash >>> 13, 0xc2b2ae35);
  return (hash ^ hash >>> 16) >>> 0;
}

function homeOf(hash: number, length: number): number {
  return Math.floor(((hash << PARTS_BITS) >>> 0) / 0x100000000 * length);
}
