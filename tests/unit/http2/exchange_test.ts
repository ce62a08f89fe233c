import { deepStrictEqual as assertEquals, ok as assert, rejects } from "node:assert/strict";
import { type ClientConnection, connect, Http2Error } from "#http2";
import { pipe, StreamError } from "#stream";
import { realClock } from "#system";
import { fields, FLAG, frame, RawPeer, TYPE, uint32 } from "../../support/h2_raw.ts";
import { CLIENT_SETTINGS, NO_HEADERS } from "./support.ts";

const OPEN = FLAG.endHeaders;
const OK = fields([":status", "200"]);

/** Our client, and a server of which the test is every frame. */
async function connected(): Promise<{ client: ClientConnection; peer: RawPeer }> {
  const [near, far] = pipe();
  const peer = new RawPeer(far);
  const connecting = connect(near, CLIENT_SETTINGS, realClock);
  await peer.send(frame(TYPE.settings, 0, 0), frame(TYPE.settings, FLAG.ack, 0));
  return { client: await connecting, peer };
}

async function errorOf(work: Promise<unknown>): Promise<Http2Error> {
  const error = await work.then(() => undefined, (reason) => reason);
  assert(error instanceof Http2Error, `no Http2Error: ${error}`);
  return error;
}

const POST = {
  method: "POST",
  scheme: "https",
  authority: "a.test",
  path: "/x",
  headers: NO_HEADERS,
};

Deno.test("exchange() sends a body before there is an answer, and tells the trailers", async () => {
  const { client, peer } = await connected();
  const { stream, answer, trailers } = await client.exchange(POST);
  await stream.write(Uint8Array.of(7));
  assertEquals((await peer.of(TYPE.headers, 1))!.flags, OPEN);
  assertEquals([...(await peer.of(TYPE.data, 1))!.payload], [7]);
  await peer.send(
    frame(TYPE.headers, OPEN, 1, OK),
    frame(TYPE.data, 0, 1, Uint8Array.of(8)),
    frame(TYPE.headers, OPEN | FLAG.endStream, 1, fields(["grpc-status", "0"])),
  );
  assertEquals((await answer).status, 200);
  assertEquals([...(await stream.read())!], [8]);
  assertEquals(await stream.read(), null);
  assertEquals([...(await trailers)!], [["grpc-status", ["0"]]]);
  await stream.closeWrite();
  await stream.closed;
  assertEquals(client.activeStreams, 0);
  client.destroy();
});

Deno.test("exchange() keeps an answer's body whatever its status", async () => {
  const { client, peer } = await connected();
  const { stream, answer, trailers } = await client.exchange(POST);
  const head = frame(TYPE.headers, OPEN, 1, fields([":status", "503"]));
  await peer.send(head, frame(TYPE.data, FLAG.endStream, 1, Uint8Array.of(9)));
  assertEquals((await answer).status, 503);
  assertEquals([...(await stream.read())!], [9]);
  assertEquals(await stream.read(), null);
  stream.abort();
  assertEquals(await trailers, undefined);
  client.destroy();
});

for (
  const [what, flags, block] of [
    ["are not the end", OPEN, fields(["a", "b"])],
    ["have a pseudo header", OPEN | FLAG.endStream, OK],
  ] as const
) {
  Deno.test(`exchange() resets a stream whose trailers ${what} (RFC 9113, 8.1)`, async () => {
    const { client, peer } = await connected();
    const { stream, answer, trailers } = await client.exchange(POST);
    await peer.send(frame(TYPE.headers, OPEN, 1, OK), frame(TYPE.headers, flags, 1, block));
    await answer;
    await rejects(stream.read(), StreamError);
    assertEquals(await trailers, undefined);
    assertEquals([...(await peer.of(TYPE.rst, 1))!.payload], [...uint32(1)]);
    client.destroy();
  });
}

Deno.test("exchange() whose stream is reset before an answer rejects it, and says with which code", async () => {
  const { client, peer } = await connected();
  const exchange = await client.exchange(POST);
  await peer.send(frame(TYPE.rst, 0, 1, uint32(8)));
  assertEquals((await errorOf(exchange.answer)).kind, "stream");
  assertEquals([exchange.resetCode, await exchange.trailers], [8, undefined]);
  client.destroy();
});

Deno.test("exchange() rejects what must not be sent, and on a connection that is over", async () => {
  const { client } = await connected();
  const headers = new Map([["a", ["b\r\nc: d"]]]);
  assertEquals((await errorOf(client.exchange({ ...POST, headers }))).kind, "stream");
  client.destroy();
  assertEquals((await errorOf(client.exchange(POST))).kind, "closed");
});
