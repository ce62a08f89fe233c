/** Two ends of HTTP/2 over whatever carries it. */
import { createKernel } from "#linux";
import {
  type ClientConnection,
  connect,
  type Http2Settings,
  type IncomingConnect,
  serve,
  type ServerConnection,
} from "#http2";
import type { ByteStream } from "#stream";
import { type Clock, realClock } from "#system";
import { createTls } from "#tls";
import { Ip } from "#values";
import { mintRoot, mintWorkload } from "../../support/pki.ts";

export const CLIENT_SETTINGS: Http2Settings = {
  streamWindowBytes: 4 << 20,
  connectionWindowBytes: 16 << 20,
  frameBytesMax: 1 << 20,
  headerListBytesMax: 16 << 10,
  pingIntervalMs: 10_000,
  pingTimeoutMs: 20_000,
};
export const SERVER_SETTINGS: Http2Settings = {
  ...CLIENT_SETTINGS,
  headerListBytesMax: 64 << 10,
  concurrentStreamsMax: 200,
};
export const NO_HEADERS: ReadonlyMap<string, readonly string[]> = new Map();

const kernel = createKernel({ clock: realClock });
const root = mintRoot();
const bundle = mintWorkload("spiffe://cluster.local/ns/shop/sa/web", root);

/** [who connected, who accepted] over loopback TCP. */
export async function tcpStreams(host: string): Promise<[ByteStream, ByteStream]> {
  const acceptor = kernel.listen({
    at: { ip: Ip.parse(host)!, port: 0 },
    transparent: "off",
    redirected: false,
  });
  const accepted = new Promise<ByteStream>((resolve) =>
    acceptor.serve((arrival) => resolve(arrival.stream))
  );
  const dialed = await kernel.dialer({}).dial(acceptor.address, { timeoutMs: 30_000 });
  const streams: [ByteStream, ByteStream] = [dialed, await accepted];
  acceptor.close();
  return streams;
}

/** The same, secured. */
export async function tlsStreams(host: string): Promise<[ByteStream, ByteStream]> {
  const [client, server] = await tcpStreams(host);
  const tls = createTls(realClock, {});
  const [ours, theirs] = await Promise.all([
    tls.client(client, bundle, [bundle.identity]),
    tls.server(server, bundle),
  ]);
  return [ours.stream, theirs.stream];
}

export interface Both extends AsyncDisposable {
  readonly client: ClientConnection;
  readonly server: ServerConnection;
}

export interface BothOptions {
  readonly clock?: Clock;
  readonly client?: Partial<Http2Settings>;
  readonly server?: Partial<Http2Settings>;
}

/** A client and a server that talk over `streams`. */
export async function both(
  streams: readonly [ByteStream, ByteStream],
  onRequest: (request: IncomingConnect) => void,
  options: BothOptions = {},
): Promise<Both> {
  const clock = options.clock ?? realClock;
  const server = serve(streams[1], { ...SERVER_SETTINGS, ...options.server }, clock, onRequest);
  const client = await connect(streams[0], { ...CLIENT_SETTINGS, ...options.client }, clock);
  return {
    client,
    server,
    async [Symbol.asyncDispose]() {
      client.destroy();
      server.destroy();
      await Promise.all([client.closed, server.closed]);
    },
  };
}

/** Both ends of one tunnel. */
export async function tunnel(
  streams: readonly [ByteStream, ByteStream],
): Promise<[ByteStream, ByteStream]> {
  const accepted = Promise.withResolvers<ByteStream>();
  const { client, server } = await both(
    streams,
    (request) => accepted.resolve(request.accept(NO_HEADERS)),
  );
  const answer = await client.request({ authority: "10.1.0.9:8080", headers: NO_HEADERS });
  const ends: [ByteStream, ByteStream] = [answer.stream, await accepted.promise];
  Promise.all(ends.map((end) => end.closed)).then(() => {
    client.destroy();
    server.destroy();
  });
  return ends;
}
