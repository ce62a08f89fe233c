/** A field as it was on the wire, each character one byte (latin1). HPACK does not look into it. */
export type HeaderField = readonly [name: string, value: string];

/** What an entry costs beside its name and value (RFC 7541, 4.1), and a field in a list (RFC 9113, 6.5.2). */
export const FIELD_OVERHEAD_BYTES = 32;

/** RFC 7541, appendix A, from index 1 on. */
const STATIC: readonly HeaderField[] = (
  ":authority|:method=GET|:method=POST|:path=/|:path=/index.html|:scheme=http|:scheme=https|" +
  ":status=200|:status=204|:status=206|:status=304|:status=400|:status=404|:status=500|" +
  "accept-charset|accept-encoding=gzip, deflate|accept-language|accept-ranges|accept|" +
  "access-control-allow-origin|age|allow|authorization|cache-control|content-disposition|" +
  "content-encoding|content-language|content-length|content-location|content-range|" +
  "content-type|cookie|date|etag|expect|expires|from|host|if-match|if-modified-since|" +
  "if-none-match|if-range|if-unmodified-since|last-modified|link|location|max-forwards|" +
  "proxy-authenticate|proxy-authorization|range|referer|refresh|retry-after|server|set-cookie|" +
  "strict-transport-security|transfer-encoding|user-agent|vary|via|www-authenticate"
).split("|").map((entry) => {
  const [name = "", value = ""] = entry.split("=");
  return [name, value];
});

/** The lowest index of each static name; entries of one name are neighbours. */
const STATIC_INDEX_OF_NAME: ReadonlyMap<string, number> = new Map(
  STATIC.map(([name], at) => [name, at + 1] as const).reverse(),
);

/** An evicted slot must not keep its strings alive until the slots are closed up. */
const EVICTED: HeaderField = ["", ""];
/** So many evicted slots, and at least as many as are in use, are closed up at once. */
const EVICTED_SLOTS_MAX = 16;

export function fieldBytes(name: string, value: string): number {
  return name.length + value.length + FIELD_OVERHEAD_BYTES;
}

/** The index space of RFC 7541, 2.3.3: the static table, behind it the dynamic one, newest entry first. */
export class HpackTable {
  /** Oldest first; those before `#first` are evicted. */
  #entries: HeaderField[] = [];
  #first = 0;
  #bytes = 0;

  constructor(private limitBytes: number) {}

  get bytesMax(): number {
    return this.limitBytes;
  }

  /** What the dynamic entries take (RFC 7541, 4.1). */
  get bytes(): number {
    return this.#bytes;
  }

  at(index: number): HeaderField | undefined {
    if (index <= STATIC.length) return STATIC[index - 1];
    const slot = this.#entries.length + STATIC.length - index;
    return slot < this.#first ? undefined : this.#entries[slot];
  }

  /** The index of this very field; without one, the negative index of a field of that name; without one, 0. */
  find(name: string, value: string): number {
    let named = STATIC_INDEX_OF_NAME.get(name) ?? 0;
    if (named !== 0) {
      for (let index = named; STATIC[index - 1]?.[0] === name; index++) {
        if (STATIC[index - 1]![1] === value) return index;
      }
    }
    for (let slot = this.#entries.length - 1; slot >= this.#first; slot--) {
      const entry = this.#entries[slot]!;
      if (entry[0] !== name) continue;
      const index = this.#entries.length + STATIC.length - slot;
      if (entry[1] === value) return index;
      if (named === 0) named = index;
    }
    return -named;
  }

  /** Evicts what must go; a field larger than the table leaves it empty (RFC 7541, 4.4). */
  insert(field: HeaderField): void {
    const bytes = fieldBytes(field[0], field[1]);
    this.#evictTo(this.limitBytes - bytes);
    if (bytes > this.limitBytes) return;
    this.#entries.push(field);
    this.#bytes += bytes;
  }

  resize(bytesMax: number): void {
    this.limitBytes = bytesMax;
    this.#evictTo(bytesMax);
  }

  #evictTo(bytes: number): void {
    while (this.#bytes > bytes && this.#first < this.#entries.length) {
      const [name, value] = this.#entries[this.#first]!;
      this.#entries[this.#first++] = EVICTED;
      this.#bytes -= fieldBytes(name, value);
    }
    if (this.#first >= EVICTED_SLOTS_MAX && this.#first * 2 >= this.#entries.length) {
      this.#entries = this.#entries.slice(this.#first);
      this.#first = 0;
    }
  }
}
