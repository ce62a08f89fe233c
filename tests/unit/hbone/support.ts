/** A pool whose every hop is a tunnel server in this process. */
import { ok as assert } from "node:assert/strict";
import { type PoolOptions, serveTunnels, type TunnelKey, TunnelPool } from "#hbone";
import { type Http2Settings, type IncomingConnect, type ServerConnection } from "#http2";
import { type ByteStream, type Dialer, type DialOptions, pipe } from "#stream";
import { type Clock, realClock } from "#system";
import type { CertBundle, Peer, Tls } from "#tls";
import { type Failure, Ip, Refusal, type SocketAddress, SpiffeId } from "#values";

export const SETTINGS: Http2Settings = {
  streamWindowBytes: 4 << 20,
  connectionWindowBytes: 16 << 20,
  frameBytesMax: 1 << 20,
  headerListBytesMax: 64 << 10,
  pingIntervalMs: 1e9,
  pingTimeoutMs: 1e9,
};
export const REQUEST = { authority: "10.1.0.9:8080", headers: new Map<string, string[]>() };
export const CART = SpiffeId.of("cluster.local", "shop", "cart");
export const WEB = SpiffeId.of("cluster.local", "shop", "web");
export const HOP: SocketAddress = { ip: Ip.parse("10.1.0.9")!, port: 15008 };

export function keyOf(changes: Partial<TunnelKey> = {}): TunnelKey {
  return { source: WEB, expected: [CART], hop: HOP, client: Ip.parse("10.1.0.5")!, ...changes };
}

const PEER: Peer = {
  identities: [WEB, CART],
  identity: WEB,
  path: [],
  anchor: new Uint8Array(),
  isRevoked: false,
};

export class Hops implements AsyncDisposable {
  readonly pool: TunnelPool;
  readonly servers: Pick<ServerConnection, "drain" | "destroy" | "closed">[] = [];
  readonly dials: { readonly to: SocketAddress; readonly options: DialOptions }[] = [];
  /** Both ends of each dialed connection, before TLS. */
  readonly wires: ByteStream[] = [];
  /** What a dial waits for; may reject. */
  beforeDial: () => Promise<void> = () => Promise.resolve();
  /** A connection has come in. */
  onServer: (server: Pick<ServerConnection, "drain">) => void = () => {};
  onTunnel: (request: IncomingConnect) => void = (request) => {
    const stream = request.accept(new Map([["baggage", ["k8s.namespace.name=shop"]]]));
    echo(stream).catch(() => {});
  };

  constructor(
    private readonly options: Partial<PoolOptions> & {
      readonly serverStreamsMax?: number;
      readonly serverSettings?: Partial<Http2Settings>;
    } = {},
    private readonly clock: Clock = realClock,
  ) {
    const dialer: Dialer = { dial: (to, how) => this.#dial(to, how, options.serverStreamsMax) };
    const tls: Tls = {
      client: (stream) => Promise.resolve({ stream, peer: PEER }),
      server: (stream) => Promise.resolve({ stream, peer: PEER }),
    };
    this.pool = new TunnelPool({
      dialer,
      tls,
      clock,
      bundleOf: () => Promise.resolve({} as CertBundle),
      settings: SETTINGS,
      streamsPerConnectionMax: 100,
      idleReleaseMs: 300_000,
      ...options,
    });
  }

  async #dial(to: SocketAddress, options: DialOptions, streamsMax = 200) {
    this.dials.push({ to, options });
    await this.beforeDial();
    const [near, far] = pipe();
    this.wires.push(near, far);
    const settings = {
      ...SETTINGS,
      ...this.options.serverSettings,
      concurrentStreamsMax: streamsMax,
    };
    const secured = { stream: far, peer: PEER };
    const server = serveTunnels(
      secured,
      { settings, clock: this.clock },
      (request) => this.onTunnel(request),
    );
    this.servers.push(server);
    this.onServer(server);
    return Object.assign(near, { local: HOP });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.pool.destroy();
    for (const server of this.servers) server.destroy();
    for (const wire of this.wires) wire.abort();
    await Promise.all(this.servers.map((server) => server.closed));
  }
}

export async function echo(stream: ByteStream): Promise<void> {
  for (let chunk = await stream.read(); chunk !== null; chunk = await stream.read()) {
    await stream.write(chunk);
  }
  await stream.closeWrite();
}

/** Says something through the tunnel and returns the echo. */
export async function say(stream: ByteStream, text: string): Promise<string> {
  await stream.write(new TextEncoder().encode(text));
  return new TextDecoder().decode((await stream.read()) ?? new Uint8Array());
}

/** Ends a tunnel in good order. */
export async function hangUp(stream: ByteStream): Promise<void> {
  await stream.closeWrite();
  while (await stream.read() !== null);
  await stream.closed;
}

/** Waits, a few turns at a time, until `condition` holds. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const deadlineMs = realClock.monotonicMs() + 60_000;
  while (!condition()) {
    if (realClock.monotonicMs() > deadlineMs) throw new Error(`still not: ${what}`);
    await realClock.sleep(2);
  }
}

/** Why an opening was refused. */
export async function failureOf(opening: Promise<unknown>): Promise<Failure> {
  const error = await opening.then(() => undefined, (reason) => reason);
  assert(error instanceof Refusal, `no Refusal: ${error}`);
  return error.failure;
}
