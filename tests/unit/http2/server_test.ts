import { deepStrictEqual as assertEquals, ok as assert, throws } from "node:assert/strict";
import { type IncomingConnect, serve, type ServerConnection } from "#http2";
import { type ByteStream, pipe } from "#stream";
import { type Clock, realClock } from "#system";
import { FakeClock } from "../../support/fake_clock.ts";
import {
  CONNECT,
  fields,
  FLAG,
  frame,
  PREFACE,
  RawPeer,
  TYPE,
  uint32,
} from "../../support/h2_raw.ts";
import { both, NO_HEADERS, SERVER_SETTINGS } from "./support.ts";

const OPEN = FLAG.endHeaders;
const encoder = new TextEncoder();

/** A server on one end of a pipe; the test has the other. */
function served(
  onRequest: (request: IncomingConnect) => void = (request) => request.refuse(503),
  clock: Clock = realClock,
): { readonly near: ByteStream; readonly server: ServerConnection } {
  const [near, far] = pipe();
  return { near, server: serve(far, SERVER_SETTINGS, clock, onRequest) };
}

function headers(id: number, block: Uint8Array, flags: number = OPEN): Uint8Array {
  return frame(TYPE.headers, flags, id, block);
}

Deno.test("serve() tells a request's method, authority and headers, every value of them", async () => {
  const asked = Promise.withResolvers<IncomingConnect>();
  const { near, server } = served(asked.resolve);
  const peer = await RawPeer.client(near);
  await peer.send(
    headers(1, fields(...CONNECT, ["baggage", "a=b"], ["forwarded", "x"], ["baggage", "c=d"])),
  );
  const request = await asked.promise;
  assertEquals([request.method, request.authority], ["CONNECT", "10.1.0.9:8080"]);
  assertEquals(
    [...request.headers],
    [["baggage", ["a=b", "c=d"]], ["forwarded", ["x"]]],
  );
  assertEquals(server.activeStreams, 1);
  server.destroy();
  await server.closed;
});

Deno.test("serve() announces the settings of behaviour.md 7.6", async () => {
  const { near, server } = served();
  const peer = await RawPeer.client(near);
  const settings = await peer.of(TYPE.settings, 0);
  const told = new Map<number, number>();
  for (let at = 0; at < settings!.payload.length; at += 6) {
    const view = new DataView(settings!.payload.buffer, at);
    told.set(view.getUint16(0), view.getUint32(2));
  }
  assertEquals([told.get(3), told.get(4), told.get(5), told.get(6)], [
    200,
    256 << 10,
    1 << 20,
    64 << 10,
  ]);
  // 16 MiB for the connection: what is above the 65,535 that every connection starts with.
  const window = await peer.of(TYPE.windowUpdate, 0);
  assertEquals([...window!.payload], [...uint32((16 << 20) - 65_535)]);
  server.destroy();
});

Deno.test("IncomingConnect.accept() answers 200 with the given headers and nothing else", async () => {
  await using ends = await both(pipe(), (request) => {
    request.accept(new Map([["baggage", ["a=b"]], ["x", ["1", "2"]]]));
  });
  const answer = await ends.client.request({ authority: "a:1", headers: NO_HEADERS });
  assertEquals(answer.status, 200);
  assertEquals([...answer.headers], [["baggage", ["a=b"]], ["x", ["1", "2"]]]);
});

Deno.test("IncomingConnect.refuse() answers headers only, then lets go of the stream", async () => {
  const { near, server } = served((request) => request.refuse(401));
  const peer = await RawPeer.client(near);
  await peer.send(headers(1, fields(...CONNECT)));
  const answer = await peer.of(TYPE.headers, 1);
  assertEquals(answer!.flags & FLAG.endStream, FLAG.endStream);
  // Static table (RFC 7541 appendix A) has no 401: a literal whose name is entry 8.
  assert(new TextDecoder("latin1").decode(answer!.payload).length < 10, "more than a status");
  const rst = await peer.of(TYPE.rst, 1);
  assertEquals([...rst!.payload], [0, 0, 0, 0]);
  assert(peer.frames.indexOf(answer!) < peer.frames.indexOf(rst!));
  await peer.send(frame(TYPE.data, 0, 1, encoder.encode("not for you")));
  // The connection goes on.
  await peer.send(headers(3, fields(...CONNECT)));
  assert(await peer.of(TYPE.headers, 3) !== undefined);
  assertEquals(server.activeStreams <= 1, true);
  server.destroy();
  await server.closed;
});

Deno.test("IncomingConnect answers once, and opens a tunnel for CONNECT alone", async () => {
  const asked: IncomingConnect[] = [];
  const { near, server } = served((request) => asked.push(request));
  const peer = await RawPeer.client(near);
  const get = fields([":method", "GET"], [":scheme", "http"], [":path", "/"], [":authority", "a"]);
  await peer.send(headers(1, get, OPEN | FLAG.endStream), headers(3, fields(...CONNECT)));
  while (asked.length < 2) await realClock.sleep(1);
  assertEquals(asked.map((request) => request.method), ["GET", "CONNECT"]);
  throws(() => asked[0]!.accept(NO_HEADERS), /cannot open a tunnel for GET/);
  asked[1]!.refuse(503);
  throws(() => asked[1]!.refuse(503), /twice/);
  throws(() => asked[1]!.accept(NO_HEADERS), /twice/);
  server.destroy();
  await server.closed;
});

Deno.test("IncomingConnect.abandoned aborts when the peer gives up before an answer", async () => {
  const asked = Promise.withResolvers<IncomingConnect>();
  const { near, server } = served(asked.resolve);
  const peer = await RawPeer.client(near);
  await peer.send(headers(1, fields(...CONNECT)));
  const request = await asked.promise;
  const { abandoned } = request;
  const aborted = new Promise((resolve) =>
    abandoned.addEventListener("abort", () => resolve(undefined))
  );
  await peer.send(frame(TYPE.rst, 0, 1, uint32(8)));
  await aborted;
  // Too late an answer is no error; the tunnel says what happened.
  const stream = request.accept(NO_HEADERS);
  assertEquals(await stream.read().then(() => "", (error) => error.kind), "reset");
  server.destroy();
  await server.closed;
});

/** What a stranger may say, and whether the connection has to end by it. */
const ABUSES: readonly (readonly [string, readonly Uint8Array[], "ends" | "goes on"])[] = [
  ["garbage", [new Uint8Array(500).fill(0xa5)], "ends"],
  ["plain HTTP/1", [encoder.encode("GET / HTTP/1.1\r\nHost: a\r\n\r\n")], "ends"],
  ["a TLS hello", [Uint8Array.of(22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3)], "ends"],
  ["no SETTINGS first", [PREFACE, frame(TYPE.ping, 0, 0, new Uint8Array(8))], "ends"],
  ["a frame above our limit", [PREFACE, Uint8Array.of(255, 255, 255, 0, 0, 0, 0, 0, 1)], "ends"],
  ["broken HPACK", [
    PREFACE,
    frame(TYPE.settings, 0, 0),
    headers(1, Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff)),
  ], "ends"],
  ["DATA on a stream that never was", [
    PREFACE,
    frame(TYPE.settings, 0, 0),
    frame(TYPE.data, 0, 7, Uint8Array.of(1)),
  ], "ends"],
  ["an endless header block", [
    PREFACE,
    frame(TYPE.settings, 0, 0),
    headers(1, fields(...CONNECT), 0),
    ...Array.from(
      { length: 50 },
      () => frame(TYPE.continuation, 0, 1, fields(["a", "b".repeat(9_000)])),
    ),
  ], "ends"],
  ["frames of unknown type", [
    PREFACE,
    frame(TYPE.settings, 0, 0),
    ...Array.from({ length: 20 }, () => frame(0xfa, 0xff, 0, new Uint8Array(100))),
  ], "goes on"],
  ["CONNECT with a path", [
    PREFACE,
    frame(TYPE.settings, 0, 0),
    headers(1, fields(...CONNECT, [":path", "/"], [":scheme", "https"])),
  ], "goes on"],
  ["extended CONNECT", [
    PREFACE,
    frame(TYPE.settings, 0, 0),
    headers(
      1,
      fields(...CONNECT, [":protocol", "websocket"], [":path", "/"], [":scheme", "https"]),
    ),
  ], "goes on"],
  ["CONNECT without authority", [
    PREFACE,
    frame(TYPE.settings, 0, 0),
    headers(1, fields([":method", "CONNECT"])),
  ], "goes on"],
  ["a request at the end of which nothing follows", [
    PREFACE,
    frame(TYPE.settings, 0, 0),
    headers(1, fields(...CONNECT), OPEN | FLAG.endStream),
  ], "goes on"],
];
for (const [what, chunks, outcome] of ABUSES) {
  Deno.test(`serve() survives ${what}: the connection ${outcome}`, async () => {
    const { near, server } = served();
    const peer = new RawPeer(near);
    await peer.send(...chunks);
    if (outcome === "ends") {
      assert(await server.closed instanceof Error, "ended without a reason");
      await peer.ended;
      return;
    }
    await peer.send(headers(101, fields(...CONNECT)));
    assert(await peer.of(TYPE.headers, 101) !== undefined, "no answer to an honest request");
    server.destroy();
    await server.closed;
  });
}

Deno.test("serve() tells nobody of a malformed request or a header list above the limit", async () => {
  const long = Array.from({ length: 8 }, (_, at) => fields([`x${at}`, "y".repeat(8_200)]));
  const bad: readonly (readonly Uint8Array[])[] = [
    [headers(1, fields(...CONNECT, [":protocol", "a"], [":path", "/"], [":scheme", "a"]))],
    [headers(1, fields(...CONNECT, [":path", "/"]))],
    [headers(1, fields(...CONNECT, ...Array.from({ length: 200 }, () => ["x", "y"] as const)))],
    [
      headers(1, fields(...CONNECT), 0),
      ...long.map((block, at) => frame(TYPE.continuation, at === 7 ? OPEN : 0, 1, block)),
    ],
  ];
  for (const chunks of bad) {
    const asked: string[] = [];
    const { near, server } = served((request) => asked.push(request.authority));
    const peer = await RawPeer.client(near);
    await peer.send(...chunks);
    const end = await peer.next(({ type }) => type === TYPE.goaway || type === TYPE.rst);
    assert(end !== undefined);
    assertEquals(asked, []);
    server.destroy();
    await server.closed;
  }
});

const FLOODS: readonly (readonly [string, (round: number) => readonly Uint8Array[]])[] = [
  ["requests that are reset at once", (round) => [
    headers(2 * round + 1, fields(...CONNECT)),
    frame(TYPE.rst, 0, 2 * round + 1, uint32(8)),
  ]],
  ["PINGs", () => [frame(TYPE.ping, 0, 0, new Uint8Array(8))]],
  ["SETTINGS", () => [frame(TYPE.settings, 0, 0)]],
];
for (const [what, round] of FLOODS) {
  Deno.test(`serve() stays bounded under a flood of ${what}`, async () => {
    const { near, server } = served();
    const peer = await RawPeer.client(near);
    for (let count = 0; count < 3_000; count++) {
      await peer.send(...round(count));
      assert(server.activeStreams <= 200);
    }
    server.destroy();
    await server.closed;
    await peer.ended;
  });
}

Deno.test("serve() is not paid for a rapid reset by its own late answer", async () => {
  // Answered a turn later, as by an application that has to be dialled first.
  const late = (request: IncomingConnect) =>
    void realClock.sleep(0).then(() => request.refuse(503));
  const { near, server } = served(late, new FakeClock());
  const peer = await RawPeer.client(near);
  let rounds = 0;
  for (; !peer.isOver && rounds < 1_000; rounds++) {
    await peer.send(headers(2 * rounds + 1, fields(...CONNECT)));
    await peer.send(frame(TYPE.rst, 0, 2 * rounds + 1, uint32(8)));
    await realClock.sleep(0);
  }
  assertEquals(await peer.goawayCode(), 11);
  assert(rounds < 600, `cut only after ${rounds}`);
  assertEquals([...server.floodCounts], [["rapid_reset", 1]]);
});

const SILENCES: readonly (readonly [string, Uint8Array])[] = [
  ["says nothing", new Uint8Array()],
  ["says half a preface", PREFACE.subarray(0, 10)],
  ["says a preface without SETTINGS", PREFACE],
  ["stops within its first frame", Uint8Array.of(...PREFACE, 0, 0, 6, 4)],
];
for (const [what, bytes] of SILENCES) {
  Deno.test(`serve() cuts off a peer that ${what} for 5 s`, async () => {
    const clock = new FakeClock();
    const { near, server } = served(undefined, clock);
    const peer = new RawPeer(near);
    await peer.send(bytes);
    await clock.advance(4_000);
    await realClock.sleep(5);
    assert(
      await Promise.race([server.closed.then(() => false), realClock.sleep(0).then(() => true)]),
    );
    await clock.advance(1_000);
    const error = await server.closed;
    assertEquals(error?.message, "the peer sent no SETTINGS within 5000 ms");
    assertEquals(clock.timersCount, 0);
  });
}

Deno.test("serve() ends when the peer goes away in mid-preface or in mid-tunnel", async () => {
  for (const bytes of [PREFACE.subarray(0, 10), PREFACE]) {
    for (const end of ["closeWrite", "abort"] as const) {
      const { near, server } = served();
      const peer = new RawPeer(near);
      await peer.send(bytes);
      await near[end]();
      assert(await server.closed instanceof Error);
    }
  }
});

/** The last stream and the code of each GOAWAY so far. */
function goawaysOf(peer: RawPeer): number[][] {
  return peer.frames.filter(({ type }) => type === TYPE.goaway).map(({ payload }) => {
    const view = new DataView(payload.buffer);
    return [view.getUint32(0), view.getUint32(4)];
  });
}

Deno.test("ServerConnection.drain() says GOAWAY twice, a round trip apart, and ends with the last stream", async () => {
  const { near, server } = served((request) => request.accept(NO_HEADERS));
  const peer = await RawPeer.client(near);
  await peer.send(headers(1, fields(...CONNECT)));
  await peer.of(TYPE.headers, 1);
  server.drain();
  server.drain();
  const ping = await peer.of(TYPE.ping, 0);
  assertEquals(goawaysOf(peer), [[2 ** 31 - 1, 0]]);
  // On its way when the first GOAWAY came: it is served.
  await peer.send(headers(3, fields(...CONNECT)));
  assert(await peer.of(TYPE.headers, 3) !== undefined);
  await peer.send(frame(TYPE.ping, FLAG.ack, 0, ping!.payload));
  await peer.next(() => goawaysOf(peer).length === 2);
  assertEquals(goawaysOf(peer)[1], [3, 0]);
  await peer.send(headers(5, fields(...CONNECT)));
  await realClock.sleep(5);
  assertEquals([server.activeStreams, peer.frames.some(({ id }) => id === 5)], [2, false]);
  await peer.send(frame(TYPE.rst, 0, 1, uint32(8)), frame(TYPE.rst, 0, 3, uint32(8)));
  await peer.ended;
  assertEquals(await server.closed, undefined);
});

Deno.test("ServerConnection.drain() of an idle connection ends it, whether the peer answers or not", async () => {
  for (const answers of [true, false]) {
    const { near, server } = served();
    const peer = await RawPeer.client(near);
    await peer.of(TYPE.settings, 0);
    server.drain();
    const ping = await peer.of(TYPE.ping, 0);
    if (answers) await peer.send(frame(TYPE.ping, FLAG.ack, 0, ping!.payload));
    await peer.ended;
    assertEquals(await server.closed, undefined);
  }
});

Deno.test("ServerConnection.closed has no reason when the client says goodbye", async () => {
  const ends = await both(pipe(), () => {});
  ends.client.close();
  assertEquals(await ends.server.closed, undefined);
  assertEquals(await ends.client.closed, undefined);
});
