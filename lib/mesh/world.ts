import type { Heap } from "./heap.ts";
import {
  COUNT_WORD,
  HEADER_WORDS,
  KIND,
  type Memory,
  TABLE_PARTS,
  TABLE_PARTS_BITS,
} from "./memory.ts";

/** What a root leads to, by place: tables from hashes to ids, and lists. */
export const PART = {
  uid: 0,
  address: 1,
  info: 2,
  workloadHostname: 3,
  service: 4,
  serviceHostname: 5,
  vip: 6,
  range: 7,
  endpoints: 8,
  /** Of `family << 8 | prefix length`: which kinds of range there are. */
  strata: 9,
  policy: 10,
  policyNamespace: 11,
  policyGlobal: 12,
} as const;
export type Part = typeof PART[keyof typeof PART];
export const PARTS_COUNT = 13;

const CAPACITY_MIN = 8;
/** Used slots, of things that went too, per slot: probing stays under three steps on average. */
const LOAD_MAX = 0.75;
/** Parts of fewer used slots than this are not worth making smaller. */
const SHRUNK_USED_MIN = 16;
/** Room that a table gets beyond what is in it. */
const GROWTH = 1.8;

/** A table from hashes to ids in the arena; the writer's side. */
export class Table {
  readonly id: number;
  /** By part: entries, and slots that are not empty. */
  readonly #live = new Uint32Array(TABLE_PARTS);
  readonly #used = new Uint32Array(TABLE_PARTS);

  constructor(private readonly heap: Heap) {
    this.id = newTable(heap);
  }

  get(hash: number): number {
    const partAt = this.#partAt(hash);
    return partAt === 0 ? 0 : this.#memory.valueAt(partAt, hash);
  }

  set(hash: number, value: number): void {
    const memory = this.#memory;
    const part = partOf(hash);
    let at = this.#partAt(hash);
    const known = at === 0 ? 0 : memory.slotOf(at, hash);
    if (known !== 0) return memory.setSlot(known, hash, value);
    const isFull = at === 0 || this.#used[part]! + 1 > memory.countAt(at) * LOAD_MAX;
    if (isFull) at = this.#rehash(part, at);
    const slot = memory.emptySlotFor(at, hash);
    if (!memory.isTombstone(slot)) this.#used[part]!++;
    this.#live[part]!++;
    memory.setSlot(slot, hash, value);
  }

  delete(hash: number): void {
    const memory = this.#memory;
    const at = this.#partAt(hash);
    const slot = at === 0 ? 0 : memory.slotOf(at, hash);
    if (slot === 0) return;
    memory.clearSlot(slot);
    const part = partOf(hash);
    const live = --this.#live[part]!;
    if (live === 0) this.#drop(part);
    // A part that lost nearly everything gives its memory back.
    else if (live * 8 < memory.countAt(at) && this.#used[part]! > SHRUNK_USED_MIN) {
      this.#rehash(part, at);
    }
  }

  retire(): void {
    retireTable(this.heap, this.id);
  }

  get #memory(): Memory {
    return this.heap.memory;
  }

  #partAt(hash: number): number {
    const memory = this.#memory;
    const id = memory.partOf(memory.at(this.id), hash);
    return id === 0 ? 0 : memory.at(id);
  }

  /** The part anew, with room; the word where it begins. */
  #rehash(part: number, before: number): number {
    const memory = this.#memory;
    const capacity = Math.max(CAPACITY_MIN, Math.ceil((this.#live[part]! + 1) * GROWTH));
    const id = before === 0 ? this.heap.newId() : memory.idAt(before);
    const next = this.heap.allocate(id, KIND.table, capacity * 8, { count: capacity });
    if (before !== 0) {
      memory.copySlots(before, next);
    }
    this.#used[part] = this.#live[part]!;
    this.heap.publish(id, next);
    setPart(this.heap, this.id, part, id);
    return next;
  }

  #drop(part: number): void {
    const memory = this.#memory;
    const id = memory.words[memory.at(this.id) + HEADER_WORDS + part]!;
    setPart(this.heap, this.id, part, 0);
    this.#used[part] = 0;
    this.heap.retire(id);
  }
}

function partOf(hash: number): number {
  return hash >>> (32 - TABLE_PARTS_BITS);
}

/** Without any part. */
function newTable(heap: Heap): number {
  const id = heap.newId();
  heap.publish(id, heap.allocate(id, KIND.parts, TABLE_PARTS * 4, { count: TABLE_PARTS }));
  return id;
}

function setPart(heap: Heap, tableId: number, part: number, id: number): void {
  const { memory } = heap;
  Atomics.store(memory.words, memory.at(tableId) + HEADER_WORDS + part, id);
}

/** A list object under an id of its own. */
export function writeList(heap: Heap, id: number, items: readonly number[], spare: number): void {
  const at = heap.allocate(id, KIND.list, (items.length + spare) * 4, { count: items.length });
  heap.memory.words.set(items, at + HEADER_WORDS);
  heap.publish(id, at);
}

/**
 * A table that is never changed where it can be seen: what differs is written anew, and the parts that do not differ are
 * shared with the table of before.
 */
export class FrozenTable {
  /** Nearly every key has one id. */
  readonly #parts: Map<number, number | readonly number[]>[];
  readonly #changed = new Set<number>();
  #tableId = 0;

  constructor(private readonly heap: Heap) {
    this.#parts = Array.from({ length: TABLE_PARTS }, () => new Map());
  }

  /** Behind those that are there under this hash. */
  add(hash: number, id: number): void {
    const part = this.#change(hash);
    const ids = part.get(hash);
    part.set(hash, ids === undefined ? id : typeof ids === "number" ? [ids, id] : [...ids, id]);
  }

  remove(hash: number, id: number): void {
    const part = this.#change(hash);
    const ids = part.get(hash);
    const left = typeof ids === "object" ? ids.filter((each) => each !== id) : [];
    if (left.length === 0) part.delete(hash);
    else part.set(hash, left);
  }

  /** The table as it is now, under a new id; `retire` what of the one before it is not part of. */
  write(): { readonly tableId: number; readonly retire: () => void } {
    const { memory } = this.heap;
    const before = this.#tableId;
    const tableId = this.#tableId = newTable(this.heap);
    const known = before === 0 ? [] : memory.itemsAt(memory.at(before));
    const replaced: number[] = [];
    for (const [part, id] of known.entries()) {
      if (!this.#changed.has(part)) setPart(this.heap, tableId, part, id);
      else if (id !== 0) replaced.push(id);
    }
    for (const part of this.#changed) {
      if (this.#parts[part]!.size > 0) setPart(this.heap, tableId, part, this.#writePart(part));
    }
    this.#changed.clear();
    return {
      tableId,
      retire: () => {
        for (const id of replaced) retirePart(this.heap, id);
        if (before !== 0) this.heap.retire(before);
      },
    };
  }

  #change(hash: number): Map<number, number | readonly number[]> {
    const part = partOf(hash);
    this.#changed.add(part);
    return this.#parts[part]!;
  }

  #writePart(part: number): number {
    const { heap } = this;
    const { memory } = heap;
    const entries = this.#parts[part]!;
    const capacity = Math.max(CAPACITY_MIN, Math.ceil(entries.size / LOAD_MAX) + 1);
    const id = heap.newId();
    heap.publish(id, heap.allocate(id, KIND.table, capacity * 8, { count: capacity }));
    for (const [hash, ids] of entries) {
      let value = typeof ids === "number" ? ids : ids[0]!;
      if (typeof ids === "object" && ids.length > 1) {
        writeList(heap, value = heap.newId(), ids, 0);
      }
      memory.setSlot(memory.emptySlotFor(memory.at(id), hash), hash, value);
    }
    return id;
  }
}

/** Everything of it goes, its lists too; what its entries name stays. */
export function retireTable(heap: Heap, tableId: number): void {
  const { memory } = heap;
  for (const part of memory.partsOf(memory.at(tableId))) retirePart(heap, part);
  heap.retire(tableId);
}

function retirePart(heap: Heap, id: number): void {
  const { memory } = heap;
  memory.eachSlot(memory.at(id), (_, value) => {
    const at = memory.at(value);
    if (at !== 0 && memory.kindAt(at) === KIND.list) heap.retire(value);
  });
  heap.retire(id);
}

/** What one commit changes in the entries of one hash. */
interface Edit {
  /** At the end, in this order; what was there already moves there. */
  readonly added: Set<number>;
  readonly dropped: Set<number>;
}

/** Tables with many ids per hash, changed once per commit and hash. */
export class Index {
  readonly table: Table;
  /** Nearly every hash has one id that comes, or goes: that one as it is, or negative. A large push has half a million. */
  readonly #edits = new Map<number, number | Edit>();

  constructor(private readonly heap: Heap) {
    this.table = new Table(heap);
  }

  ids(hash: number): readonly number[] {
    const value = this.table.get(hash);
    return value === 0 ? [] : this.heap.memory.idsOf(value);
  }

  /** An id that is new, or came with this hash just now; readers may find it at once. */
  insert(hash: number, id: number): void {
    if (this.#edits.has(hash)) return this.add(hash, id);
    const value = this.table.get(hash);
    if (value === 0) this.table.set(hash, id);
    else if (this.#lastOf(value) !== id && !this.#appendInPlace(value, [id])) {
      this.#write(hash, [...this.heap.memory.idsOf(value), id]);
    }
  }

  add(hash: number, id: number): void {
    if (!this.#edits.has(hash)) return void this.#edits.set(hash, id);
    const { added, dropped } = this.#edit(hash);
    added.delete(id);
    added.add(id);
    dropped.delete(id);
  }

  drop(hash: number, id: number): void {
    if (!this.#edits.has(hash)) return void this.#edits.set(hash, -id);
    const { added, dropped } = this.#edit(hash);
    if (!added.delete(id) || this.ids(hash).includes(id)) dropped.add(id);
  }

  /** Before records change: readers find what is under its new key as soon as it has it. */
  applyAdded(): void {
    for (const [hash, edit] of this.#edits) {
      if (typeof edit !== "number") {
        if (edit.added.size > 0) this.#append(hash, edit.added);
      } else if (edit > 0) {
        if (this.table.get(hash) === 0) this.table.set(hash, edit);
        else this.#append(hash, new Set([edit]));
      }
    }
  }

  /** After records have changed. */
  applyDropped(): void {
    for (const [hash, edit] of this.#edits) {
      if (typeof edit === "number") {
        if (edit > 0) continue;
        if (this.table.get(hash) === -edit) this.table.delete(hash);
        else this.#write(hash, this.ids(hash).filter((id) => id !== -edit));
      } else if (edit.dropped.size > 0) {
        this.#write(hash, this.ids(hash).filter((id) => !edit.dropped.has(id)));
      }
    }
    this.#edits.clear();
  }

  #edit(hash: number): Edit {
    const known = this.#edits.get(hash);
    if (typeof known === "object") return known;
    const edit: Edit = { added: new Set(), dropped: new Set() };
    if (known !== undefined) (known > 0 ? edit.added : edit.dropped).add(Math.abs(known));
    this.#edits.set(hash, edit);
    return edit;
  }

  #lastOf(value: number): number {
    const { memory } = this.heap;
    const at = memory.at(value);
    if (at === 0 || memory.kindAt(at) !== KIND.list) return value;
    return memory.words[at + HEADER_WORDS + memory.countAt(at) - 1]!;
  }

  #append(hash: number, added: ReadonlySet<number>): void {
    const before = this.ids(hash);
    const kept = before.filter((id) => !added.has(id));
    const isFirst = kept.length === before.length;
    if (isFirst && this.#appendInPlace(this.table.get(hash), [...added])) return;
    this.#write(hash, [...kept, ...added]);
  }

  /** Into the room that a list has left: the items first, then their number. */
  #appendInPlace(value: number, added: readonly number[]): boolean {
    const { memory } = this.heap;
    const at = memory.at(value);
    if (at === 0 || memory.kindAt(at) !== KIND.list) return false;
    const count = memory.countAt(at);
    const capacity = memory.granulesAt(at) * 2 - HEADER_WORDS;
    if (count + added.length > capacity) return false;
    memory.words.set(added, at + HEADER_WORDS + count);
    Atomics.store(memory.words, at + COUNT_WORD, count + added.length);
    return true;
  }

  #write(hash: number, items: readonly number[]): void {
    const { memory } = this.heap;
    const value = this.table.get(hash);
    const at = memory.at(value);
    const isList = at !== 0 && memory.kindAt(at) === KIND.list;
    if (items.length === 0) {
      if (value === 0) return;
      this.table.delete(hash);
      if (isList) this.heap.retire(value);
    } else if (items.length === 1 && !isList) this.table.set(hash, items[0]!);
    else {
      const listId = isList ? value : this.heap.newId();
      writeList(this.heap, listId, items, items.length >> 2);
      if (!isList) this.table.set(hash, listId);
    }
  }
}
