/** Our engine before node:http2, which is nghttp2, as its server and as its client. */
import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import http2 from "node:http2";
import type { AddressInfo } from "node:net";
import { Buffer } from "node:buffer";
import { askAll, ourServer, pattern } from "../support/interop.ts";

const HOST = "127.83.8.1";
const SETTINGS = { initialWindowSize: 4 << 20, maxFrameSize: 1 << 20, enablePush: false };

function theirServer(): Promise<http2.Http2Server> {
  const server = http2.createServer({ settings: { ...SETTINGS, maxConcurrentStreams: 100 } });
  server.on("stream", (stream: http2.ServerHttp2Stream, headers) => {
    // Without it a reset of the client's is an uncaught error.
    stream.on("error", () => {});
    const authority = headers[":authority"];
    if (authority === "refuse.me:1") return stream.respond({ ":status": 401 }, { endStream: true });
    stream.respond({ ":status": 200, baggage: headers.baggage! }, { sendDate: false } as never);
    if (authority === "cut.me:1") return stream.close(http2.constants.NGHTTP2_CANCEL);
    if (authority === "bye.me:1") stream.session!.goaway(0, stream.id);
    stream.pipe(stream);
  });
  return new Promise((resolve) => server.listen(0, HOST, () => resolve(server)));
}

Deno.test({
  name: "our client gets on with a server of node:http2",
  sanitizeOps: false,
  sanitizeResources: false,
}, async () => {
  const server = await theirServer();
  try {
    await askAll(HOST, (server.address() as AddressInfo).port);
  } finally {
    server.close();
  }
});

/** One CONNECT of theirs: its status, what came back, and its RST_STREAM code. */
function ask(
  session: http2.ClientHttp2Session,
  authority: string,
  chunks: readonly Uint8Array[],
): Promise<{ status: unknown; baggage: unknown; back: Uint8Array; code: number }> {
  const stream = session.request(
    { ":method": "CONNECT", ":authority": authority, baggage: "a=b" },
    { endStream: false },
  );
  const seen = { status: 0 as unknown, baggage: undefined as unknown };
  const back: Uint8Array[] = [];
  stream.on("response", (headers) => {
    seen.status = headers[":status"];
    seen.baggage = headers.baggage;
  });
  stream.on("data", (chunk: Uint8Array) => back.push(chunk));
  stream.on("error", () => {});
  for (const chunk of chunks) stream.write(chunk);
  if (authority !== "cut.me:1") stream.end();
  return new Promise((resolve) =>
    stream.on(
      "close",
      () => resolve({ ...seen, back: Buffer.concat(back), code: stream.rstCode ?? -1 }),
    )
  );
}

Deno.test({
  name: "our server gets on with a client of node:http2",
  sanitizeOps: false,
  sanitizeResources: false,
}, async () => {
  await using server = ourServer(HOST);
  const session = http2.connect(`http://${HOST}:${server.port}`, { settings: SETTINGS });
  const big = pattern(8 << 20);
  const echo = await ask(session, "10.1.0.9:8080", [big]);
  deepStrictEqual([echo.status, echo.baggage, echo.code], [200, "a=b", 0]);
  ok(Buffer.compare(echo.back, big) === 0, "other bytes came back");
  const small = pattern(20_000);
  const pieces = Array.from({ length: 1_000 }, (_, at) => small.subarray(at * 20, at * 20 + 20));
  ok(Buffer.compare((await ask(session, "10.1.0.9:8080", pieces)).back, small) === 0);
  const refused = await ask(session, "refuse.me:1", []);
  deepStrictEqual([refused.status, refused.back.length], [401, 0]);
  strictEqual((await ask(session, "cut.me:1", [])).code, http2.constants.NGHTTP2_CANCEL);
  const many = await Promise.all(
    Array.from({ length: 50 }, () => ask(session, "10.1.0.9:8080", [pattern(100_000)])),
  );
  ok(many.every(({ back }) => Buffer.compare(back, pattern(100_000)) === 0));
  const roundTripMs = await new Promise((resolve) => session.ping((_, ms) => resolve(ms)));
  ok(Number(roundTripMs) >= 0);
  const goaway = new Promise((resolve) => session.on("goaway", resolve));
  const last = await ask(session, "bye.me:1", [pattern(50_000)]);
  strictEqual(await goaway, 0);
  ok(Buffer.compare(last.back, pattern(50_000)) === 0, "the last stream is served to its end");
  await new Promise<void>((resolve) => session.closed ? resolve() : session.on("close", resolve));
  strictEqual(server.ends[0], undefined);
});
