/**
 * Who did too much of what: one counter per kind, one line in the log, one row per peer in the dump.
 * @module
 */
import type { FloodViolation } from "#hbone";
import type { FloodRow } from "#link";
import { display, type Log } from "#log";
import type { Metrics } from "#metrics";
import type { Clock } from "#system";
import { SocketAddress, type SpiffeId } from "#values";

/** What of floods is kept and told. */
export const FLOODS_LIMITS = {
  /** Peers in the table, about 300 bytes each; the one that has been quiet for longest leaves. */
  peersMax: 256,
  /** A peer's violations of one kind are told once in so long, with their number. */
  lineIntervalMs: 10_000,
  /** Lines of all peers in that time: strangers have no identity and may come from any number of addresses. */
  linesMax: 20,
} as const;

export interface FloodSource {
  readonly address: SocketAddress;
  /** Undefined: not verified, so that only the address is known. */
  readonly identity: SpiffeId | undefined;
}

/** The engine's kinds, and ours before there is an engine. */
export type ViolationKind = FloodViolation["kind"] | "concurrent_handshakes";

interface Counted {
  count: number;
  untold: number;
  toldMs: number;
}

interface PeerRow {
  readonly identity: SpiffeId | undefined;
  address: SocketAddress;
  lastMs: number;
  readonly kinds: Map<ViolationKind, Counted>;
}

/** Violations of the peers of one data thread. */
export class Floods {
  /** By identity, or address where there is none; in the order of the last violation. */
  readonly #peers = new Map<string, PeerRow>();
  #linesSinceMs = -Infinity;
  #linesCount = 0;

  constructor(
    private readonly parts: {
      readonly clock: Clock;
      readonly metrics: Metrics;
      readonly log: Log;
    },
  ) {}

  note(kind: ViolationKind, source: FloodSource, limit: string): void {
    using series = this.parts.metrics.series("hbone_flood_violations", [kind]);
    series.add(1);
    const row = this.#rowOf(source);
    const nowMs = this.parts.clock.monotonicMs();
    const counted = row.kinds.get(kind) ?? { count: 0, untold: 0, toldMs: -Infinity };
    row.kinds.set(kind, counted);
    counted.count++;
    counted.untold++;
    if (nowMs - counted.toldMs < FLOODS_LIMITS.lineIntervalMs || !this.#mayTell(nowMs)) return;
    this.parts.log.warn?.("a peer was cut off: too much of one thing", {
      kind,
      "src.addr": display(SocketAddress.format(source.address)),
      "src.identity": source.identity,
      limit,
      violations: counted.untold,
    });
    counted.untold = 0;
    counted.toldMs = nowMs;
  }

  /** For the dump; the peer of the last violation comes last. */
  rows(): FloodRow[] {
    return Array.from(this.#peers.values(), (row) => ({
      identity: row.identity ?? null,
      address: SocketAddress.format(row.address),
      violations: Object.fromEntries(
        Array.from(row.kinds, ([kind, { count }]) => [kind, count]),
      ),
      lastSeen: new Date(row.lastMs).toISOString(),
    }));
  }

  #rowOf({ address, identity }: FloodSource): PeerRow {
    const key = identity ?? address.ip;
    const row = this.#peers.get(key) ?? { identity, address, lastMs: 0, kinds: new Map() };
    row.address = address;
    row.lastMs = this.parts.clock.nowMs();
    this.#peers.delete(key);
    this.#peers.set(key, row);
    if (this.#peers.size > FLOODS_LIMITS.peersMax) {
      const [oldest] = this.#peers.keys();
      this.#peers.delete(oldest!);
    }
    return row;
  }

  #mayTell(nowMs: number): boolean {
    if (nowMs - this.#linesSinceMs >= FLOODS_LIMITS.lineIntervalMs) {
      this.#linesSinceMs = nowMs;
      this.#linesCount = 0;
    }
    return ++this.#linesCount <= FLOODS_LIMITS.linesMax;
  }
}
