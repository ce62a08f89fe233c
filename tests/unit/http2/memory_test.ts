import { ok as assert } from "node:assert/strict";
import type { ByteStream } from "#stream";
import { standstill } from "../../support/waiting.ts";
import { both, NO_HEADERS, tlsStreams } from "./support.ts";

const HOST = "127.83.1.3";
const STREAMS = 8;
const STREAM_BYTES = 20 << 20;
const WINDOW_BYTES = 1 << 20;
/** What lies outside the windows: both kernels' socket buffers, and a queue of each end. */
const SLACK_BYTES = 12 << 20;

/** Writes until `limit` bytes are taken; the count so far is `taken()`. */
function writer(
  stream: ByteStream,
  limit: number,
  onFailure: (error: unknown) => void = () => {},
): () => number {
  let taken = 0;
  (async () => {
    const chunk = new Uint8Array(64 << 10);
    while (taken < limit) {
      await stream.write(chunk);
      taken += chunk.length;
    }
  })().catch(onFailure);
  return () => taken;
}

/** From now on the kernel's buffers fill up. */
function stopReading(stream: ByteStream): void {
  const { socket } = stream.native as {
    socket: { _handle: { _nativeTcpHandle: { readStop(): void } } };
  };
  socket._handle._nativeTcpHandle.readStop();
}

const settled = (total: () => number) => standstill(total, { lookMs: 100, looks: 4 });

Deno.test("streams that nobody reads take their windows and no more, and stop nobody else", async () => {
  const accepted: ByteStream[] = [];
  await using ends = await both(
    await tlsStreams(HOST),
    (request) => accepted.push(request.accept(NO_HEADERS)),
    { server: { streamWindowBytes: WINDOW_BYTES, explicitWindows: true } },
  );
  const open = async () =>
    (await ends.client.request({ authority: "a:1", headers: NO_HEADERS })).stream;
  const counts: (() => number)[] = [];
  for (let count = 0; count < STREAMS; count++) counts.push(writer(await open(), STREAM_BYTES));
  const taken = await settled(() => counts.reduce((sum, count) => sum + count(), 0));
  const bound = STREAMS * WINDOW_BYTES + SLACK_BYTES;
  assert(taken <= bound, `${taken} bytes were taken, more than ${bound}`);
  assert(taken >= STREAMS * WINDOW_BYTES / 2, `only ${taken} bytes were taken`);
  const other = await open();
  const heard = accepted.at(-1)!.read();
  await other.write(Uint8Array.of(7));
  assert((await heard)![0] === 7);
});

Deno.test("a TCP peer that stops reading stops the writers at about one queue (runtime.md S7)", async () => {
  const wires = await tlsStreams(HOST);
  const accepted: ByteStream[] = [];
  await using ends = await both(
    wires,
    (request) => accepted.push(request.accept(NO_HEADERS)),
    {
      server: {
        streamWindowBytes: 64 << 20,
        explicitWindows: true,
        connectionWindowBytes: 512 << 20,
      },
    },
  );
  const open = async () =>
    (await ends.client.request({ authority: "a:1", headers: NO_HEADERS })).stream;
  const streams = [await open(), await open(), await open(), await open()];
  stopReading(wires[1]);
  const counts = streams.map((stream) => writer(stream, 64 << 20));
  const taken = await settled(() => counts.reduce((sum, count) => sum + count(), 0));
  assert(taken <= SLACK_BYTES, `${taken} bytes were taken by a peer that reads nothing`);
});

Deno.test("a writer that a full connection holds back is freed when its tunnel is aborted", async () => {
  const wires = await tlsStreams(HOST);
  await using ends = await both(wires, (request) => void request.accept(NO_HEADERS), {
    server: {
      streamWindowBytes: 64 << 20,
      explicitWindows: true,
      connectionWindowBytes: 512 << 20,
    },
  });
  const { stream } = await ends.client.request({ authority: "a:1", headers: NO_HEADERS });
  stopReading(wires[1]);
  const failed = Promise.withResolvers<unknown>();
  const taken = writer(stream, 64 << 20, failed.resolve);
  await settled(taken);
  stream.abort();
  assert((await failed.promise as { kind?: unknown }).kind === "aborted");
});
