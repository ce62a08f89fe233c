/** The pool and the server with everything real between them: TCP, mutual TLS, HTTP/2. */
import { deepStrictEqual as assertEquals, rejects } from "node:assert/strict";
import { type PoolOptions, serveTunnels, TunnelPool, type TunnelServer } from "#hbone";
import { connect, type IncomingConnect } from "#http2";
import { createKernel } from "#linux";
import type { ByteStream } from "#stream";
import { realClock } from "#system";
import { createTls, type Peer } from "#tls";
import { Ip } from "#values";
import { byteStreamContract } from "../../contract/byte_stream.ts";
import { mintRoot, mintWorkload } from "../../support/pki.ts";
import { CART, echo, hangUp, keyOf, REQUEST, say, SETTINGS, WEB } from "./support.ts";

const HOST = Ip.parse("127.83.2.1")!;
/** A nested tunnel used to stall after 9 MB (behaviour.md 19.2). */
const NESTED_BYTES = 32 << 20;
const kernel = createKernel({ clock: realClock });
const tls = createTls(realClock, {});
const root = mintRoot();
const web = mintWorkload(WEB, root);
const cart = mintWorkload(CART, root);

function listen(onTunnel: (request: IncomingConnect, peer: Peer) => void) {
  const acceptor = kernel.listen({
    at: { ip: HOST, port: 0 },
    transparent: "off",
    redirected: false,
  });
  const servers: TunnelServer[] = [];
  const options = { settings: { ...SETTINGS, concurrentStreamsMax: 200 }, clock: realClock };
  acceptor.serve(({ stream }) => {
    tls.server(stream, cart).then(
      (secured) => servers.push(serveTunnels(secured, options, onTunnel)),
      () => {},
    );
  });
  return { hop: acceptor.address, acceptor, servers };
}

function poolOf(changes: Partial<PoolOptions> = {}): TunnelPool {
  return new TunnelPool({
    dialer: kernel.dialer({}),
    tls,
    clock: realClock,
    bundleOf: () => Promise.resolve(web),
    settings: SETTINGS,
    streamsPerConnectionMax: 100,
    idleReleaseMs: 300_000,
    ...changes,
  });
}

async function pair(): Promise<[ByteStream, ByteStream]> {
  const accepted = Promise.withResolvers<ByteStream>();
  const { hop, acceptor, servers } = listen((request) =>
    accepted.resolve(request.accept(new Map()))
  );
  const pool = poolOf();
  const { stream } = await pool.open(keyOf({ hop }), REQUEST);
  const ends: [ByteStream, ByteStream] = [stream, await accepted.promise];
  acceptor.close();
  Promise.all(ends.map((end) => end.closed)).then(() => {
    pool.destroy();
    for (const server of servers) server.destroy();
  });
  return ends;
}

byteStreamContract("CONNECT tunnel", pair);

async function end(pool: TunnelPool, listening: ReturnType<typeof listen>): Promise<void> {
  pool.destroy();
  listening.acceptor.close();
  for (const server of listening.servers) server.destroy();
  await Promise.all(listening.servers.map((server) => server.closed));
}

Deno.test("serveTunnels() tells who asks, and one connection carries many tunnels", async () => {
  const peers: unknown[] = [];
  const listening = listen((request, peer) => {
    peers.push(peer.identity);
    echo(request.accept(new Map())).catch(() => {});
  });
  const pool = poolOf();
  const key = keyOf({ hop: listening.hop });
  const tunnels = await Promise.all(Array.from({ length: 20 }, () => pool.open(key, REQUEST)));
  const heard = await Promise.all(tunnels.map(({ stream }, index) => say(stream, `${index}`)));
  assertEquals(heard, tunnels.map((_, index) => `${index}`));
  assertEquals(new Set(tunnels.map(({ peerIdentity }) => peerIdentity)), new Set([CART]));
  assertEquals(new Set(peers), new Set([WEB]));
  assertEquals([listening.servers.length, pool.connectionsCount], [1, 1]);
  await Promise.all(tunnels.map(({ stream }) => hangUp(stream)));
  await end(pool, listening);
});

Deno.test("TunnelPool refuses a server of another name", async () => {
  const listening = listen((request) => request.refuse(503));
  const pool = poolOf();
  const key = keyOf({ hop: listening.hop, expected: [WEB] });
  await rejects(
    pool.open(key, REQUEST),
    (error: { failure?: { kind?: string } }) => error.failure?.kind === "tls_handshake",
  );
  await end(pool, listening);
});

Deno.test("TunnelPool calls a server that is gone an I/O failure", async () => {
  const listening = listen((request) => request.refuse(503));
  listening.acceptor.close();
  const pool = poolOf();
  const opening = pool.open(keyOf({ hop: listening.hop }), REQUEST);
  await rejects(opening, (error: { failure?: { kind?: string } }) => error.failure?.kind === "io");
  await end(pool, listening);
});

Deno.test("a tunnel carries TLS and HTTP/2 of its own, far beyond every window", async () => {
  const inner = Promise.withResolvers<ByteStream>();
  const settings = { ...SETTINGS, concurrentStreamsMax: 200 };
  const listening = listen(async (request) => {
    const secured = await tls.server(request.accept(new Map()), cart);
    listening.servers.push(
      serveTunnels(
        secured,
        { settings, clock: realClock },
        (nested) => inner.resolve(nested.accept(new Map())),
      ),
    );
  });
  const pool = poolOf();
  const outer = await pool.open(keyOf({ hop: listening.hop }), REQUEST);
  const secured = await tls.client(outer.stream, web, [CART]);
  const connection = await connect(secured.stream, SETTINGS, realClock);
  const { stream } = await connection.request(REQUEST);
  const far = await inner.promise;
  const writing = (async () => {
    const chunk = new Uint8Array(64 << 10);
    for (let sent = 0; sent < NESTED_BYTES; sent += chunk.length) await stream.write(chunk);
    await stream.closeWrite();
  })();
  let received = 0;
  for (let c = await far.read(); c !== null; c = await far.read()) received += c.length;
  await writing;
  assertEquals(received, NESTED_BYTES);
  await far.closeWrite();
  assertEquals(await stream.read(), null);
  connection.destroy();
  await end(pool, listening);
});
