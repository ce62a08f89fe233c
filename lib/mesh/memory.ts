/**
 * The shared memory that a mesh is in, as every thread sees it: where things are and how they are read. Who changes it is
 * in heap.ts.
 *
 * Everything is an object of 64-bit granules behind a header of four words, and everybody names it by a small number, its
 * id. The directory says where the object of an id is now, so that an object can be replaced, or moved, by one atomic
 * store; readers see the old one or the new one, never half.
 */
import { Hashes } from "./hash.ts";

/** What of the memory of a mesh may be in use; about three million workloads. */
export const HEAP_BYTES_MAX = 1 << 30;
/**
 * Address space for each byte of that, so that what was promised room finds it in one piece, however the rest is cut up,
 * and while readers still look at what it replaces. Below 2 GiB in all: its length is shifted as a number of 32 bits.
 */
export const SPACE_RATIO = 1.75;
/** Eight million ids, more than the heap has room for. */
const DIRECTORY_BYTES_MAX = 32 << 20;
const DIRECTORY_BYTES_INITIAL = 64 << 10;
/** Threads that read at the same time, beside the writer's own. */
export const READERS_MAX = 128;

export const HEADER_WORDS = 4;
export const KIND = {
  workload: 1,
  service: 2,
  policy: 3,
  list: 4,
  /** One part of a table. */
  table: 5,
  root: 6,
  /** A table: the ids of its parts, 0 for those that were never needed. */
  parts: 7,
} as const;
export type Kind = typeof KIND[keyof typeof KIND];
/** Given typed, so that empty texts are no defaults. */
export const FLAG_LOCAL = 1 << 3;
/** Out of use; readers that still hold its id may read it until they pass a quiet point. */
export const FLAG_RETIRED = 1 << 4;
const KIND_MASK = 7;

// Header: granules << 8 | flags | kind, id, generation, and a count whose meaning is the kind's.
const ID_WORD = 1;
const GENERATION_WORD = 2;
export const COUNT_WORD = 3;

export const ROOT_SLOT = 0;
const EPOCH_SLOT = 1;
const SEED_SLOT = 2;
/** A reader's counter has a cache line for itself, so that readers do not slow each other down. */
const READER_SLOT_FIRST = 16;
const READER_SLOT_STRIDE = 16;
export const CONTROL_BYTES = 4 * (READER_SLOT_FIRST + READERS_MAX * READER_SLOT_STRIDE);

/**
 * A table is in so many parts, by the upper bits of the hash, so that growing never means more than moving one of them:
 * 100,000 entries are 400 per part, 3 million are 12,000.
 */
export const TABLE_PARTS_BITS = 8;
export const TABLE_PARTS = 1 << TABLE_PARTS_BITS;

/** Marks a slot of a table whose value went; probing goes on behind it. */
const TOMBSTONE = 0xffffffff;

/** What one thread needs to read; goes through postMessage. */
export interface Buffers {
  readonly control: SharedArrayBuffer;
  readonly directory: SharedArrayBuffer;
  readonly heap: SharedArrayBuffer;
}

/** `seed` of its hashes: 32 bits. */
export function newBuffers(heapBytes: number, seed: number): Buffers {
  const control = new SharedArrayBuffer(CONTROL_BYTES);
  new Int32Array(control)[SEED_SLOT] = seed;
  return {
    control,
    directory: new SharedArrayBuffer(DIRECTORY_BYTES_INITIAL, {
      maxByteLength: DIRECTORY_BYTES_MAX,
    }),
    heap: new SharedArrayBuffer(heapBytes, { maxByteLength: HEAP_BYTES_MAX * SPACE_RATIO }),
  };
}

export class Memory {
  readonly control: Int32Array;
  readonly hashes: Hashes;
  // Views of a fixed length, made anew when something lies behind it: those that grow with their buffer cost five times
  // as much per access (measured).
  directory!: Uint32Array;
  words!: Uint32Array;
  bytes!: Uint8Array;

  constructor(readonly buffers: Buffers) {
    this.control = new Int32Array(buffers.control);
    this.hashes = new Hashes(this.control[SEED_SLOT]!);
    this.renew();
  }

  renew(): void {
    const { directory, heap } = this.buffers;
    this.directory = new Uint32Array(directory, 0, directory.byteLength >> 2);
    this.words = new Uint32Array(heap, 0, heap.byteLength >> 2);
    this.bytes = new Uint8Array(heap, 0, heap.byteLength);
  }

  get rootId(): number {
    return Atomics.load(this.control, ROOT_SLOT);
  }

  get epoch(): number {
    return Atomics.load(this.control, EPOCH_SLOT) >>> 0;
  }

  set epoch(epoch: number) {
    Atomics.store(this.control, EPOCH_SLOT, epoch | 0);
  }

  /** The word where the object begins, or 0 if there is none. */
  at(id: number): number {
    if (id >= this.directory.length) this.renew();
    const at = Atomics.load(this.directory, id) * 2;
    if (at === 0) return 0;
    if (at >= this.words.length || at + this.granulesAt(at) * 2 > this.words.length) this.renew();
    return at;
  }

  granulesAt(at: number): number {
    return this.words[at]! >>> 8;
  }

  kindAt(at: number): number {
    return this.words[at]! & KIND_MASK;
  }

  isLocalAt(at: number): boolean {
    return (this.words[at]! & FLAG_LOCAL) !== 0;
  }

  isRetiredAt(at: number): boolean {
    return (this.words[at]! & FLAG_RETIRED) !== 0;
  }

  idAt(at: number): number {
    return this.words[at + ID_WORD]!;
  }

  /** Differs for every object that was ever written, so it tells a record from whatever took its place. */
  generationAt(at: number): number {
    return this.words[at + GENERATION_WORD]!;
  }

  countAt(at: number): number {
    return Atomics.load(this.words, at + COUNT_WORD);
  }

  /** The bytes of a record, lent. */
  bodyAt(at: number): Uint8Array {
    const start = (at + HEADER_WORDS) * 4;
    return this.bytes.subarray(start, start + this.words[at + COUNT_WORD]!);
  }

  writeHeader(at: number, header: {
    readonly granules: number;
    readonly kind: Kind;
    readonly flags: number;
    readonly id: number;
    readonly generation: number;
    readonly count: number;
  }): void {
    this.words[at] = header.granules << 8 | header.flags | header.kind;
    this.words[at + ID_WORD] = header.id;
    this.words[at + GENERATION_WORD] = header.generation;
    this.words[at + COUNT_WORD] = header.count;
  }

  /** An id of a root's part, by the part's place. */
  partAt(rootAt: number, part: number): number {
    return this.words[rootAt + HEADER_WORDS + part]!;
  }

  /** The ids under a hash: of several keys, if they share it, so every one is to be verified. */
  idsUnder(tableId: number, hash: number): readonly number[] {
    const partAt = this.at(this.partOf(this.at(tableId), hash));
    const value = partAt === 0 ? 0 : this.valueAt(partAt, hash);
    return value === 0 ? NOTHING : this.idsOf(value);
  }

  /** The id of the table's part that the hash belongs to; 0 where nothing has been. */
  partOf(tableAt: number, hash: number): number {
    return Atomics.load(this.words, tableAt + HEADER_WORDS + (hash >>> (32 - TABLE_PARTS_BITS)));
  }

  /** Of a table's value: itself, or what is in the list that it names. */
  idsOf(value: number): readonly number[] {
    const at = this.at(value);
    if (at === 0 || this.kindAt(at) !== KIND.list) return [value];
    return this.itemsAt(at);
  }

  itemsAt(at: number): readonly number[] {
    const first = at + HEADER_WORDS;
    return Array.from(this.words.subarray(first, first + this.countAt(at)));
  }

  valueAt(partAt: number, hash: number): number {
    const slot = this.slotOf(partAt, hash);
    return slot === 0 ? 0 : liveValue(Atomics.load(this.words, slot + 1));
  }

  /** The slot of the hash, or 0. */
  slotOf(partAt: number, hash: number): number {
    const capacity = this.words[partAt + COUNT_WORD]!;
    const first = partAt + HEADER_WORDS;
    let index = homeOf(hash, capacity);
    for (let probes = 0; probes < capacity; probes++) {
      const slot = first + 2 * index;
      const value = Atomics.load(this.words, slot + 1);
      if (value === 0) return 0;
      if (value !== TOMBSTONE && this.words[slot] === hash) return slot;
      if (++index === capacity) index = 0;
    }
    return 0;
  }

  /** Where a hash that is not there can be put: an empty slot, or that of something that went. */
  emptySlotFor(partAt: number, hash: number): number {
    const capacity = this.words[partAt + COUNT_WORD]!;
    let index = homeOf(hash, capacity);
    for (;;) {
      const slot = partAt + HEADER_WORDS + 2 * index;
      const value = this.words[slot + 1]!;
      if (value === 0 || value === TOMBSTONE) return slot;
      if (++index === capacity) index = 0;
    }
  }

  isTombstone(slot: number): boolean {
    return this.words[slot + 1] === TOMBSTONE;
  }

  /** The hash first: who reads a stale pair finds a record that is not what was asked for. */
  setSlot(slot: number, hash: number, value: number): void {
    this.words[slot] = hash;
    Atomics.store(this.words, slot + 1, value);
  }

  clearSlot(slot: number): void {
    Atomics.store(this.words, slot + 1, TOMBSTONE);
  }

  /** What is in a part of a table, in no order; `take` must not change it. */
  eachSlot(partAt: number, take: (hash: number, value: number) => void): void {
    const capacity = this.words[partAt + COUNT_WORD]!;
    for (let index = 0; index < capacity; index++) {
      const slot = partAt + HEADER_WORDS + 2 * index;
      const value = liveValue(Atomics.load(this.words, slot + 1));
      if (value !== 0) take(this.words[slot]!, value);
    }
  }

  /** Everything of one part into another, which is empty, has room and is seen by nobody. */
  copySlots(fromAt: number, toAt: number): void {
    const { words } = this;
    const end = fromAt + HEADER_WORDS + 2 * words[fromAt + COUNT_WORD]!;
    const first = toAt + HEADER_WORDS;
    const capacity = words[toAt + COUNT_WORD]!;
    for (let slot = fromAt + HEADER_WORDS; slot < end; slot += 2) {
      const value = liveValue(words[slot + 1]!);
      if (value === 0) continue;
      const hash = words[slot]!;
      let index = homeOf(hash, capacity);
      while (words[first + 2 * index + 1] !== 0) if (++index === capacity) index = 0;
      words[first + 2 * index] = hash;
      words[first + 2 * index + 1] = value;
    }
  }

  /** The parts of a table that there are. */
  partsOf(tableAt: number): readonly number[] {
    return this.itemsAt(tableAt).filter((id) => id !== 0);
  }

  /** What is in a table, in no order. */
  eachValue(tableAt: number, take: (value: number) => void): void {
    for (const part of this.partsOf(tableAt)) {
      this.eachSlot(this.at(part), (_, value) => take(value));
    }
  }

  readerSlot(reader: number): number {
    return READER_SLOT_FIRST + reader * READER_SLOT_STRIDE;
  }
}

const NOTHING: readonly never[] = [];

function liveValue(value: number): number {
  return value === TOMBSTONE ? 0 : value;
}

/** By the bits below those that chose the part. */
function homeOf(hash: number, capacity: number): number {
  const rest = (hash << TABLE_PARTS_BITS) >>> 0;
  return Math.min(Math.floor(rest * capacity / 0x100000000), capacity - 1);
}
