import type { Heap } from "./heap.ts";
import { COUNT_WORD, HEADER_WORDS, KIND, type Memory } from "./memory.ts";

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
/** Room that a table gets beyond what is in it. */
const GROWTH = 1.8;

/** A table from hashes to ids in the arena; the writer's side. */
export class Table {
  readonly id: number;
  #live = 0;
  #used = 0;

  constructor(private readonly heap: Heap) {
    this.id = heap.newId();
    heap.publish(this.id, this.#make(CAPACITY_MIN));
  }

  get(hash: number): number {
    return this.#memory.valueAt(this.#at, hash);
  }

  set(hash: number, value: number): void {
    const memory = this.#memory;
    const known = memory.slotOf(this.#at, hash);
    if (known !== 0) return memory.setSlot(known, hash, value);
    if (this.#used + 1 > memory.countAt(this.#at) * LOAD_MAX) this.#rehash();
    const slot = memory.emptySlotFor(this.#at, hash);
    if (!memory.isTombstone(slot)) this.#used++;
    this.#live++;
    memory.setSlot(slot, hash, value);
  }

  delete(hash: number): void {
    const slot = this.#memory.slotOf(this.#at, hash);
    if (slot === 0) return;
    this.#memory.clearSlot(slot);
    this.#live--;
    // A table that lost nearly everything gives its memory back.
    if (this.#live * 8 < this.#memory.countAt(this.#at) && this.#used > 64) this.#rehash();
  }

  retire(): void {
    retireTable(this.heap, this.id);
  }

  get #memory(): Memory {
    return this.heap.memory;
  }

  get #at(): number {
    return this.#memory.at(this.id);
  }

  #make(capacity: number): number {
    return this.heap.allocate(this.id, KIND.table, capacity * 8, { count: capacity });
  }

  #rehash(): void {
    const capacity = Math.max(CAPACITY_MIN, Math.ceil((this.#live + 1) * GROWTH));
    const next = this.#make(capacity);
    for (const { hash, value } of this.#memory.slotsAt(this.#at)) {
      this.#memory.setSlot(this.#memory.emptySlotFor(next, hash), hash, value);
    }
    this.#used = this.#live;
    this.heap.publish(this.id, next);
  }
}

/** A list object under an id of its own. */
export function writeList(heap: Heap, id: number, items: readonly number[], spare: number): void {
  const at = heap.allocate(id, KIND.list, (items.length + spare) * 4, { count: items.length });
  heap.memory.words.set(items, at + HEADER_WORDS);
  heap.publish(id, at);
}

/** A table that nobody will change, under a new id. */
export function writeTable(heap: Heap, idsByHash: ReadonlyMap<number, readonly number[]>): number {
  const { memory } = heap;
  const tableId = heap.newId();
  const capacity = Math.max(CAPACITY_MIN, Math.ceil(idsByHash.size / LOAD_MAX) + 1);
  const at = heap.allocate(tableId, KIND.table, capacity * 8, { count: capacity });
  for (const [hash, ids] of idsByHash) {
    let value = ids[0]!;
    if (ids.length > 1) writeList(heap, value = heap.newId(), ids, 0);
    memory.setSlot(memory.emptySlotFor(at, hash), hash, value);
  }
  heap.publish(tableId, at);
  return tableId;
}

/** Everything of it goes, its lists too; what its entries name stays. */
export function retireTable(heap: Heap, tableId: number): void {
  const { memory } = heap;
  for (const { value } of memory.slotsAt(memory.at(tableId))) {
    const at = memory.at(value);
    if (at !== 0 && memory.kindAt(at) === KIND.list) heap.retire(value);
  }
  heap.retire(tableId);
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
  readonly #edits = new Map<number, Edit>();

  constructor(private readonly heap: Heap) {
    this.table = new Table(heap);
  }

  ids(hash: number): readonly number[] {
    const value = this.table.get(hash);
    return value === 0 ? [] : this.heap.memory.idsOf(value);
  }

  add(hash: number, id: number): void {
    const { added, dropped } = this.#edit(hash);
    added.delete(id);
    added.add(id);
    dropped.delete(id);
  }

  drop(hash: number, id: number): void {
    const { added, dropped } = this.#edit(hash);
    if (!added.delete(id) || this.ids(hash).includes(id)) dropped.add(id);
  }

  /** Before records change: readers find what is under its new key as soon as it has it. */
  applyAdded(): void {
    for (const [hash, { added }] of this.#edits) if (added.size > 0) this.#append(hash, added);
  }

  /** After records have changed. */
  applyDropped(): void {
    for (const [hash, { dropped }] of this.#edits) {
      if (dropped.size > 0) this.#write(hash, this.ids(hash).filter((id) => !dropped.has(id)));
    }
    this.#edits.clear();
  }

  #edit(hash: number): Edit {
    let edit = this.#edits.get(hash);
    if (edit === undefined) {
      this.#edits.set(hash, edit = { added: new Set(), dropped: new Set() });
    }
    return edit;
  }

  #append(hash: number, added: ReadonlySet<number>): void {
    const before = this.ids(hash);
    const kept = before.filter((id) => !added.has(id));
    if (kept.length === before.length && this.#appendInPlace(hash, added)) return;
    this.#write(hash, [...kept, ...added]);
  }

  /** Into the room that a list has left: the items first, then their number. */
  #appendInPlace(hash: number, added: ReadonlySet<number>): boolean {
    const { memory } = this.heap;
    const at = memory.at(this.table.get(hash));
    if (at === 0 || memory.kindAt(at) !== KIND.list) return false;
    const count = memory.countAt(at);
    const capacity = memory.granulesAt(at) * 2 - HEADER_WORDS;
    if (count + added.size > capacity) return false;
    memory.words.set([...added], at + HEADER_WORDS + count);
    Atomics.store(memory.words, at + COUNT_WORD, count + added.size);
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
