import { deepStrictEqual as assertEquals, ok as assert, rejects } from "node:assert/strict";
import { type ClientConnection, connect, Http2Error } from "#http2";
import { type ByteStream, pipe, StreamError } from "#stream";
import { realClock } from "#system";
import { FakeClock } from "../../support/fake_clock.ts";
import { fields, FLAG, frame, PREFACE, RawPeer, TYPE, uint32 } from "../../support/h2_raw.ts";
import { both, CLIENT_SETTINGS, NO_HEADERS, tcpStreams, tlsStreams } from "./support.ts";

const HOST = "127.83.1.2";
const HEAD = { authority: "10.1.0.9:8080", headers: NO_HEADERS };
const OPEN = FLAG.endHeaders;
const OK = fields([":status", "200"]);

/** Our client, and a server of which the test is every frame. */
async function connected(
  settings: Uint8Array = new Uint8Array(),
  clock: FakeClock | undefined = undefined,
): Promise<{ client: ClientConnection; peer: RawPeer }> {
  const [near, far] = pipe();
  const peer = new RawPeer(far);
  const connecting = connect(near, CLIENT_SETTINGS, clock ?? realClock);
  await peer.send(frame(TYPE.settings, 0, 0, settings), frame(TYPE.settings, FLAG.ack, 0));
  return { client: await connecting, peer };
}

async function errorOf(work: Promise<unknown>): Promise<Http2Error> {
  const error = await work.then(() => undefined, (reason) => reason);
  assert(error instanceof Http2Error, `no Http2Error: ${error}`);
  return error;
}

Deno.test("connect() sends exactly :method, :authority and the given headers", async () => {
  const { client, peer } = await connected();
  const headers = new Map([["x", ["1", "2"]], ["baggage", ["a=b"]]]);
  const answering = client.request({ ...HEAD, headers });
  const sent = await peer.of(TYPE.headers, 1);
  await peer.send(frame(TYPE.headers, OPEN, 1, OK));
  const answer = await answering;
  assertEquals([answer.status, client.activeStreams], [200, 1]);
  assertEquals(sent!.flags, OPEN);
  client.destroy();
  await client.closed;
  // What the header block says, in the words of a server.
  const asked: unknown[] = [];
  await using ends = await both(pipe(), (request) => {
    asked.push(request.method, request.authority, [...request.headers]);
    request.accept(NO_HEADERS);
  });
  await ends.client.request({ ...HEAD, headers });
  assertEquals(asked, ["CONNECT", HEAD.authority, [["x", ["1", "2"]], ["baggage", ["a=b"]]]]);
});

Deno.test("connect() announces the settings of behaviour.md 7.6 and widens the connection", async () => {
  const { client, peer } = await connected();
  const settings = await peer.of(TYPE.settings, 0);
  const told: number[][] = [];
  for (let at = 0; at < settings!.payload.length; at += 6) {
    const view = new DataView(settings!.payload.buffer, at);
    told.push([view.getUint16(0), view.getUint32(2)]);
  }
  // A stream begins with less than its ceiling of 4 MiB.
  assertEquals(told, [[2, 0], [4, 256 << 10], [5, 1 << 20], [6, 16 << 10]]);
  const window = await peer.of(TYPE.windowUpdate, 0);
  assertEquals([...window!.payload], [...uint32((16 << 20) - 65_535)]);
  client.destroy();
});

Deno.test("ClientConnection.peerStreamsMax follows the peer's SETTINGS", async () => {
  const limit = (value: number) => Uint8Array.of(0, 3, ...uint32(value));
  const { client, peer } = await connected(limit(7));
  assertEquals(client.peerStreamsMax, 7);
  await peer.send(frame(TYPE.settings, 0, 0, limit(3)));
  while (client.peerStreamsMax === 7) await realClock.sleep(1);
  assertEquals(client.peerStreamsMax, 3);
  client.destroy();
});

const STRANGERS: readonly (readonly [string, (far: ByteStream) => Promise<void>])[] = [
  ["answers in HTTP/1", (far) => far.write(new TextEncoder().encode("HTTP/1.1 400 Bad\r\n\r\n"))],
  ["answers with garbage", (far) => far.write(new Uint8Array(100).fill(0xa5))],
  ["closes", (far) => far.closeWrite()],
  ["resets", (far) => Promise.resolve(far.abort())],
  ["says GOAWAY at once", (far) => far.write(frame(TYPE.goaway, 0, 0, new Uint8Array(8)))],
];
for (const [what, act] of STRANGERS) {
  Deno.test(`connect() rejects as handshake when the peer ${what}`, async () => {
    const [near, far] = pipe();
    const connecting = connect(near, CLIENT_SETTINGS, realClock);
    const peer = new RawPeer(far);
    await act(far);
    assertEquals((await errorOf(connecting)).kind, "handshake");
    await peer.ended;
  });
}

Deno.test("connect() rejects as handshake when the peer says nothing for 5 s", async () => {
  const clock = new FakeClock();
  const [near, far] = pipe();
  const peer = new RawPeer(far);
  const error = errorOf(connect(near, CLIENT_SETTINGS, clock));
  await clock.advance(5_000);
  assertEquals((await error).kind, "handshake");
  assertEquals((await error).message, "the peer sent no SETTINGS within 5000 ms");
  await peer.ended;
  assertEquals(peer.frames.length > 0, true);
});

const RESETS: readonly (readonly [string, number])[] = [
  ["REFUSED_STREAM", 7],
  ["CANCEL", 8],
  ["NO_ERROR", 0],
  ["ENHANCE_YOUR_CALM", 11],
];
for (const [name, code] of RESETS) {
  Deno.test(`ClientConnection.request() rejects as stream at ${name}; others go on`, async () => {
    const { client, peer } = await connected();
    const error = errorOf(client.request(HEAD));
    const other = client.request(HEAD);
    await peer.of(TYPE.headers, 3);
    await peer.send(frame(TYPE.rst, 0, 1, uint32(code)), frame(TYPE.headers, OPEN, 3, OK));
    assertEquals([(await error).kind, (await other).status], ["stream", 200]);
    assert((await error).message.endsWith(name), (await error).message);
    assertEquals([client.usable, client.activeStreams], [true, 1]);
    client.destroy();
  });
}

Deno.test("ClientConnection.request() ends the stream of a status other than 200", async () => {
  const { client, peer } = await connected();
  const answering = client.request(HEAD);
  await peer.of(TYPE.headers, 1);
  await peer.send(frame(TYPE.headers, OPEN, 1, fields([":status", "503"], ["why", "no"])));
  const answer = await answering;
  assertEquals([answer.status, answer.headers.get("why")], [503, ["no"]]);
  await peer.of(TYPE.rst, 1);
  await answer.stream.closed;
  assertEquals(client.activeStreams, 0);
  client.destroy();
});

Deno.test("ClientConnection after GOAWAY: not usable, running streams go on, unseen ones may be retried", async () => {
  const { client, peer } = await connected();
  const first = client.request(HEAD);
  await peer.of(TYPE.headers, 1);
  await peer.send(frame(TYPE.headers, OPEN, 1, OK));
  const { stream } = await first;
  const unseen = errorOf(client.request(HEAD));
  await peer.of(TYPE.headers, 3);
  await peer.send(frame(TYPE.goaway, 0, 0, Uint8Array.of(0, 0, 0, 1, 0, 0, 0, 0)));
  assertEquals((await unseen).kind, "goaway");
  assertEquals(client.usable, false);
  assertEquals((await errorOf(client.request(HEAD))).kind, "goaway");
  await peer.send(frame(TYPE.data, 0, 1, Uint8Array.of(1, 2, 3)));
  assertEquals([...(await stream.read())!], [1, 2, 3]);
  await peer.send(frame(TYPE.data, FLAG.endStream, 1));
  assertEquals(await stream.read(), null);
  await stream.closeWrite();
  await peer.ended;
  assertEquals(await client.closed, undefined);
});

Deno.test("ClientConnection.request() rejects as closed when the connection is lost", async () => {
  const { client, peer } = await connected();
  const error = errorOf(client.request(HEAD));
  await peer.of(TYPE.headers, 1);
  peer.stream.abort();
  assertEquals((await error).kind, "closed");
  assert(await client.closed instanceof Error);
  assertEquals((await errorOf(client.request(HEAD))).kind, "closed");
});

Deno.test("ClientConnection.request() can be given up, and refuses what no header may be", async () => {
  const { client, peer } = await connected();
  const stop = new AbortController();
  const error = errorOf(client.request(HEAD, stop.signal));
  await peer.of(TYPE.headers, 1);
  stop.abort();
  assertEquals((await error).kind, "stream");
  assertEquals([...(await peer.of(TYPE.rst, 1))!.payload], [0, 0, 0, 8]);
  assertEquals((await errorOf(client.request(HEAD, stop.signal))).kind, "stream");
  const bad = { ...HEAD, headers: new Map([["a b\n", ["c"]]]) };
  assertEquals((await errorOf(client.request(bad))).kind, "stream");
  assertEquals(client.usable, true);
  client.destroy();
});

Deno.test("a tunnel ends in good order at RST_STREAM(NO_ERROR), and takes no more", async () => {
  const { client, peer } = await connected();
  const answering = client.request(HEAD);
  await peer.of(TYPE.headers, 1);
  await peer.send(
    frame(TYPE.headers, OPEN, 1, OK),
    frame(TYPE.data, 0, 1, Uint8Array.of(1)),
    frame(TYPE.rst, 0, 1, uint32(0)),
  );
  const { stream } = await answering;
  assertEquals([...(await stream.read())!], [1]);
  assertEquals(await stream.read(), null);
  await rejects(stream.write(Uint8Array.of(1)), { name: "StreamError", kind: "broken_pipe" });
  await stream.closed;
  client.destroy();
});

Deno.test("an aborted tunnel says RST_STREAM(CANCEL), and never END_STREAM before", async () => {
  const { client, peer } = await connected();
  const answering = client.request(HEAD);
  await peer.of(TYPE.headers, 1);
  await peer.send(frame(TYPE.headers, OPEN, 1, OK));
  const { stream } = await answering;
  stream.abort();
  assertEquals([...(await peer.of(TYPE.rst, 1))!.payload], [0, 0, 0, 8]);
  assertEquals(peer.frames.some(({ type }) => type === TYPE.data), false);
  client.destroy();
});

for (const side of ["client", "server"] as const) {
  Deno.test(`a tunnel never takes the end of the ${side}'s connection for its own`, async () => {
    for (const streams of [pipe(), await tcpStreams(HOST), await tlsStreams(HOST)]) {
      for (const how of ["destroy", "abort"] as const) {
        const wires = how === "destroy" ? streams : pipe();
        const accepted = Promise.withResolvers<ByteStream>();
        const ends = await both(wires, (request) => accepted.resolve(request.accept(NO_HEADERS)));
        const { stream } = await ends.client.request(HEAD);
        const reading = [stream, await accepted.promise].map((end) =>
          end.read().then(() => "an end", (error) => error instanceof StreamError && error.kind)
        );
        if (how === "destroy") ends[side].destroy();
        else wires[side === "client" ? 0 : 1].abort();
        assertEquals(await Promise.all(reading), ["reset", "reset"]);
        await Promise.all([ends.client.closed, ends.server.closed]);
      }
    }
  });
}

Deno.test("ClientConnection PINGs after the interval and again after each answer", async () => {
  const clock = new FakeClock();
  const { client, peer } = await connected(undefined, clock);
  const pings = () => peer.frames.filter(({ type }) => type === TYPE.ping);
  await clock.advance(9_999);
  await realClock.sleep(5);
  assertEquals(pings().length, 0);
  for (let round = 1; round <= 3; round++) {
    await clock.advance(round === 1 ? 1 : 10_000);
    while (pings().length < round) await realClock.sleep(1);
    await peer.send(frame(TYPE.ping, FLAG.ack, 0, pings().at(-1)!.payload));
    await realClock.sleep(5);
  }
  assertEquals([pings().length, client.usable], [3, true]);
  client.destroy();
  await clock.advance(2_000);
  await client.closed;
  assertEquals(clock.timersCount, 0);
});

Deno.test("ClientConnection ends when a PING is not answered for 20 s, streams included", async () => {
  const clock = new FakeClock();
  const { client, peer } = await connected(undefined, clock);
  const answering = client.request(HEAD);
  await peer.of(TYPE.headers, 1);
  await peer.send(frame(TYPE.headers, OPEN, 1, OK));
  const { stream } = await answering;
  const reading = stream.read().then(() => undefined, (error) => error);
  await clock.advance(10_000);
  await peer.of(TYPE.ping, 0);
  await clock.advance(19_999);
  assertEquals(client.usable, true);
  await clock.advance(1);
  assertEquals(client.usable, false);
  assertEquals((await reading).kind, "reset");
  await clock.advance(1_000);
  assertEquals((await client.closed)?.message, "no answer to a PING within 20000 ms");
});

Deno.test("ClientConnection.close() ends with the last stream", async () => {
  await using ends = await both(pipe(), (request) => void request.accept(NO_HEADERS).closeWrite());
  const { stream } = await ends.client.request(HEAD);
  ends.client.close();
  assertEquals([ends.client.usable, ends.client.activeStreams], [false, 1]);
  assertEquals((await errorOf(ends.client.request(HEAD))).kind, "closed");
  assertEquals(await stream.read(), null);
  await stream.abort();
  assertEquals(await ends.client.closed, undefined);
});

Deno.test("a preface is what a client says first", async () => {
  const [near, far] = pipe();
  const connecting = errorOf(connect(near, CLIENT_SETTINGS, realClock));
  const first = await far.read();
  assertEquals([...first!.subarray(0, PREFACE.length)], [...PREFACE]);
  far.abort();
  await connecting;
});
