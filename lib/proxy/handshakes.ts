/**
 * Peers that have not proved who they are yet: how many there may be, of one address and in all.
 * @module
 */
import type { Arrival } from "#stream";
import type { Ip } from "#values";

/** Each handshake costs a TLS state of some 50 KB and proves nothing. */
export const HANDSHAKES_LIMITS = {
  /** In all, per proxy instance and data thread. */
  allMax: 1_024,
  /** Of one address: a gateway that opens its whole pool at once has tens. */
  sourceMax: 256,
} as const;

export interface HandshakeCaps {
  readonly allMax: number;
  readonly sourceMax: number;
}

/** Which cap a peer was reset for. */
export type HandshakeCap = keyof HandshakeCaps;

/**
 * Peers in mid-handshake. Past a cap the oldest is reset and not the newest refused: a peer that means it is done in
 * milliseconds, so that the oldest is the likeliest to be a silent one. Past the cap of all it is the oldest of the
 * address that has most, so that one that floods displaces itself.
 */
export class Handshakes {
  /** By address, each in the order of arrival. */
  readonly #bySource = new Map<Ip, Set<Arrival>>();
  #count = 0;

  /** `onReset` is told of each peer before it is reset. */
  constructor(
    private readonly onReset: (arrival: Arrival, cap: HandshakeCap) => void,
    private readonly caps: HandshakeCaps = HANDSHAKES_LIMITS,
  ) {}

  get count(): number {
    return this.#count;
  }

  /** Counts `arrival` in until the result is called; calling that twice does nothing. */
  enter(arrival: Arrival): () => void {
    const { ip } = arrival.source;
    if ((this.#bySource.get(ip)?.size ?? 0) >= this.caps.sourceMax) this.#reset(ip, "sourceMax");
    else if (this.#count >= this.caps.allMax) this.#reset(this.#heaviest(), "allMax");
    const same = this.#bySource.get(ip) ?? new Set();
    same.add(arrival);
    this.#bySource.set(ip, same);
    this.#count++;
    return () => this.#leave(arrival);
  }

  #leave(arrival: Arrival): void {
    const { ip } = arrival.source;
    const same = this.#bySource.get(ip);
    if (same === undefined || !same.delete(arrival)) return;
    this.#count--;
    if (same.size === 0) this.#bySource.delete(ip);
  }

  #reset(ip: Ip | undefined, cap: HandshakeCap): void {
    const [oldest] = (ip === undefined ? undefined : this.#bySource.get(ip)) ?? [];
    if (oldest === undefined) return;
    this.#leave(oldest);
    this.onReset(oldest, cap);
    oldest.stream.abort();
  }

  #heaviest(): Ip | undefined {
    let heaviest: Ip | undefined;
    let most = 0;
    for (const [ip, same] of this.#bySource) {
      if (same.size <= most) continue;
      heaviest = ip;
      most = same.size;
    }
    return heaviest;
  }
}
