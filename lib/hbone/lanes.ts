import type { ClientConnection } from "#http2";
import type { Clock, Timer } from "#system";
import type { Peer } from "#tls";
import type { Refusal, SocketAddress, SpiffeId } from "#values";
import type { TunnelKey } from "./pool.ts";

/** Keys whose connections may wait idle (behaviour.md 7.7); above it the one unused for longest is let go. */
const IDLE_KEYS_MAX = 500;

/**
 * A busy connection gets siblings up to so many: more would share the same processor and the same path, and only cost
 * memory.
 */
const SIBLINGS_MAX = 4;
/** After a sibling that could not be made, the next attempt waits so long. */
const SIBLING_PAUSE_MS = 10_000;

/** A connection, and who is at its other end. */
export interface Connected {
  readonly connection: ClientConnection;
  readonly peerIdentity: SpiffeId | undefined;
  readonly peer: Peer;
}

/** One connection in the pool. */
export interface Pooled extends Connected {
  /** In the order of creation, over the whole pool. */
  readonly serial: number;
  /** Slots promised to requests that have not been sent yet. */
  reserved: number;
  lastUseMs: number;
  idleTimer: Timer | undefined;
}

/** The connections of one key. */
export interface Lane {
  readonly key: TunnelKey;
  readonly text: string;
  readonly pooled: Set<Pooled>;
  /** Resolves when the creation under way has ended, with the reason if it failed. */
  creating: Promise<Refusal | undefined> | undefined;
  /** Requests that hold on to the lane. */
  waiting: number;
  /** Until then no sibling is tried (monotonic). */
  noSiblingUntilMs: number;
}

interface LiveEnd {
  readonly hop: SocketAddress;
  /** Which of the peer's names we accepted. */
  readonly identity: SpiffeId | undefined;
}

/** A connection that is there, in the pool or ending with its last stream. */
export interface LiveConnection extends LiveEnd {
  readonly connection: ClientConnection;
}

export interface LanesOptions {
  readonly clock: Clock;
  readonly streamsPerConnectionMax: number;
  readonly idleReleaseMs: number;
}

/** Which connection may take one more tunnel, and which has waited long enough. Opens none itself. */
export class Lanes {
  /** In the order of last use: the first is the one unused for longest. */
  readonly #lanes = new Map<string, Lane>();
  /** Also those that left the pool and end with their last stream. */
  readonly #live = new Map<ClientConnection, LiveEnd>();
  #serial = 0;

  constructor(private readonly options: LanesOptions) {}

  get connectionsCount(): number {
    return this.#live.size;
  }

  live(): LiveConnection[] {
    return Array.from(this.#live, ([connection, end]) => ({ connection, ...end }));
  }

  /** The serial that the next connection will have. */
  get nextSerial(): number {
    return this.#serial;
  }

  of(key: TunnelKey): Lane {
    const text = [key.source, ...key.expected, key.hop.ip, key.hop.port, key.client].join(" ");
    const lane = this.#lanes.get(text) ??
      {
        key,
        text,
        pooled: new Set(),
        creating: undefined,
        waiting: 0,
        noSiblingUntilMs: -Infinity,
      };
    this.#lanes.delete(text);
    this.#lanes.set(text, lane);
    return lane;
  }

  /** Puts a new connection in, with one slot reserved for whoever made it. */
  add(lane: Lane, connected: Connected): Pooled {
    const { connection } = connected;
    const pooled: Pooled = {
      ...connected,
      serial: this.#serial++,
      reserved: 1,
      lastUseMs: this.options.clock.monotonicMs(),
      idleTimer: undefined,
    };
    lane.pooled.add(pooled);
    this.#lanes.set(lane.text, lane);
    this.#live.set(connection, { hop: lane.key.hop, identity: connected.peerIdentity });
    connection.closed.then(() => {
      this.#live.delete(connection);
      this.#leave(lane, pooled);
    });
    this.#watch(lane, pooled, this.options.idleReleaseMs);
    this.#evict();
    return pooled;
  }

  /**
   * A connection that takes one more tunnel and is not older than `serialMin`; one that is not busy, if there is any.
   * Full ones stay where they are and are used again once streams have ended (REF lets them go: behaviour.md 18.11); dead
   * ones leave.
   */
  take(lane: Lane, serialMin: number): Pooled | undefined {
    let busy: Pooled | undefined;
    for (const pooled of lane.pooled) {
      if (!pooled.connection.usable) this.discard(lane, pooled);
      else if (pooled.serial >= serialMin && this.#load(pooled) < this.#limit(pooled)) {
        if (!pooled.connection.isBusy) return pooled;
        if (busy === undefined || this.#load(pooled) < this.#load(busy)) busy = pooled;
      }
    }
    return busy;
  }

  /** `taken` is busy, and so is everything else: better one more connection than to queue behind its streams. */
  wantsSibling(lane: Lane, taken: Pooled): boolean {
    return taken.connection.isBusy && lane.pooled.size < SIBLINGS_MAX &&
      this.options.clock.monotonicMs() >= lane.noSiblingUntilMs;
  }

  siblingFailed(lane: Lane): void {
    lane.noSiblingUntilMs = this.options.clock.monotonicMs() + SIBLING_PAUSE_MS;
  }

  /** Out of the pool; the connection ends with its last stream. */
  discard(lane: Lane, pooled: Pooled): void {
    this.#leave(lane, pooled);
    pooled.connection.close();
  }

  used(pooled: Pooled): void {
    pooled.lastUseMs = this.options.clock.monotonicMs();
  }

  /** Forgets the lane if nothing is left of it. */
  release(lane: Lane): void {
    if (lane.pooled.size > 0 || lane.waiting > 0 || lane.creating !== undefined) return;
    if (this.#lanes.get(lane.text) === lane) this.#lanes.delete(lane.text);
  }

  closeAll(): void {
    for (const lane of [...this.#lanes.values()]) {
      for (const pooled of [...lane.pooled]) this.discard(lane, pooled);
    }
  }

  destroyAll(): void {
    this.closeAll();
    for (const connection of [...this.#live.keys()]) connection.destroy();
  }

  #load(pooled: Pooled): number {
    return pooled.connection.activeStreams + pooled.reserved;
  }

  #limit(pooled: Pooled): number {
    const ours = this.options.streamsPerConnectionMax;
    return Math.min(ours, pooled.connection.peerStreamsMax ?? ours);
  }

  #leave(lane: Lane, pooled: Pooled): void {
    pooled.idleTimer?.cancel();
    lane.pooled.delete(pooled);
    this.release(lane);
  }

  /** Looks again when the connection could have been idle for long enough. */
  #watch(lane: Lane, pooled: Pooled, delayMs: number): void {
    pooled.idleTimer = this.options.clock.after(delayMs, () => {
      const { idleReleaseMs, clock } = this.options;
      if (this.#load(pooled) > 0) return this.#watch(lane, pooled, idleReleaseMs);
      const leftMs = pooled.lastUseMs + idleReleaseMs - clock.monotonicMs();
      if (leftMs > 0) this.#watch(lane, pooled, leftMs);
      else this.discard(lane, pooled);
    }, { background: true });
  }

  #evict(): void {
    let surplus = this.#lanes.size - IDLE_KEYS_MAX;
    for (const lane of [...this.#lanes.values()]) {
      if (surplus <= 0) return;
      const idle = [...lane.pooled].every((pooled) => this.#load(pooled) === 0);
      if (!idle || lane.waiting > 0 || lane.creating !== undefined) continue;
      for (const pooled of [...lane.pooled]) this.discard(lane, pooled);
      surplus--;
    }
  }
}
