/** What was received and never taken has to be granted again: a connection lives for days, its streams end in every way. */
import { ok as assert } from "node:assert/strict";
import { type ByteStream, relay } from "#stream";
import { realClock, Stop } from "#system";
import { both, NO_HEADERS, tcpStreams, tlsStreams } from "./support.ts";

const HOST = "127.83.1.9";
/** More than the kernel takes for an application that does not read. */
const ANSWER_BYTES = 14 << 20;
/** Has room for a whole answer. */
const LARGE_WINDOW_BYTES = 16 << 20;
/** A few reads. */
const SMALL_WINDOW_BYTES = 256 << 10;
/** By then the window is used up, if what is left of a stream is not granted again. */
const ROUNDS = 6;
const WAIT_MS = 120_000;

interface Chain {
  readonly client: ByteStream;
  readonly server: ByteStream;
  readonly over: Promise<unknown>;
}

async function mesh(windowBytes: number) {
  const arrivals: ((stream: ByteStream) => void)[] = [];
  const windows = { streamWindowBytes: windowBytes, explicitWindows: true };
  const ends = await both(
    await tlsStreams(HOST),
    (request) => arrivals.shift()!(request.accept(NO_HEADERS)),
    { server: windows, client: { ...windows, connectionWindowBytes: windowBytes } },
  );
  const join = (downstream: ByteStream, upstream: ByteStream) =>
    relay({
      downstream,
      upstream,
      meter: { received: () => {}, sent: () => {} },
      revoked: new Stop().signal,
    });
  return {
    async chain(): Promise<Chain> {
      const [client, downstream] = await tcpStreams(HOST);
      const [upstream, server] = await tcpStreams(HOST);
      const accepted = new Promise<ByteStream>((resolve) => arrivals.push(resolve));
      const { stream } = await ends.client.request({ authority: "a:1", headers: NO_HEADERS });
      const over = Promise.all([
        join(downstream, stream),
        accepted.then((tunnel) => join(tunnel, upstream)),
      ]);
      return { client, server, over };
    },
    [Symbol.asyncDispose]: () => ends[Symbol.asyncDispose](),
  };
}

async function sendAll(stream: ByteStream, total: number): Promise<void> {
  const chunk = new Uint8Array(65_536);
  for (let left = total; left > 0; left -= chunk.length) {
    await stream.write(chunk.subarray(0, Math.min(left, chunk.length)));
  }
  await stream.closeWrite();
}

async function countAll(stream: ByteStream): Promise<number> {
  let total = 0;
  for (let chunk = await stream.read(); chunk !== null; chunk = await stream.read()) {
    total += chunk.length;
  }
  return total;
}

/** A stream whose client takes nothing ends in `end`, again and again; then another one has to get its answer. */
async function survives(
  windowBytes: number,
  end: (chain: Chain) => Promise<void>,
): Promise<void> {
  await using made = await mesh(windowBytes);
  for (let round = 0; round < ROUNDS; round++) {
    const chain = await made.chain();
    await end(chain);
    await chain.over;
    for (const stream of [chain.client, chain.server]) stream.abort();
  }
  const { client, server, over } = await made.chain();
  const sending = sendAll(server, ANSWER_BYTES).catch(() => {});
  const stop = new AbortController();
  const count = await Promise.race([
    countAll(client),
    realClock.sleep(WAIT_MS, stop.signal).then(() => "stalled"),
  ]);
  stop.abort();
  assert(count === ANSWER_BYTES, `${count} of ${ANSWER_BYTES}`);
  await client.closeWrite();
  await Promise.all([sending, over]);
}

/** Until nothing moves: the kernel has what it takes, and the rest waits in our memory. */
async function settled(): Promise<void> {
  await realClock.sleep(300);
}

Deno.test("a client that resets while bytes wait for it costs the connection nothing", async () => {
  await survives(SMALL_WINDOW_BYTES, async ({ client, server }) => {
    const sending = sendAll(server, ANSWER_BYTES).catch(() => {});
    await settled();
    client.abort();
    await sending;
  });
});

Deno.test("nor does one that had finished, and whose server has too", async () => {
  await survives(LARGE_WINDOW_BYTES, async ({ client, server }) => {
    await client.closeWrite();
    await Promise.all([sendAll(server, ANSWER_BYTES), countAll(server)]);
    await settled();
    client.abort();
  });
});

Deno.test("nor does a server that resets", async () => {
  await survives(SMALL_WINDOW_BYTES, async ({ server, over }) => {
    const sending = sendAll(server, ANSWER_BYTES).catch(() => {});
    await settled();
    server.abort();
    await Promise.all([sending, over]);
  });
});
