import {
  type ClientConnection,
  connect,
  type FloodViolation,
  type Headers,
  Http2Error,
  type Http2Settings,
} from "#http2";
import { type ByteStream, type Dialer, DialError } from "#stream";
import { type Clock, Stop, type StopSignal } from "#system";
import type { CertBundle, Peer, Tls } from "#tls";
import { type Ip, Refusal, type SocketAddress, type SpiffeId } from "#values";
import { ANSWER_TIMEOUT_MS, ask, refusalOfStop } from "./ask.ts";
import { Deadlines } from "./deadlines.ts";
import { type InnerTunnel, openInside } from "./inner.ts";
import { type Connected, type Lane, Lanes, type LiveConnection, type Pooled } from "./lanes.ts";

/** behaviour.md 7.7. */
const CONNECT_TIMEOUT_MS = 10_000;
/**
 * Whoever has waited so long for connections that others make takes the next failure for its own. In turn, as REF does it,
 * the hundredth client of a hop that drops SYNs would be told after a quarter of an hour.
 */
const WAIT_FOR_OTHERS_MAX_MS = CONNECT_TIMEOUT_MS;

/** A hop that says GOAWAY to a request more often than this does so for good. */
const TURNED_AWAY_MAX = 5;

/** What may share a connection (behaviour.md 7.7). */
export interface TunnelKey {
  readonly source: SpiffeId;
  readonly expected: readonly SpiffeId[];
  readonly hop: SocketAddress;
  readonly client: Ip;
}

export interface TunnelRequest {
  readonly authority: string;
  readonly headers: Headers;
}

export interface TunnelStream {
  readonly stream: ByteStream;
  /** Of the 200 response. */
  readonly headers: Headers;
  /** Which of the peer's names we accepted. */
  readonly peerIdentity: SpiffeId | undefined;
  /** Who is at the other end of its connection. */
  readonly peer: Peer;
}

export interface PoolOptions {
  readonly dialer: Dialer;
  /** Our own address to leave from, if one is prescribed. */
  readonly from?: Ip;
  readonly tls: Tls;
  readonly clock: Clock;
  /** Our certificate, fetched for each new connection (behaviour.md 7.2); rejects with a Refusal(identity). */
  readonly bundleOf: (identity: SpiffeId) => Promise<CertBundle>;
  readonly settings: Http2Settings;
  readonly streamsPerConnectionMax: number;
  readonly idleReleaseMs: number;
  /** Hears what a server did too often, before its connection is cut; must not throw. */
  readonly onFlood?: (
    violation: FloodViolation,
    hop: SocketAddress,
    peer: SpiffeId | undefined,
  ) => void;
}

/**
 * Pooled HBONE connections of one proxy (behaviour.md 7.7). Unlike REF, a connection that was full takes tunnels again
 * when streams have ended (18.11), and a request that meets a dead pooled connection is sent once more on a newer one.
 */
export class TunnelPool {
  readonly #lanes: Lanes;
  readonly #drain = new Stop();
  readonly #deadlines: Deadlines;
  #destroyed = false;

  constructor(private readonly options: PoolOptions) {
    this.#lanes = new Lanes(options);
    this.#deadlines = new Deadlines(options.clock, ANSWER_TIMEOUT_MS);
  }

  /**
   * Opens a tunnel: resolves only after a 200. Rejects with a Refusal; when `stop` aborts, with its reason if that is
   * a Refusal or a Failure, and `drained` otherwise.
   */
  async open(key: TunnelKey, request: TunnelRequest, stop?: StopSignal): Promise<TunnelStream> {
    const lane = this.#lanes.of(key);
    lane.waiting++;
    try {
      return await this.#open(lane, request, stop);
    } finally {
      lane.waiting--;
      this.#lanes.release(lane);
    }
  }

  /**
   * Opens a tunnel to a gateway and through it another one, to whom the gateway picks (behaviour.md 6.9): the inner
   * connection is made for this tunnel and ends with it. Fails as `open` does.
   */
  async openThrough(
    key: TunnelKey,
    request: TunnelRequest,
    inner: InnerTunnel,
    stop?: StopSignal,
  ): Promise<TunnelStream> {
    const outer = await this.open(key, request, stop);
    const opening = openInside(
      outer.stream,
      key.source,
      inner,
      this.options,
      this.#deadlines,
      stop,
    );
    try {
      const tunnel = await this.#unlessStopped(opening, stop);
      return { ...tunnel, peer: throughBoth(tunnel.peer, outer.peer) };
    } catch (error) {
      outer.stream.abort();
      // What comes after all has nobody to serve.
      opening.then(({ stream }) => stream.abort(), () => {});
      throw this.#refusalOf(error, stop);
    }
  }

  /** Live connections, those that end with their last stream included; for tests. */
  get connectionsCount(): number {
    return this.#lanes.connectionsCount;
  }

  /** The same, one by one, for the dump. */
  connections(): LiveConnection[] {
    return this.#lanes.live();
  }

  /** No new tunnels; connections end with their last stream. */
  drain(): void {
    this.#drain.abort(new Refusal({ kind: "pool_draining" }));
    this.#lanes.closeAll();
  }

  /** Ends everything at once. */
  destroy(): void {
    this.#destroyed = true;
    this.drain();
    this.#lanes.destroyAll();
  }

  async #open(lane: Lane, request: TunnelRequest, stop?: StopSignal): Promise<TunnelStream> {
    const startMs = this.options.clock.monotonicMs();
    let retried = false;
    let turnedAway = 0;
    let serialMin = 0;
    for (;;) {
      this.#assertGoing(stop);
      let pooled = this.#lanes.take(lane, serialMin);
      const isSibling = pooled !== undefined && this.#lanes.wantsSibling(lane, pooled);
      if (isSibling) pooled = undefined;
      const reused = pooled !== undefined;
      if (pooled === undefined && lane.creating !== undefined) {
        const failure = await this.#unlessStopped(lane.creating, stop);
        const waitedMs = this.options.clock.monotonicMs() - startMs;
        if (failure !== undefined && waitedMs >= WAIT_FOR_OTHERS_MAX_MS && !isSibling) {
          throw failure;
        }
        continue;
      }
      if (pooled === undefined) {
        const creation = this.#create(lane);
        // Then the busy one has to do.
        if (isSibling) creation.catch(() => this.#lanes.siblingFailed(lane));
        try {
          pooled = await this.#unlessStopped(creation, stop);
        } catch (error) {
          // The connection may still come, for whoever waits for it.
          creation.then((created) => created.reserved--, () => {});
          if (isSibling && !stop?.aborted) continue;
          throw error;
        }
        // In the turn in which our request is counted, so that nobody sees the slot twice or not at all.
        pooled.reserved--;
      }
      try {
        return await this.#request(pooled, request, stop);
      } catch (error) {
        // No byte of the user was sent yet, so asking again is safe.
        if (error instanceof Http2Error && error.kind === "goaway") {
          // A fresh one too: a proxy that makes room for its successor takes connections until its listener is closed.
          if (++turnedAway > TURNED_AWAY_MAX) throw this.#refusalOf(error, stop);
        } else {
          // Found dead, as idle connections are.
          const dead = error instanceof Http2Error && error.kind !== "stream";
          if (!dead || !reused || retried) throw this.#refusalOf(error, stop);
          retried = true;
        }
        serialMin = this.#lanes.nextSerial;
        this.#lanes.discard(lane, pooled);
      }
    }
  }

  /** Makes one connection for `lane`, in which others wait for it meanwhile; goes on if its requester gives up. */
  #create(lane: Lane): Promise<Pooled> {
    const creation = (async () => {
      try {
        const { connection, peerIdentity, peer } = await this.#connect(lane);
        if (this.#drain.signal.aborted) {
          connection.destroy();
          throw this.#drain.signal.reason;
        }
        return this.#lanes.add(lane, { connection, peerIdentity, peer });
      } finally {
        lane.creating = undefined;
        this.#lanes.release(lane);
      }
    })();
    lane.creating = creation.then(() => undefined, (error) => this.#refusalOf(error, undefined));
    return creation;
  }

  async #connect(lane: Lane): Promise<Connected> {
    const { dialer, from, tls, clock, bundleOf, settings } = this.options;
    const { source, expected, hop } = lane.key;
    const bundle = await bundleOf(source);
    let connection: ClientConnection;
    try {
      const stream = await dialer.dial(hop, {
        timeoutMs: CONNECT_TIMEOUT_MS,
        ...from === undefined ? {} : { from },
      });
      const secured = await tls.client(stream, bundle, expected);
      const peerIdentity = secured.peer.identities.find((id) => expected.includes(id));
      connection = await connect(
        secured.stream,
        settings,
        clock,
        (violation) => this.options.onFlood?.(violation, hop, peerIdentity),
      );
      return { connection, peerIdentity, peer: secured.peer };
    } catch (error) {
      if (error instanceof DialError && error.code === "ETIMEDOUT") {
        throw new Refusal({ kind: "network_policy", hop });
      }
      throw error;
    }
  }

  async #request(
    pooled: Pooled,
    request: TunnelRequest,
    stop?: StopSignal,
  ): Promise<TunnelStream> {
    this.#lanes.used(pooled);
    const answer = await ask(pooled.connection, request, this.#deadlines, stop);
    answer.stream.closed.then(() => this.#lanes.used(pooled));
    const { peerIdentity, peer } = pooled;
    return { stream: answer.stream, headers: answer.headers, peerIdentity, peer };
  }

  #assertGoing(stop: StopSignal | undefined): void {
    if (this.#drain.signal.aborted) throw this.#drain.signal.reason;
    if (stop?.aborted) throw refusalOfStop(stop);
  }

  /** The outcome of `work`, unless the pool drains or the requester gives up before. */
  async #unlessStopped<T>(work: Promise<T>, stop: StopSignal | undefined): Promise<T> {
    const stopped = Promise.withResolvers<never>();
    const onStop = () => stopped.reject(refusalOfStop(stop!));
    const onDrain = () => stopped.reject(this.#drain.signal.reason);
    stop?.addEventListener("abort", onStop);
    this.#drain.signal.addEventListener("abort", onDrain);
    try {
      return await Promise.race([work, stopped.promise]);
    } catch (error) {
      throw this.#refusalOf(error, stop);
    } finally {
      stop?.removeEventListener("abort", onStop);
      this.#drain.signal.removeEventListener("abort", onDrain);
    }
  }

  #refusalOf(error: unknown, stop: StopSignal | undefined): Refusal {
    if (error instanceof Refusal) return error;
    if (stop?.aborted) return refusalOfStop(stop);
    if (this.#destroyed) return new Refusal({ kind: "pool_draining" });
    if (error instanceof Http2Error) {
      const kind = error.kind === "handshake" ? "http2_handshake" : "http2";
      return new Refusal({ kind, cause: error.message });
    }
    return new Refusal(Refusal.failureOf(error));
  }
}

/** The peer inside; the tunnel ends with either of the two. */
function throughBoth(inner: Peer, outer: Peer): Peer {
  return {
    ...inner,
    get isRevoked() {
      return inner.isRevoked || outer.isRevoked;
    },
  };
}
