import { type PoolOptions, TunnelPool, type TunnelServer } from "#hbone";
import type { Component, ConnectionLists, TunnelRow } from "#link";
import { display, type Log } from "#log";
import type { MeshView } from "#mesh";
import type { Metrics } from "#metrics";
import type { Acceptor, Arrival, DialerOptions, Kernel, ListenOptions } from "#stream";
import type { Clock, Rng } from "#system";
import type { Peer, Tls } from "#tls";
import { SocketAddress, type SpiffeId } from "#values";
import type { Addresses } from "./addresses.ts";
import type { Bundles } from "./bundles.ts";
import { Connections } from "./connections.ts";
import { Crowd } from "./crowd.ts";
import type { Floods } from "./floods.ts";
import { type HandshakeDoor, type Handshakes, HANDSHAKES_LIMITS } from "./handshakes.ts";
import { serveInbound } from "./inbound.ts";
import { LocalWorkload } from "./local_workload.ts";
import { serveCaptured } from "./outbound.ts";
import { PROXY_LIMITS, type ProxyParts, type ProxySettings } from "./parts.ts";
import { servePassthrough } from "./passthrough.ts";
import { Reaper } from "./reaper.ts";
import { type SocketState, SocketStates } from "./sockets.ts";
import { serveSocks5 } from "./socks5.ts";

export interface InstanceOptions {
  readonly settings: ProxySettings;
  readonly listeners: Readonly<Partial<Record<Component, ListenOptions>>>;
  readonly dialer: DialerOptions;
  readonly pool: Pick<PoolOptions, "settings" | "streamsPerConnectionMax" | "idleReleaseMs">;
}

export interface InstanceDeps {
  readonly kernel: Kernel;
  readonly bundles: Bundles;
  readonly addresses: Addresses;
  readonly view: MeshView;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly metrics: Metrics;
  readonly tls: Tls;
  /** The thread's, so that what strangers can make it hold does not grow with the number of pods. */
  readonly handshakes: Handshakes;
  readonly floods: Floods;
  readonly scope: (name: string) => Log;
  /** Says what is the same on every thread; the others say it at debug. */
  readonly isSpokesman: boolean;
  readonly isControlPlaneConnected: () => boolean;
}

/** Who is at the other end of a tunnel server. */
interface ServerEnd {
  readonly address: SocketAddress;
  readonly identity: SpiffeId | undefined;
}

/**
 * A proxy instance on one data thread: its listeners, its pools, its connections.
 *
 * Constructing it binds every listener or throws a ListenError with all of them closed again; nothing is accepted
 * before `start`.
 */
export class ProxyInstance {
  readonly #parts: ProxyParts;
  readonly #pools: readonly TunnelPool[];
  readonly #socksParts: ProxyParts;
  readonly #acceptors = new Map<Component, Acceptor>();
  readonly #servers = new Map<TunnelServer, ServerEnd>();
  readonly #log: Log;
  readonly #sockets: SocketStates;
  readonly #handshakes: HandshakeDoor;
  readonly #reaper: Reaper;
  /** Whose connection is still there. */
  readonly #arrivals = new Set<Arrival>();
  /** Arrivals that are over when their connection is. */
  readonly #served = new Crowd();
  /** Of 15008, from their handshake on. */
  readonly #peers = new Crowd();
  #started = false;
  /** Aborted when a drain has waited long enough. */
  readonly #deadline = new AbortController();
  #drained: Promise<void> | undefined;
  #identity: SpiffeId | undefined;
  /** Policies that our workload lists and nobody has sent, as they were told last. */
  #missing: ReadonlySet<string> = new Set();

  constructor(options: InstanceOptions, private readonly deps: InstanceDeps) {
    const { settings } = options;
    const local = new LocalWorkload({
      view: deps.view,
      info: settings.info,
      network: settings.network,
      clock: deps.clock,
      waitMs: settings.localWorkloadWaitMs,
      isControlPlaneConnected: deps.isControlPlaneConnected,
    });
    const { addresses, bundles } = deps;
    const dialer = deps.kernel.dialer(options.dialer);
    this.#log = deps.scope("ztunnel::proxy");
    const { floods } = deps;
    this.#handshakes = deps.handshakes.door((arrival, cap) => {
      const source = { address: arrival.source, identity: undefined };
      floods.note("concurrent_handshakes", source, `${HANDSHAKES_LIMITS[cap]} at a time (${cap})`);
    });
    this.#sockets = new SocketStates(deps.metrics);
    const connections = new Connections(this.#sockets);
    this.#reaper = new Reaper(connections, settings.quiet, deps.clock, this.#log);
    const pool = () =>
      new TunnelPool({
        dialer,
        tls: deps.tls,
        clock: deps.clock,
        bundleOf: (identity) => bundles.get(identity),
        onFlood: ({ kind, limit }, address, identity) =>
          floods.note(kind, { address, identity }, limit),
        ...options.pool,
        ...(settings.from === undefined ? {} : { from: settings.from }),
      });
    this.#pools = [pool(), pool()];
    this.#parts = {
      settings,
      view: deps.view,
      clock: deps.clock,
      rng: deps.rng,
      metrics: deps.metrics,
      tls: deps.tls,
      dialer,
      access: deps.scope("access"),
      log: this.#log,
      bundles,
      addresses,
      local,
      connections,
      floods,
      pool: this.#pools[0]!,
    };
    this.#socksParts = { ...this.#parts, pool: this.#pools[1]! };
    this.#bind(options.listeners);
  }

  /** Where each listener ended up; a port of 0 has become a real one. */
  address(component: Component): SocketAddress | undefined {
    return this.#acceptors.get(component)?.address;
  }

  #bind(listeners: InstanceOptions["listeners"]): void {
    try {
      for (const component of COMPONENTS) {
        const listen = listeners[component];
        if (listen === undefined) continue;
        this.#acceptors.set(component, this.deps.kernel.listen(listen));
      }
    } catch (error) {
      for (const acceptor of this.#acceptors.values()) acceptor.close();
      throw error;
    }
  }

  /** The name that its certificate carries, once the mesh has known its workload. */
  get identity(): SpiffeId | undefined {
    const { local } = this.#parts;
    const workload = local.current;
    if (workload !== undefined) this.#identity = local.identityOf(workload);
    return this.#identity;
  }

  /** The mesh has changed; `mayRevoke` if policies or workloads did. */
  recheck(mayRevoke: boolean): void {
    const { local, connections, view } = this.#parts;
    local.recheck();
    this.#warmUp();
    if (!mayRevoke) return;
    // Before the start the mesh is not whole yet: a control plane sends workloads first.
    if (this.#started) this.#tellMissing();
    const revokedCount = connections.recheck(view);
    if (revokedCount > 0) this.#log.info?.("connections closed by policy", { revokedCount });
  }

  get connections(): ConnectionLists {
    return this.#parts.connections.lists();
  }

  /** HBONE connections, those of peers first. */
  get tunnels(): TunnelRow[] {
    const inbound = Array.from(
      this.#servers,
      ([server, { address, identity }]) => tunnelRow("inbound", server, address, identity),
    );
    const outbound = this.#pools.flatMap((pool) => pool.connections()).map((each) =>
      tunnelRow("outbound", each.connection, each.hop, each.identity)
    );
    return [...inbound, ...outbound];
  }

  /** The first connection should not wait for a certificate that every connection needs. */
  #warmUp(): void {
    const { identity } = this;
    // Its failure is told to whoever really needs it.
    if (identity !== undefined) this.#parts.bundles.get(identity).catch(() => {});
  }

  /** Behaviour.md 5.2 wants a warning: one per change, not one per connection. */
  #tellMissing(): void {
    const { local, view } = this.#parts;
    const workload = local.current;
    const missing = new Set(workload === undefined ? [] : view.missingPoliciesOf(workload));
    const write = this.deps.isSpokesman ? this.#log.warn : this.#log.debug;
    for (const policy of missing.difference(this.#missing)) {
      write?.("a policy that the workload lists is not loaded", { policy });
    }
    this.#missing = missing;
  }

  /** Accepts from now on. */
  start(): void {
    if (this.#started || this.#drained !== undefined) return;
    this.#started = true;
    this.#warmUp();
    this.#tellMissing();
    this.#reaper.start();
    const serve: Readonly<Record<Component, (acceptor: Acceptor, arrival: Arrival) => void>> = {
      inbound: (acceptor, arrival) => this.#onPeer(acceptor, arrival),
      plaintext: (acceptor, arrival) =>
        this.#track(
          "destination",
          arrival,
          () => servePassthrough(this.#parts, acceptor.transparent, arrival),
        ),
      outbound: (_, arrival) =>
        this.#track("source", arrival, () => serveCaptured(this.#parts, arrival)),
      socks5: (_, arrival) =>
        this.#track("source", arrival, () => serveSocks5(this.#socksParts, arrival)),
    };
    const write = this.deps.isSpokesman ? this.#log.info : this.#log.debug;
    for (const [component, acceptor] of this.#acceptors) {
      acceptor.serve((arrival) => serve[component](acceptor, arrival));
      write?.("listener established", {
        address: display(SocketAddress.format(acceptor.address)),
        component: component === "plaintext" ? "inbound plaintext" : component,
        transparent: acceptor.transparent,
      });
    }
  }

  #onPeer(acceptor: Acceptor, arrival: Arrival): void {
    this.#gauge("destination", arrival);
    const shaken = this.#handshakes.enter(arrival);
    let state: SocketState = "handshake";
    this.#sockets.move("destination", undefined, state);
    const seat = {
      spoof: acceptor.transparent,
      onServer: (server: TunnelServer, { identity }: Peer) => {
        shaken();
        this.#sockets.move("destination", state, state = "tunnel");
        this.#servers.set(server, { address: arrival.source, identity });
        if (this.#drained !== undefined) server.drain();
        return () => void this.#servers.delete(server);
      },
    };
    const leave = this.#peers.enter();
    void serveInbound(this.#parts, seat, arrival).finally(() => {
      leave();
      shaken();
      this.#sockets.move("destination", state, undefined);
    });
  }

  /** Serves one arrival that is over when its connection is. */
  #track(
    reporter: "source" | "destination",
    arrival: Arrival,
    serve: () => Promise<void>,
  ): void {
    this.#gauge(reporter, arrival);
    void serve().finally(this.#served.enter());
  }

  #gauge(reporter: "source" | "destination", arrival: Arrival): void {
    const open = this.#sockets.open(reporter);
    open.add(1);
    this.#arrivals.add(arrival);
    void arrival.stream.closed.then(() => {
      this.#arrivals.delete(arrival);
      open.add(-1);
    });
  }

  /**
   * No new connections, running ones until the deadline, then the rest at once (behaviour.md 14.7). Of several calls the
   * earliest deadline counts.
   */
  async drain(deadlineMs: number): Promise<void> {
    const timer = this.deps.clock.after(deadlineMs, () => this.#deadline.abort());
    await (this.#drained ??= this.#drain());
    timer.cancel();
  }

  async #drain(): Promise<void> {
    for (const acceptor of this.#acceptors.values()) acceptor.close();
    for (const server of this.#servers.keys()) server.drain();
    const stop = new AbortController();
    const over = this.#over(stop.signal);
    await Promise.race([over, aborted(this.#deadline.signal)]);
    this.#parts.connections.endAll();
    await Promise.race([this.deps.clock.sleep(PROXY_LIMITS.forcedEndMs, stop.signal), over]);
    stop.abort();
    this.#reaper.stop();
    // What is no connection yet: handshakes, and who waits for the workload to be known.
    for (const { stream } of this.#arrivals) stream.abort();
    for (const server of this.#servers.keys()) server.destroy();
    for (const pool of this.#pools) pool.destroy();
  }

  /**
   * Nobody is served any more. A peer that was accepted in the last moment has yet to say what it wants, and one that is
   * idle has yet to hear GOAWAY: both get a while, so that neither finds its connection cut.
   */
  async #over(stop: AbortSignal): Promise<void> {
    const { clock } = this.deps;
    await Promise.race([this.#peers.emptied(), clock.sleep(PROXY_LIMITS.peersLeaveMs, stop)]);
    await Promise.all([this.#parts.connections.emptied(), this.#served.emptied()]);
  }
}

function tunnelRow(
  direction: TunnelRow["direction"],
  { activeStreams, roundTripMs }: Pick<TunnelServer, "activeStreams" | "roundTripMs">,
  address: SocketAddress,
  identity: SpiffeId | undefined,
): TunnelRow {
  return {
    direction,
    peer: SocketAddress.format(address),
    identity: identity ?? null,
    streams: activeStreams,
    // Tenths: what is below is our own event loop.
    roundTripMs: roundTripMs === undefined ? null : Math.round(roundTripMs * 10) / 10,
  };
}

/** The order in which they are bound (behaviour.md 10.7). */
const COMPONENTS: readonly Component[] = ["inbound", "plaintext", "outbound", "socks5"];

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve()));
}
