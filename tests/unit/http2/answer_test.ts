/** A server's answers to requests that are no tunnels (RFC 9113 section 8.1). */
import { deepStrictEqual as assertEquals, throws } from "node:assert/strict";
import { connect, type IncomingRequest, serve } from "#http2";
import { pipe } from "#stream";
import { realClock } from "#system";
import { CLIENT_SETTINGS, NO_HEADERS, SERVER_SETTINGS } from "./support.ts";

const POST = {
  method: "POST",
  scheme: "https",
  authority: "a.test",
  path: "/x?y=1",
  headers: NO_HEADERS,
};

async function asked(body: Uint8Array, answer: (request: IncomingRequest) => Promise<void>) {
  const [near, far] = pipe();
  let answering: Promise<void> = Promise.resolve();
  const server = serve(far, SERVER_SETTINGS, realClock, (request) => {
    answering = answer(request);
  });
  const client = await connect(near, CLIENT_SETTINGS, realClock);
  const exchange = await client.exchange(POST);
  await exchange.stream.write(body);
  const { status, headers } = await exchange.answer;
  const bytes: number[] = [];
  for (let c = await exchange.stream.read(); c !== null; c = await exchange.stream.read()) {
    bytes.push(...c);
  }
  const trailers = await exchange.trailers;
  await answering;
  await exchange.stream.closeWrite();
  await exchange.stream.closed;
  assertEquals([client.activeStreams, server.activeStreams], [0, 0]);
  client.destroy();
  server.destroy();
  return { status, headers: [...headers], bytes, trailers: trailers && [...trailers] };
}

Deno.test("a body is read before the answer, and the answer ends with trailers, the peer's direction still open", async () => {
  const answer = await asked(Uint8Array.of(1, 2), async (request) => {
    assertEquals([request.method, request.path], ["POST", "/x?y=1"]);
    const got = await request.stream.read();
    const stream = request.respond(200, new Map([["a", ["b"]]]));
    await stream.write(Uint8Array.of(...got!, 3));
    request.endWith(new Map([["grpc-status", ["0"]]]));
    request.endWith(new Map([["grpc-status", ["1"]]]));
  });
  assertEquals(answer, {
    status: 200,
    headers: [["a", ["b"]]],
    bytes: [1, 2, 3],
    trailers: [["grpc-status", ["0"]]],
  });
});

Deno.test("an answer may be a head and nothing else", async () => {
  const answer = await asked(Uint8Array.of(1), (request) => {
    request.respondEmpty(200, new Map([["grpc-status", ["16"]]]));
    throws(() => request.respond(200, NO_HEADERS), /answer a request twice/);
    return Promise.resolve();
  });
  assertEquals(answer, {
    status: 200,
    headers: [["grpc-status", ["16"]]],
    bytes: [],
    trailers: undefined,
  });
});

Deno.test("trailers wait for what is being written, and say so to whoever does not", async () => {
  const large = new Uint8Array(1 << 20).fill(7);
  const answer = await asked(Uint8Array.of(1), async (request) => {
    const stream = request.respond(200, NO_HEADERS);
    const writing = stream.write(large);
    throws(() => request.endWith(NO_HEADERS), /a write is under way/);
    await writing;
    request.endWith(new Map([["x", ["y"]]]));
  });
  assertEquals([answer.bytes.length, answer.trailers], [large.length, [["x", ["y"]]]]);
});
