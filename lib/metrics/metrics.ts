import { FAMILIES, FAMILY_NAMES, type FamilyName, familyOf } from "./families.ts";
import { METRICS_LIMITS } from "./limits.ts";
import type { Format, Sample } from "./text.ts";

/** One labelled cell. While held it is never evicted; dispose when the connection ends. */
export interface Series extends Disposable {
  /** Counters only grow: a negative or unreal amount throws a RangeError. After disposal it does nothing. */
  add(amount: number): void;
}

export interface MetricsOptions {
  /** Any clock that does not go back; for idleness. */
  readonly nowMs: () => number;
  /** METRICS_LIMITS.seriesMax if absent. */
  readonly seriesMax?: number;
  /** METRICS_LIMITS.idleMs if absent. */
  readonly idleMs?: number;
  /** A data thread's: it counts here, and tells control what the cells mean. */
  readonly thread?: {
    /** Of `newCells`. */
    readonly cells: SharedArrayBuffer;
    /** Called at most once per turn. Of what is gone `freed` says when its cell may be used again. */
    readonly onChange: (change: SeriesChange) => void;
  };
}

/** A series that a data thread has begun to count. */
export interface NewSeries {
  /** Which cell. */
  readonly slot: number;
  readonly family: FamilyName;
  readonly labels: readonly string[];
}

export interface SeriesChange {
  readonly added: readonly NewSeries[];
  /** Cells that were idle for METRICS_LIMITS.idleMs and count nothing any more. */
  readonly gone: readonly number[];
}

/** A data thread's cells, as control adds them up. */
export interface ThreadCells {
  /** Returns the cells that the thread may use again. */
  learn(change: SeriesChange): readonly number[];
  /** The thread has ended: what it counted stays counted, what it measured is gone. */
  detach(): void;
}

/** Label values and their rows, one per family that counts by them: four families share each connection's values. */
interface LabelSet {
  readonly key: string;
  readonly labels: readonly string[];
  readonly rows: Map<FamilyName, Row>;
}

interface Row {
  readonly family: FamilyName;
  readonly set: LabelSet;
  /** Which cell; -1 when evicted. */
  slot: number;
  heldCount: number;
  idleSinceMs: number;
  /** Cells of data threads that count the same; their sum with our own is what is shown. */
  readonly remotes: Set<RemoteCell>;
}

interface RemoteCell {
  readonly cells: Float64Array;
  readonly slot: number;
  readonly row: Row;
}

/** What every label says of a series that came when there was no more room. */
const OVERFLOW = "overflow";

/** Room for the cells of one data thread; each family may add one row for what overflows. */
export function newCells(seriesMax: number = METRICS_LIMITS.seriesMax): SharedArrayBuffer {
  return new SharedArrayBuffer((seriesMax + FAMILY_NAMES.length) * Float64Array.BYTES_PER_ELEMENT);
}

/**
 * All counters and gauges of a thread; on control, also of the data threads that are attached. Past `seriesMax` a new label set is counted in one series per family whose
 * labels all say "overflow": totals stay right, memory and scrapes stay bounded.
 */
export class Metrics {
  readonly #nowMs: () => number;
  readonly #seriesMax: number;
  readonly #idleMs: number;
  readonly #cells: Float64Array;
  readonly #freeSlots: number[] = [];
  #slotsCount = 0;
  #searchedMs = -Infinity;
  readonly #sets = new Map<string, LabelSet>();
  /** By the very array that was given; it holds no array that nobody else does. */
  readonly #frozen = new WeakMap<readonly string[], LabelSet>();
  readonly #rows = new Map<FamilyName, Set<Row>>(FAMILY_NAMES.map((name) => [name, new Set()]));
  readonly #reads = new Map<FamilyName, Set<Read>>(FAMILY_NAMES.map((name) => [name, new Set()]));
  readonly #news: News | undefined;
  /** Told before each exposition. */
  onExpose: (() => void) | undefined;

  constructor(options: MetricsOptions) {
    this.#nowMs = options.nowMs;
    this.#idleMs = options.idleMs ?? METRICS_LIMITS.idleMs;
    this.#cells = new Float64Array(options.thread?.cells ?? newCells(options.seriesMax));
    this.#seriesMax = this.#cells.length - FAMILY_NAMES.length;
    this.#news = options.thread && new News(options.thread.onChange);
  }

  /**
   * The series of `family` with these label values, in the family's order; it exists from now on, with 0. An array that
   * is frozen and given again is found without its values being looked at.
   */
  series(family: FamilyName, labels: readonly string[]): Series {
    checkLabels(family, labels);
    const row = this.#frozen.get(labels)?.rows.get(family) ?? this.#look(family, labels);
    row.heldCount++;
    return new HeldSeries(this.#cells, row, familyOf(family).type === "counter", this.#nowMs);
  }

  /** A gauge that is asked at each scrape. One whose `read` throws or gives no real number is left out of it. */
  gauge(family: FamilyName, labels: readonly string[], read: () => number): Disposable {
    checkLabels(family, labels);
    if (familyOf(family).type !== "gauge") throw new TypeError(`${family} is not a gauge`);
    const entry: Read = { labels: labels.map(cleanLabel), read };
    this.#reads.get(family)?.add(entry);
    return { [Symbol.dispose]: () => void this.#reads.get(family)?.delete(entry) };
  }

  /** Control: `cells` count into our series from now on. */
  attach(cells: SharedArrayBuffer): ThreadCells {
    const view = new Float64Array(cells);
    const remotes = new Map<number, RemoteCell>();
    const release = (remote: RemoteCell, idleSinceMs: number) => {
      const { row, slot } = remote;
      remotes.delete(slot);
      row.remotes.delete(remote);
      row.heldCount--;
      row.idleSinceMs = Math.max(row.idleSinceMs, idleSinceMs);
      if (familyOf(row.family).type === "counter") this.#cells[row.slot]! += view[slot]!;
    };
    return {
      learn: ({ added, gone }) => {
        for (const { slot, family, labels } of added) {
          const row = this.#row(family, labels);
          const remote: RemoteCell = { cells: view, slot, row };
          row.heldCount++;
          row.remotes.add(remote);
          remotes.set(slot, remote);
        }
        for (const slot of gone) {
          const remote = remotes.get(slot);
          if (remote !== undefined) release(remote, this.#nowMs() - this.#idleMs);
        }
        return gone;
      },
      detach: () => {
        for (const remote of [...remotes.values()]) release(remote, this.#nowMs());
      },
    };
  }

  /** A data thread: control has counted the last values of these cells. */
  freed(slots: readonly number[]): void {
    this.#freeSlots.push(...slots);
  }

  /** Forgets what was idle for too long. */
  sweep(): void {
    this.#evictIdle();
  }

  /**
   * The text, in pieces of a few milliseconds' work. `pause` lets the event loop turn between them.
   * Values of one scrape are not of one instant, as in every Prometheus client.
   */
  async *expose(format: Format, pause: () => Promise<void>): AsyncGenerator<string, void, void> {
    this.onExpose?.();
    this.#evictIdle();
    // Not before it is needed: data threads never write text.
    const { FamilyText } = await import("./text.ts");
    for (const family of FAMILY_NAMES) {
      const text = new FamilyText(family, familyOf(family), format);
      const reads = this.#readSamples(family);
      if (reads.length > 0) yield await text.of(reads);
      // A copy: rows that come while we pause wait for the next scrape, those that go are marked.
      const rows = [...this.#rows.get(family) ?? []];
      for (let start = 0; start < rows.length; start += METRICS_LIMITS.seriesPerChunk) {
        const samples = this.#samples(rows.slice(start, start + METRICS_LIMITS.seriesPerChunk));
        if (samples.length === 0) continue;
        yield await text.of(samples);
        if (rows.length > METRICS_LIMITS.seriesPerChunk) await pause();
      }
    }
    if (format === "openmetrics") yield "# EOF\n";
  }

  #look(family: FamilyName, labels: readonly string[]): Row {
    const clean = labels.map(cleanLabel);
    const row = this.#row(family, clean);
    // What overflows now may find room later.
    const isOwn = row.set.key === keyOf(clean);
    if (isOwn && Object.isFrozen(labels)) this.#frozen.set(labels, row.set);
    return row;
  }

  #row(family: FamilyName, labels: readonly string[]): Row {
    const key = keyOf(labels);
    const known = this.#sets.get(key)?.rows.get(family);
    if (known !== undefined) return known;
    if (!this.#hasRoom() && labels.some((label) => label !== OVERFLOW)) {
      // Without labels there is nothing to fold together, and those families are few.
      this.#count("ztunnel_metrics_series_overflowed", 1);
      return this.#row(family, labels.map(() => OVERFLOW));
    }
    const set = this.#sets.get(key) ?? { key, labels, rows: new Map() };
    const row: Row = {
      family,
      set,
      slot: this.#takeSlot(),
      heldCount: 0,
      idleSinceMs: this.#nowMs(),
      remotes: new Set(),
    };
    this.#news?.add({ slot: row.slot, family, labels });
    set.rows.set(family, row);
    this.#sets.set(key, set);
    this.#rows.get(family)?.add(row);
    return row;
  }

  #hasRoom(): boolean {
    if (this.#usedSlots() < this.#seriesMax) return true;
    if (this.#nowMs() - this.#searchedMs < METRICS_LIMITS.searchIntervalMs) return false;
    this.#evictIdle();
    return this.#usedSlots() < this.#seriesMax;
  }

  #usedSlots(): number {
    return this.#slotsCount - this.#freeSlots.length;
  }

  #takeSlot(): number {
    const slot = this.#freeSlots.pop() ?? this.#slotsCount++;
    this.#cells[slot] = 0;
    return slot;
  }

  /** Gauges stay: they have few label sets, and a forgotten one would come back with a wrong value. */
  #evictIdle(): void {
    const nowMs = this.#nowMs();
    this.#searchedMs = nowMs;
    let evictedCount = 0;
    for (const [family, rows] of this.#rows) {
      if (familyOf(family).type === "gauge" || familyOf(family).labels.length === 0) continue;
      for (const row of rows) {
        if (row.heldCount > 0 || nowMs - row.idleSinceMs < this.#idleMs) continue;
        this.#evict(row);
        evictedCount++;
      }
    }
    // Of a data thread's series control says whether they are forgotten: another thread may count on.
    if (evictedCount > 0 && this.#news === undefined) {
      this.#count("ztunnel_metrics_series_evicted", evictedCount);
    }
  }

  #evict(row: Row): void {
    if (this.#news === undefined) this.#freeSlots.push(row.slot);
    else this.#news.remove(row.slot);
    row.slot = -1;
    this.#rows.get(row.family)?.delete(row);
    row.set.rows.delete(row.family);
    if (row.set.rows.size === 0) this.#sets.delete(row.set.key);
  }

  #count(family: FamilyName, amount: number): void {
    this.#cells[this.#row(family, []).slot]! += amount;
  }

  #samples(rows: readonly Row[]): Sample[] {
    return rows.filter((row) => row.slot >= 0)
      .map((row) => ({ labels: row.set.labels, value: this.#valueOf(row) }));
  }

  #valueOf(row: Row): number {
    let value = this.#cells[row.slot]!;
    for (const { cells, slot } of row.remotes) value += cells[slot]!;
    return value;
  }

  #readSamples(family: FamilyName): Sample[] {
    const samples: Sample[] = [];
    for (const { labels, read } of this.#reads.get(family) ?? []) {
      const value = readSafely(read);
      if (Number.isFinite(value)) samples.push({ labels, value });
    }
    return samples;
  }
}

/** What control has not been told yet: all of a turn in one go. */
class News {
  #added: NewSeries[] = [];
  #gone: number[] = [];
  #isDue = false;

  constructor(private readonly onChange: (change: SeriesChange) => void) {}

  add(series: NewSeries): void {
    this.#added.push(series);
    this.#schedule();
  }

  remove(slot: number): void {
    this.#gone.push(slot);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    queueMicrotask(() => {
      const change = { added: this.#added, gone: this.#gone };
      this.#added = [];
      this.#gone = [];
      this.#isDue = false;
      this.onChange(change);
    });
  }
}

interface Read {
  readonly labels: readonly string[];
  readonly read: () => number;
}

class HeldSeries implements Series {
  readonly #cells: Float64Array;
  readonly #isCounter: boolean;
  readonly #nowMs: () => number;
  #row: Row | undefined;

  constructor(cells: Float64Array, row: Row, isCounter: boolean, nowMs: () => number) {
    this.#cells = cells;
    this.#row = row;
    this.#isCounter = isCounter;
    this.#nowMs = nowMs;
  }

  add(amount: number): void {
    // A relay's last chunk may be counted after its connection's end; the cell may be another's by then.
    if (this.#row === undefined) return;
    if (!Number.isFinite(amount) || (this.#isCounter && amount < 0)) {
      throw new RangeError(`Cannot add ${amount} to ${this.#row.family}`);
    }
    this.#cells[this.#row.slot]! += amount;
  }

  [Symbol.dispose](): void {
    if (this.#row === undefined) return;
    this.#row.heldCount--;
    this.#row.idleSinceMs = this.#nowMs();
    this.#row = undefined;
  }
}

function keyOf(labels: readonly string[]): string {
  return labels.join("\0");
}

function checkLabels(family: FamilyName, labels: readonly string[]): void {
  if (!Object.hasOwn(FAMILIES, family)) throw new TypeError(`No metric is called ${family}`);
  const names = familyOf(family).labels;
  if (labels.length !== names.length) {
    throw new TypeError(`${family} has ${names.length} labels, not ${labels.length}`);
  }
}

/** Values come from peers: bounded, and without the character that separates them in a key. */
function cleanLabel(value: string): string {
  const cut = value.length > METRICS_LIMITS.labelCharsMax
    ? value.slice(0, METRICS_LIMITS.labelCharsMax)
    : value;
  return cut.includes("\0") ? cut.replaceAll("\0", "\ufffd") : cut;
}

function readSafely(read: () => number): number {
  try {
    return read();
  } catch {
    return NaN;
  }
}
