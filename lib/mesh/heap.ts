import {
  type Buffers,
  FLAG_RETIRED,
  HEADER_WORDS,
  HEAP_BYTES_MAX,
  type Kind,
  Memory,
  READERS_MAX,
  SPACE_RATIO,
} from "./memory.ts";

/** What is emptied and given back at once. A record is about 300 bytes, so a page is some 200 of them. */
const PAGE_BYTES = 64 << 10;
const PAGE_WORDS = PAGE_BYTES / 4;
/** Larger objects get pages of their own: moving them would take longer than a turn should. */
const SMALL_BYTES_MAX = PAGE_BYTES / 4;
/** The step in which address space is made usable; memory is taken only when it is written. */
const GROWTH_BYTES = 4 << 20;
/** Empty pages that stay with us for what comes next, instead of going back to the system: 1 MiB. */
const SPARE_PAGES_MAX = 16;
/** Moving records begins when this much of the small pages is waste, and at least so many bytes. */
const WASTE_RATIO_MAX = 0.1;
const WASTE_BYTES_MIN = 1 << 20;
/** What one `compact` moves at most, in bytes: well under a millisecond. */
export const MOVED_BYTES_MAX = 512 << 10;

const enum Page {
  Free = 0,
  Small = 1,
  RunHead = 2,
  RunTail = 3,
  /** Empty, but a reader may still look at it. */
  Waiting = 4,
}

const FULL = "Cannot hold so large a mesh: its memory is full";

/** What becomes free when every reader that was reading then has stopped once. */
interface Retired {
  readonly ids: readonly number[];
  readonly pages: readonly number[];
  /** Reader and its counter. */
  readonly waits: readonly (readonly [number, number])[];
}

/** Gives the memory of these bytes back to the system; what is there reads as zeros afterwards, or as it was. */
export type ReleasePages = (
  buffer: SharedArrayBuffer,
  byteOffset: number,
  byteLength: number,
) => void;

export interface HeapUse {
  /** In objects that are in use. */
  readonly liveBytes: number;
  /** In pages that hold any object, or wait for a reader. */
  readonly pageBytes: number;
  readonly ids: number;
}

/** The writer's side of the memory: allocation, replacement, reuse, compaction. */
export class Heap {
  readonly memory: Memory;
  readonly bytesMax: number;
  /** Of address space, in whole pages. */
  readonly #spaceBytes: number;
  readonly #state: Page[] = [];
  readonly #live: number[] = [];
  /** Small pages: the word behind the last object. Heads of runs: how many pages the run has. */
  readonly #extent: number[] = [];
  readonly #readers = new Set<number>();
  #bumpPage = -1;
  #bump = 0;
  #liveBytes = 0;
  #smallLiveBytes = 0;
  #smallPages = 0;
  #usedPages = 0;
  #released = new Set<number>();
  #idsCount = 1;
  #freeIds: number[] = [];
  #lastGeneration = 0;
  #retiring: { ids: number[]; pages: number[] } = { ids: [], pages: [] };
  #waiting: Retired[] = [];

  constructor(
    buffers: Buffers,
    bytesMax: number,
    private readonly releasePages: ReleasePages | undefined,
  ) {
    this.bytesMax = Math.min(bytesMax, HEAP_BYTES_MAX);
    this.#spaceBytes = Math.floor(this.bytesMax * SPACE_RATIO / PAGE_BYTES) * PAGE_BYTES;
    this.memory = new Memory(buffers);
    this.#addPages();
  }

  get use(): HeapUse {
    return {
      liveBytes: this.#liveBytes,
      pageBytes: this.#usedPages * PAGE_BYTES,
      ids: this.#idsCount - 1 - this.#freeIds.length,
    };
  }

  /** Undefined when there are READERS_MAX already. */
  addReader(): number | undefined {
    for (let reader = 0; reader < READERS_MAX; reader++) {
      if (this.#readers.has(reader)) continue;
      this.#readers.add(reader);
      Atomics.store(this.memory.control, this.memory.readerSlot(reader), 0);
      return reader;
    }
    return undefined;
  }

  /** Nobody waits for it any more. Its thread must have ended, or must not read again. */
  removeReader(reader: number): void {
    this.#readers.delete(reader);
  }

  newId(): number {
    const free = this.#freeIds.pop();
    if (free !== undefined) return free;
    const id = this.#idsCount++;
    const { directory } = this.memory.buffers;
    if (id * 4 >= directory.maxByteLength) throw new RangeError(FULL);
    if (id * 4 >= directory.byteLength) {
      directory.grow(Math.min(directory.maxByteLength, directory.byteLength * 2));
      this.memory.renew();
    }
    return id;
  }

  /** A new object of zeros that nobody sees before `publish`; the word where it begins. */
  allocate(
    id: number,
    kind: Kind,
    bodyBytes: number,
    options: { readonly count: number; readonly flags?: number },
  ): number {
    const granules = HEADER_WORDS / 2 + Math.ceil(bodyBytes / 8);
    const at = this.#take(granules * 2);
    this.memory.words.fill(0, at, at + granules * 2);
    this.#account(at, granules * 8);
    this.#lastGeneration = (this.#lastGeneration + 1) >>> 0;
    this.memory.writeHeader(at, {
      granules,
      kind,
      id,
      flags: options.flags ?? 0,
      generation: this.#lastGeneration,
      count: options.count,
    });
    return at;
  }

  /** From now on the object is what the id means; the one that it was before is out of use. */
  publish(id: number, at: number): void {
    const before = this.memory.at(id);
    Atomics.store(this.memory.directory, id, at / 2);
    if (before !== 0) this.#account(before, -this.memory.granulesAt(before) * 8);
  }

  /** The object goes, and the id with it. Nothing that readers start from may lead there any more. */
  retire(id: number): void {
    const at = this.memory.at(id);
    if (at !== 0) {
      this.memory.words[at]! |= FLAG_RETIRED;
      this.#account(at, -this.memory.granulesAt(at) * 8);
    }
    this.#retiring.ids.push(id);
  }

  /** Ends a commit: what went since the last one waits from now on, and what nobody waits for any more is free. */
  settle(): void {
    this.compact();
    const { ids, pages } = this.#retiring;
    if (ids.length + pages.length > 0) {
      this.#waiting.push({ ids, pages, waits: this.#waits() });
      this.#retiring = { ids: [], pages: [] };
    }
    this.reclaim();
  }

  /** Frees what readers have left behind; false while somebody still reads. */
  reclaim(): boolean {
    const { memory } = this;
    while (this.#waiting.length > 0) {
      const { ids, pages, waits } = this.#waiting[0]!;
      const isRead = waits.some(([reader, counter]) =>
        this.#readers.has(reader) &&
        Atomics.load(memory.control, memory.readerSlot(reader)) === counter
      );
      if (isRead) break;
      this.#waiting.shift();
      for (const id of ids) {
        Atomics.store(memory.directory, id, 0);
        this.#freeIds.push(id);
      }
      for (const page of pages) this.#free(page);
    }
    this.#giveBack();
    return this.#waiting.length === 0;
  }

  /** Moves objects out of pages that are mostly waste, until enough is moved for one turn. */
  compact(): void {
    const waste = this.#smallPages * PAGE_BYTES - this.#smallLiveBytes;
    const wasteMax = Math.max(WASTE_BYTES_MIN, this.#smallPages * PAGE_BYTES * WASTE_RATIO_MAX);
    if (waste <= wasteMax) return;
    let left = Math.min(MOVED_BYTES_MAX, waste - wasteMax);
    const emptiest = this.#state.keys()
      .filter((page) => this.#state[page] === Page.Small && page !== this.#bumpPage)
      .toArray().sort((a, b) => this.#live[a]! - this.#live[b]!);
    for (const page of emptiest) {
      const live = this.#live[page]!;
      if (left <= 0 || live > PAGE_BYTES * (1 - WASTE_RATIO_MAX / 2)) return;
      left -= live;
      this.#evacuate(page);
    }
  }

  #evacuate(page: number): void {
    const { memory } = this;
    const end = this.#extent[page]!;
    for (let at = firstWord(page); at < end;) {
      const length = memory.granulesAt(at) * 2;
      const id = memory.idAt(at);
      if (!memory.isRetiredAt(at) && memory.at(id) === at) {
        const to = this.#take(length);
        memory.words.copyWithin(to, at, at + length);
        this.#account(to, length * 4);
        this.publish(id, to);
      }
      at += length;
    }
  }

  #waits(): (readonly [number, number])[] {
    const waits: (readonly [number, number])[] = [];
    for (const reader of this.#readers) {
      const counter = Atomics.load(this.memory.control, this.memory.readerSlot(reader));
      if (counter % 2 !== 0) waits.push([reader, counter]);
    }
    return waits;
  }

  #take(words: number): number {
    if (words * 4 > SMALL_BYTES_MAX) return this.#takeRun(words);
    if (this.#bumpPage < 0 || this.#bump + words > (this.#bumpPage + 1) * PAGE_WORDS) {
      this.#closeBumpPage();
      this.#bumpPage = this.#freeRun(1);
      this.#use(this.#bumpPage, Page.Small);
      this.#smallPages++;
      this.#bump = firstWord(this.#bumpPage);
    }
    const at = this.#bump;
    this.#bump += words;
    this.#extent[this.#bumpPage] = this.#bump;
    return at;
  }

  #takeRun(words: number): number {
    const pages = Math.ceil((words + 2) / PAGE_WORDS);
    const head = this.#freeRun(pages);
    this.#use(head, Page.RunHead);
    this.#extent[head] = pages;
    for (let page = head + 1; page < head + pages; page++) this.#use(page, Page.RunTail);
    return firstWord(head);
  }

  #closeBumpPage(): void {
    const page = this.#bumpPage;
    this.#bumpPage = -1;
    if (page >= 0 && this.#live[page] === 0) this.#emptied(page);
  }

  /** The first of so many free pages in a row; the lowest, so that the upper end becomes empty. */
  #freeRun(count: number): number {
    const before = this.#state.length;
    let run = 0;
    for (let page = 0; page < this.#state.length; page++) {
      run = this.#state[page] === Page.Free ? run + 1 : 0;
      if (run === count) return page - count + 1;
    }
    this.#addPages((count - run) * PAGE_BYTES);
    return before - run;
  }

  #addPages(bytes = 0): void {
    const { heap } = this.memory.buffers;
    if (bytes > 0) {
      if (heap.byteLength + bytes > this.#spaceBytes) throw new RangeError(FULL);
      const step = Math.ceil(bytes / GROWTH_BYTES) * GROWTH_BYTES;
      heap.grow(Math.min(heap.byteLength + step, this.#spaceBytes));
      this.memory.renew();
    }
    for (let page = this.#state.length; page < heap.byteLength / PAGE_BYTES; page++) {
      this.#state.push(Page.Free);
      this.#live.push(0);
      this.#extent.push(0);
      this.#released.add(page);
    }
  }

  #use(page: number, state: Page): void {
    this.#state[page] = state;
    this.#live[page] = 0;
    this.#released.delete(page);
    this.#usedPages++;
  }

  #account(at: number, bytes: number): void {
    const page = Math.floor(at / PAGE_WORDS);
    this.#liveBytes += bytes;
    if (this.#state[page] === Page.Small) this.#smallLiveBytes += bytes;
    const live = this.#live[page]! + bytes;
    this.#live[page] = live;
    if (live === 0 && page !== this.#bumpPage) this.#emptied(page);
  }

  #emptied(page: number): void {
    if (this.#state[page] === Page.Small) {
      this.#smallPages--;
      this.#state[page] = Page.Waiting;
    }
    this.#retiring.pages.push(page);
  }

  #free(page: number): void {
    const pages = this.#state[page] === Page.RunHead ? this.#extent[page]! : 1;
    for (let each = page; each < page + pages; each++) this.#state[each] = Page.Free;
    this.#usedPages -= pages;
  }

  /** What is free and more than the spare goes back to the system, neighbours in one call. */
  #giveBack(): void {
    if (this.releasePages === undefined) return;
    let spare = SPARE_PAGES_MAX;
    for (let page = 0; page < this.#state.length; page++) {
      if (this.#state[page] !== Page.Free || this.#released.has(page)) continue;
      if (spare-- > 0) continue;
      let end = page;
      while (this.#state[end] === Page.Free && !this.#released.has(end)) this.#released.add(end++);
      this.releasePages(this.memory.buffers.heap, page * PAGE_BYTES, (end - page) * PAGE_BYTES);
    }
  }
}

/** Where a page's objects begin. Word 0 stays unused, because 0 means nothing. */
function firstWord(page: number): number {
  return page === 0 ? 2 : page * PAGE_WORDS;
}
