/** What RFC 9113 leaves to limits and times, of both sides of a connection, against a peer of which the test is every frame. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { type ClientConnection, connect, type IncomingConnect, serve } from "#http2";
import { type ByteStream, pipe } from "#stream";
import { type Clock, realClock } from "#system";
import { FakeClock } from "../../support/fake_clock.ts";
import {
  CODE,
  CONNECT,
  connectRequest,
  fields,
  FLAG,
  frame,
  join,
  PREFACE,
  RawPeer,
  resetStream,
  SETTING,
  settings,
  TYPE,
  windowUpdate,
} from "../../support/h2_raw.ts";
import { Wire } from "../../support/h2_wire.ts";
import {
  both,
  CLIENT_SETTINGS,
  NO_HEADERS,
  SERVER_SETTINGS,
  tcpStreams,
  tlsStreams,
} from "./support.ts";

const HEAD = { authority: "10.1.0.9:8080", headers: NO_HEADERS };
const OK = frame(TYPE.headers, FLAG.endHeaders, 0, fields([":status", "200"]));
const okFor = (id: number) => frame(TYPE.headers, FLAG.endHeaders, id, OK.subarray(9));
const open = (request: IncomingConnect) => request.accept(NO_HEADERS);

function served(clock: Clock, onRequest: (request: IncomingConnect) => void = open) {
  const [near, far] = pipe();
  return { near, server: serve(far, SERVER_SETTINGS, clock, onRequest) };
}

async function connected(
  entries: readonly (readonly [number, number])[] = [],
): Promise<{ client: ClientConnection; peer: RawPeer }> {
  const [near, far] = pipe();
  const connecting = connect(near, CLIENT_SETTINGS, realClock);
  const peer = await RawPeer.server(far, { polite: true }, entries);
  return { client: await connecting, peer };
}

async function until(condition: () => boolean, what: string): Promise<void> {
  for (let turns = 0; !condition(); turns++) {
    assert(turns < 2_000, `never: ${what}`);
    await realClock.sleep(2);
  }
}

Deno.test("a peer that never acknowledges our SETTINGS is told SETTINGS_TIMEOUT after 10 s", async () => {
  const clock = new FakeClock();
  const { near, server } = served(clock);
  const ofServer = await RawPeer.client(near);
  await ofServer.of(TYPE.settings, 0);
  const [mine, theirs] = pipe();
  const connecting = connect(mine, CLIENT_SETTINGS, clock);
  const ofClient = await RawPeer.server(theirs);
  const client = await connecting;
  await clock.advance(9_999);
  assertEquals([server.activeStreams, client.usable], [0, true]);
  await clock.advance(1);
  for (const peer of [ofServer, ofClient]) {
    assertEquals(await peer.goawayCode(), CODE.settingsTimeout);
  }
  await clock.advance(1_000);
  for (const end of [await server.closed, await client.closed]) {
    assert(/did not accept our SETTINGS in 10000 ms/.test(String(end?.message)), String(end));
  }
  assertEquals(clock.timersCount, 0);
});

Deno.test("a server PINGs after 10 s, measures the way, and cuts a peer off that is silent for 20 s", async () => {
  const clock = new FakeClock();
  const { near, server } = served(clock);
  const peer = await RawPeer.client(near);
  await peer.of(TYPE.settings, 0);
  await peer.send(frame(TYPE.settings, FLAG.ack, 0));
  await realClock.sleep(5);
  assertEquals(server.roundTripMs, undefined);
  await clock.advance(10_000);
  const ping = await peer.of(TYPE.ping, 0);
  await clock.advance(7);
  await peer.send(frame(TYPE.ping, FLAG.ack, 0, ping!.payload));
  await until(() => server.roundTripMs === 7, "the round trip");
  await clock.advance(10_000);
  await peer.next(() => peer.frames.filter(({ type }) => type === TYPE.ping).length === 2);
  await clock.advance(20_000);
  assertEquals(await peer.goawayCode(), CODE.noError);
  assertEquals((await server.closed)?.message, "no answer to a PING within 20000 ms");
});

Deno.test("ClientConnection opens no more streams than its peer allows, now or later", async () => {
  const { client, peer } = await connected([[SETTING.concurrentStreamsMax, 2]]);
  const opened = () => peer.frames.filter(({ type }) => type === TYPE.headers).map(({ id }) => id);
  const asked = [1, 2, 3, 4].map(() => client.request(HEAD));
  await until(() => opened().length === 2, "two requests");
  await realClock.sleep(10);
  assertEquals([opened(), client.activeStreams], [[1, 3], 4]);
  await peer.send(okFor(1), okFor(3), resetStream(1));
  await until(() => opened().length === 3, "the third takes the place of the first");
  // None at all: who waits goes on waiting, whatever ends.
  await peer.send(settings([[SETTING.concurrentStreamsMax, 0]]), resetStream(3), okFor(5));
  await asked[2];
  await realClock.sleep(10);
  assertEquals(opened(), [1, 3, 5]);
  await peer.send(settings([[SETTING.concurrentStreamsMax, 9]]));
  await until(() => opened().length === 4, "the fourth");
  client.destroy();
  await Promise.allSettled(asked);
});

Deno.test("a server refuses the stream that is one too many, and serves the others", async () => {
  const { near, server } = served(realClock);
  const peer = await RawPeer.client(near, { polite: true });
  for (let at = 0; at <= 200; at++) await peer.send(connectRequest(2 * at + 1));
  const refused = await peer.of(TYPE.rst, 401);
  assertEquals([...refused!.payload], [0, 0, 0, CODE.refusedStream]);
  assertEquals(server.activeStreams, 200);
  server.destroy();
  await server.closed;
});

Deno.test("frames of 1 MiB are taken whole, one byte more is FRAME_SIZE_ERROR", async () => {
  const accepted = Promise.withResolvers<ByteStream>();
  const [near, far] = pipe();
  const settings = { ...SERVER_SETTINGS, streamWindowBytes: 4 << 20, explicitWindows: true };
  const server = serve(far, settings, realClock, (request) => accepted.resolve(open(request)));
  const peer = await RawPeer.client(near, { polite: true });
  const big = Uint8Array.from({ length: 1 << 20 }, (_, at) => at * 7);
  await peer.send(connectRequest(1));
  const sending = peer.send(frame(TYPE.data, FLAG.endStream, 1, big));
  const stream = await accepted.promise;
  let at = 0;
  for (let c = await stream.read(); c !== null; c = await stream.read()) {
    for (const byte of c) assert(byte === big[at++]);
  }
  assertEquals(at, big.length);
  await sending;
  await peer.send(connectRequest(3), frame(TYPE.data, 0, 3, new Uint8Array((1 << 20) + 1)));
  assertEquals(await peer.goawayCode(), CODE.frameSizeError);
  await server.closed;
});

for (const [frameSizeMax, most] of [[16_384, 16_384], [1 << 20, 49_152]] as const) {
  Deno.test(`a peer that takes frames of ${frameSizeMax} bytes gets none above it`, async () => {
    const { near, server } = served(realClock, (request) => {
      open(request).write(new Uint8Array(300_000)).catch(() => {});
    });
    const peer = await RawPeer.client(near, { polite: true }, [
      [SETTING.frameSizeMax, frameSizeMax],
      [SETTING.initialWindowSize, 1 << 20],
    ]);
    await peer.send(windowUpdate(0, 1 << 20), connectRequest(1));
    const sizes = () =>
      peer.frames.filter(({ type }) => type === TYPE.data).map(({ payload }) => payload.length);
    await until(() => sizes().reduce((sum, size) => sum + size, 0) === 300_000, "all of it");
    assert(Math.max(...sizes()) <= most, sizes().join());
    assert(Math.max(...sizes()) > most / 2, sizes().join());
    server.destroy();
    await server.closed;
  });
}

Deno.test("fifty streams keep within the connection's window, where every write is taken at once", async () => {
  const wire = new Wire();
  const server = serve(wire.stream, SERVER_SETTINGS, realClock, (request) => {
    open(request).write(new Uint8Array(100_000)).catch(() => {});
  });
  const windows = settings([[SETTING.initialWindowSize, 1 << 20]]);
  wire.arrive(join([PREFACE, windows, frame(TYPE.settings, FLAG.ack, 0)]));
  for (let at = 0; at < 50; at++) wire.arrive(connectRequest(2 * at + 1));
  let granted = 65_535;
  for (const more of [0, 1, 49_143, 100_000, 7, 300_000, 1_000_000]) {
    if (more > 0) wire.arrive(windowUpdate(0, more));
    granted += more;
    for (let turns = 0; turns < 20; turns++) await realClock.sleep(0);
    assertEquals(wire.dataBytes, granted, `after ${more} more`);
  }
  wire.stream.abort();
  await server.closed;
});

Deno.test("a window that SETTINGS make negative stops a stream until it is positive again", async () => {
  const { near, server } = served(realClock, (request) => {
    open(request).write(new Uint8Array(3_000).fill(5)).catch(() => {});
  });
  const peer = await RawPeer.client(near, { polite: true }, [[SETTING.initialWindowSize, 1_000]]);
  await peer.send(connectRequest(1));
  const bytes = () =>
    peer.frames.filter(({ type }) => type === TYPE.data).reduce((n, f) => n + f.payload.length, 0);
  await until(() => bytes() === 1_000, "the first window");
  // 1,000 are gone: with 400 the window is -600, and 600 more make it 0.
  await peer.send(settings([[SETTING.initialWindowSize, 400]]), windowUpdate(1, 600));
  await realClock.sleep(20);
  assertEquals(bytes(), 1_000);
  await peer.send(windowUpdate(1, 50));
  await until(() => bytes() === 1_050, "fifty more");
  await peer.send(settings([[SETTING.initialWindowSize, 100_000]]));
  await until(() => bytes() === 3_000, "the rest");
  assertEquals([...server.floodCounts], []);
  server.destroy();
  await server.closed;
});

/** Minutes until a peer that takes nothing of so many streams is cut off; Infinity if not within `minutesMax`. */
async function stalledFor(streams: number, minutesMax: number): Promise<number> {
  const clock = new FakeClock();
  const { near, server } = served(clock, (request) => {
    open(request).write(new Uint8Array(65_536)).catch(() => {});
  });
  const peer = await RawPeer.client(near, { polite: true }, [[SETTING.initialWindowSize, 0]]);
  for (let at = 0; at < streams; at++) await peer.send(connectRequest(2 * at + 1));
  await until(() => server.activeStreams === streams, "the streams");
  // Its acknowledgement of our SETTINGS is on the way.
  await peer.of(TYPE.settings, 0);
  await realClock.sleep(20);
  let pings = 0;
  const answered = () => peer.frames.filter(({ type }) => type === TYPE.ping).length;
  for (let minutes = 0; minutes < minutesMax;) {
    await clock.advance(10_000);
    await until(() => peer.isOver || answered() > pings, "a PING");
    if (peer.isOver) {
      assertEquals(await peer.goawayCode(), CODE.enhanceYourCalm);
      assertEquals([...server.floodCounts], [["zero_window", 1]]);
      return minutes;
    }
    pings = answered();
    // Its answer has to be in before the next tick.
    const before = server.roundTripMs;
    await realClock.sleep(3);
    assert(before !== undefined || server.roundTripMs !== undefined);
    minutes += 1 / 6;
  }
  near.abort();
  await server.closed;
  return Infinity;
}

Deno.test("a peer that takes nothing of 200 full streams is cut off in minutes; of 16 it may for ever", async () => {
  const minutes = await stalledFor(200, 40);
  assert(minutes > 9 && minutes < 25, `cut off after ${minutes} minutes`);
  assertEquals(await stalledFor(16, 40), Infinity);
});

Deno.test("a peer that takes a byte at a time of what waits is cut off", async () => {
  const wire = new Wire();
  const server = serve(wire.stream, SERVER_SETTINGS, new FakeClock(), (request) => {
    open(request).write(new Uint8Array(100_000)).catch(() => {});
  });
  const first = settings([[SETTING.initialWindowSize, 1]]);
  wire.arrive(join([PREFACE, first, frame(TYPE.settings, FLAG.ack, 0), connectRequest(1)]));
  let crumbs = 0;
  for (; wire.said().goaway === undefined; crumbs += 200) {
    assert(crumbs < 100_000, "it goes on");
    for (let count = 0; count < 200; count++) wire.arrive(windowUpdate(1, 1));
    await realClock.sleep(0);
    wire.forget();
  }
  assertEquals([...server.floodCounts], [["zero_window", 1]]);
  assert(crumbs > 40_000 && crumbs < 60_000, `cut off after ${crumbs}`);
  wire.stream.abort();
  await server.closed;
});

Deno.test("single bytes in frames of their own are cut off after some 100,000, over TCP and TLS", async () => {
  const [near, far] = await tlsStreams("127.83.1.6");
  // The clock stands still: the machine may be as slow as it likes.
  const server = serve(far, SERVER_SETTINGS, new FakeClock(), (request) => {
    const stream = open(request);
    void (async () => {
      while (await stream.read() !== null);
    })().catch(() => {});
  });
  const peer = await RawPeer.client(near, { polite: true });
  await peer.send(connectRequest(1));
  await peer.of(TYPE.headers, 1);
  const batch = join(Array.from({ length: 5_000 }, () => frame(TYPE.data, 0, 1, Uint8Array.of(7))));
  let frames = 0;
  for (; !peer.isOver && frames < 1_000_000; frames += 5_000) {
    await peer.send(batch);
    await realClock.sleep(0);
  }
  assertEquals(await peer.goawayCode(), CODE.enhanceYourCalm);
  assertEquals([...server.floodCounts], [["tiny_data", 1]]);
  near.abort();
  await server.closed;
});

Deno.test("a tunnel of a million frames trips nothing on either side, however long it lives", async () => {
  const clock = new FakeClock();
  const accepted = Promise.withResolvers<ByteStream>();
  await using ends = await both(
    await tcpStreams("127.83.1.5"),
    (request) => accepted.resolve(open(request)),
    { clock },
  );
  const { stream } = await ends.client.request(HEAD);
  const far = await accepted.promise;
  let came = 0;
  const reading = (async () => {
    for (let c = await far.read(); c !== null; c = await far.read()) came += c.length;
  })();
  const line = new Uint8Array(60);
  const frames = 1_000_000;
  for (let sent = 1; sent <= frames; sent++) {
    await stream.write(line);
    if (sent % 20_000 > 0) continue;
    // A second of it, and then the application thinks for an hour, while PINGs go on.
    for (const ms of [1_000, 9_000, 10_000]) {
      await clock.advance(ms);
      await realClock.sleep(2);
    }
  }
  await stream.closeWrite();
  await reading;
  assertEquals(came, frames * line.length);
  assertEquals([[...ends.client.floodCounts], [...ends.server.floodCounts]], [[], []]);
});

Deno.test("3,000 requests that are refused and then reset trip nothing: each answer pays for its reset", async () => {
  const { near, server } = served(new FakeClock(), (request) => request.refuse(503));
  const peer = await RawPeer.client(near, { polite: true });
  for (let at = 0; at < 3_000; at++) {
    const id = 2 * at + 1;
    await peer.send(frame(TYPE.headers, FLAG.endHeaders, id, fields(...CONNECT)));
    await peer.of(TYPE.rst, id);
    await peer.send(resetStream(id));
  }
  assertEquals([peer.isOver, [...server.floodCounts]], [false, []]);
  near.abort();
  await server.closed;
});
