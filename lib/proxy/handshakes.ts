/**
 * Peers that have not proved who they are yet: how many there may be, of one address and in all.
 * @module
 */
import type { Arrival } from "#stream";
import type { Ip } from "#values";

/** Each handshake costs a TLS state of some 50 KB and proves nothing. */
export const HANDSHAKES_LIMITS = {
  /** In all, per data thread, however many pods it serves. */
  allMax: 1_024,
  /** Of one address at one proxy instance: a gateway that opens its whole pool at once has tens. */
  sourceMax: 256,
} as const;

export interface HandshakeCaps {
  readonly allMax: number;
  readonly sourceMax: number;
}

/** Which cap a peer was reset for. */
export type HandshakeCap = keyof HandshakeCaps;

/** Where the peers of one proxy instance come in. */
export interface HandshakeDoor {
  /** Counts `arrival` in until the result is called; calling that twice does nothing. */
  enter(arrival: Arrival): () => void;
}

interface Entry {
  readonly arrival: Arrival;
  readonly door: HandshakeDoor;
  readonly onReset: OnReset;
}
type OnReset = (arrival: Arrival, cap: HandshakeCap) => void;

/**
 * Peers in mid-handshake. Past a cap the oldest is reset and not the newest refused: a peer that means it is done in
 * milliseconds, so that the oldest is the likeliest to be a silent one. Past the cap of all it is the oldest of the
 * address that has most, so that one that floods displaces itself, whichever pods it knocks at.
 */
export class Handshakes {
  /** By address, each in the order of arrival. */
  readonly #bySource = new Map<Ip, Set<Entry>>();
  #count = 0;

  constructor(private readonly caps: HandshakeCaps = HANDSHAKES_LIMITS) {}

  get count(): number {
    return this.#count;
  }

  /** `onReset` is told of each peer of this door before it is reset. */
  door(onReset: OnReset): HandshakeDoor {
    const door = { enter: (arrival: Arrival) => this.#enter({ arrival, door, onReset }) };
    return door;
  }

  #enter(entry: Entry): () => void {
    const { ip } = entry.arrival.source;
    const { sourceMax, allMax } = this.caps;
    const same = this.#bySource.get(ip);
    const here = same === undefined || same.size < sourceMax
      ? []
      : [...same].filter(({ door }) => door === entry.door);
    if (here.length >= sourceMax) this.#reset(here[0]!, "sourceMax");
    else if (this.#count >= allMax) this.#reset(this.#oldestOfHeaviest(), "allMax");
    // Whoever left may have taken the set along.
    const entries = this.#bySource.get(ip) ?? new Set();
    entries.add(entry);
    this.#bySource.set(ip, entries);
    this.#count++;
    return () => this.#leave(entry);
  }

  #leave(entry: Entry): void {
    const { ip } = entry.arrival.source;
    const same = this.#bySource.get(ip);
    if (same === undefined || !same.delete(entry)) return;
    this.#count--;
    if (same.size === 0) this.#bySource.delete(ip);
  }

  #reset(oldest: Entry | undefined, cap: HandshakeCap): void {
    if (oldest === undefined) return;
    this.#leave(oldest);
    oldest.onReset(oldest.arrival, cap);
    oldest.arrival.stream.abort();
  }

  #oldestOfHeaviest(): Entry | undefined {
    let heaviest: ReadonlySet<Entry> = new Set();
    for (const same of this.#bySource.values()) {
      if (same.size > heaviest.size) heaviest = same;
    }
    const [oldest] = heaviest;
    return oldest;
  }
}
