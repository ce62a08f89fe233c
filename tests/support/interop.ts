/**
 * What our engine and a peer by somebody else do together over plain TCP, on either side. Authorities mean the same on
 * both: "refuse.me:1" is answered 401, "cut.me:1" is reset after its 200, "bye.me:1" is echoed after a GOAWAY, and any
 * other is echoed with the request's baggage.
 * @module
 */
import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import {
  type ClientConnection,
  connect,
  type Http2Settings,
  type IncomingConnect,
  serve,
  type ServerConnection,
} from "#http2";
import { createKernel } from "#linux";
import type { ByteStream } from "#stream";
import { realClock } from "#system";
import { Ip } from "#values";

/** behaviour.md 7.6; windows as they are announced there, so that peers may send big frames. */
export const SERVER: Http2Settings = {
  streamWindowBytes: 4 << 20,
  explicitWindows: true,
  connectionWindowBytes: 16 << 20,
  frameBytesMax: 1 << 20,
  headerListBytesMax: 64 << 10,
  concurrentStreamsMax: 200,
  pingIntervalMs: 10_000,
  pingTimeoutMs: 20_000,
};
const CLIENT: Http2Settings = { ...SERVER, headerListBytesMax: 16 << 10 };
const ECHO = "10.1.0.9:8080";
const BIG_BYTES = 8 << 20;
const SMALL_WRITES = 2_000;
const PARALLEL = 50;
const kernel = createKernel({ clock: realClock });

/** Bytes that tell a missing, doubled or moved piece. */
export function pattern(count: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length: count }, (_, at) => (at * 31 + (at >> 8)) & 0xff);
}

export interface OurServer extends AsyncDisposable {
  readonly port: number;
  /** Why each connection that is over has ended. */
  readonly ends: readonly (Error | undefined)[];
}

/** Our server, for a client by somebody else. */
export function ourServer(host: string): OurServer {
  const acceptor = kernel.listen({
    at: { ip: Ip.parse(host)!, port: 0 },
    transparent: "off",
    redirected: false,
  });
  const servers = new Set<ServerConnection>();
  const ends: (Error | undefined)[] = [];
  acceptor.serve(({ stream }) => {
    const server: ServerConnection = serve(
      stream,
      SERVER,
      realClock,
      (request) => void answer(request, server).catch(() => {}),
    );
    servers.add(server);
    server.closed.then((end) => ends.push(end));
  });
  return {
    port: acceptor.address.port,
    ends,
    async [Symbol.asyncDispose]() {
      acceptor.close();
      for (const server of servers) server.destroy();
      await Promise.all([...servers].map((server) => server.closed));
    },
  };
}

async function answer(request: IncomingConnect, server: ServerConnection): Promise<void> {
  if (request.authority === "refuse.me:1") return request.refuse(401);
  const baggage = request.headers.get("baggage") ?? [];
  const stream = request.accept(new Map(baggage.length > 0 ? [["baggage", baggage]] : []));
  if (request.authority === "cut.me:1") return stream.abort();
  if (request.authority === "bye.me:1") server.drain();
  for (let chunk = await stream.read(); chunk !== null; chunk = await stream.read()) {
    await stream.write(chunk);
  }
  await stream.closeWrite();
}

async function open(client: ClientConnection, authority: string) {
  const answer = await client.request({ authority, headers: new Map([["baggage", ["a=b"]]]) });
  return answer;
}

/** Everything that comes, to the end. */
async function drain(stream: ByteStream): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for (let c = await stream.read(); c !== null; c = await stream.read()) chunks.push(c.slice());
  const whole = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}

/** Sends `bytes` in writes of `sizes`, finishes, and wants the same back. */
async function echoed(stream: ByteStream, bytes: Uint8Array, size: (at: number) => number) {
  const back = drain(stream);
  for (let at = 0; at < bytes.length;) {
    const end = Math.min(bytes.length, at + size(at));
    await stream.write(bytes.subarray(at, end));
    at = end;
  }
  await stream.closeWrite();
  const came = await back;
  strictEqual(came.length, bytes.length);
  ok(came.every((byte, at) => byte === bytes[at]), "other bytes came back");
}

/** Our client against a server by somebody else: data both ways, half close, resets, frames of all sizes, GOAWAY. */
export async function askAll(host: string, port: number): Promise<void> {
  const stream = await kernel.dialer({}).dial({ ip: Ip.parse(host)!, port }, { timeoutMs: 30_000 });
  const client = await connect(stream, CLIENT, realClock);
  const first = await open(client, ECHO);
  deepStrictEqual([first.status, first.headers.get("baggage")], [200, ["a=b"]]);
  await echoed(first.stream, pattern(BIG_BYTES), () => 1 << 20);
  const small = await open(client, ECHO);
  await echoed(small.stream, pattern(SMALL_WRITES * 20), (at) => 1 + at % 40);
  strictEqual((await open(client, "refuse.me:1")).status, 401);
  // A peer may reset before its 200 leaves, or after.
  await rejects(async () => await drain((await open(client, "cut.me:1")).stream));
  const given = await open(client, ECHO);
  await given.stream.write(pattern(100));
  given.stream.abort();
  await Promise.all(
    Array.from({ length: PARALLEL }, async () => {
      await echoed((await open(client, ECHO)).stream, pattern(100_000), () => 16_384);
    }),
  );
  const last = await open(client, "bye.me:1");
  for (let turns = 0; client.usable && turns < 6_000; turns++) await realClock.sleep(10);
  ok(!client.usable, "no GOAWAY came");
  await echoed(last.stream, pattern(200_000), () => 7_000);
  strictEqual(await client.closed, undefined);
}
