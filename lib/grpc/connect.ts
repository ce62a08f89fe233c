import { lookup } from "node:dns/promises";
import { type ClientConnection, connect, type Http2Settings } from "#http2";
import type { ByteStream, Dialer } from "#stream";
import type { Clock } from "#system";
import { connectTls, type ServerTrust } from "#tls";
import { Ip } from "#values";

/** What a channel is made with. */
export interface Network {
  readonly clock: Clock;
  /** For connections to the control plane; its keepalive should be `CONTROL_KEEPALIVE`. */
  readonly dialer: Dialer;
}

/** behaviour.md 3.1. */
export const CONTROL_KEEPALIVE = { idleMs: 300_000, intervalMs: 75_000, retries: 9 } as const;
const TCP_TIMEOUT_MS = 5_000;
/** Addresses of one name that are tried, in the resolver's order. */
const ADDRESSES_MAX = 8;

/**
 * One stream with large messages one way. Windows are what waits for the mesh to take it, and 1 MiB carries a first
 * push of 28 MB over a round trip of 10 ms in 300 ms.
 */
const SETTINGS: Http2Settings = {
  streamWindowBytes: 1 << 20,
  connectionWindowBytes: 1 << 20,
  frameBytesMax: 16_384,
  // A status has its reason in it.
  headerListBytesMax: 16 << 10,
  pingIntervalMs: 30_000,
  pingTimeoutMs: 10_000,
};

export interface Target {
  readonly host: string;
  readonly port: number;
  readonly trust: ServerTrust;
}

/**
 * A verified HTTP/2 connection (behaviour.md 3.1); nothing is said before the server is verified. `stop` ends it wherever
 * it is. Rejects with whatever went wrong.
 */
export async function connectTo(
  { host, port, trust }: Target,
  { clock, dialer }: Network,
  stop: AbortSignal,
): Promise<ClientConnection> {
  const tcp = await dialFirst(dialer, await addressesOf(host), port, stop);
  const abort = () => tcp.abort();
  stop.addEventListener("abort", abort);
  try {
    if (stop.aborted) abort();
    const secured = await connectTls(tcp, trust, clock);
    return await connect(secured.stream, SETTINGS, clock);
  } finally {
    stop.removeEventListener("abort", abort);
  }
}

async function addressesOf(host: string): Promise<readonly Ip[]> {
  const literal = Ip.parse(host);
  if (literal !== undefined) return [literal];
  const found = await lookup(host, { all: true });
  const ips = found.map(({ address }) => Ip.parse(address)).filter((ip) => ip !== undefined);
  if (ips.length === 0) throw new Error(`${host} has no address`);
  return ips.slice(0, ADDRESSES_MAX);
}

async function dialFirst(
  dialer: Dialer,
  ips: readonly Ip[],
  port: number,
  stop: AbortSignal,
): Promise<ByteStream> {
  let last: unknown;
  for (const ip of ips) {
    if (stop.aborted) break;
    try {
      return await dialer.dial({ ip, port }, { timeoutMs: TCP_TIMEOUT_MS });
    } catch (error) {
      last = error;
    }
  }
  throw last ?? new Error("given up");
}
