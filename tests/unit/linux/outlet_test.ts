/** The writing side of TCP: whole also behind the peer's FIN, and ended at its reset. What it leaves open: fd_leaks_child.ts. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { createHash } from "node:crypto";
import { createKernel } from "#linux";
import { type ByteStream, type Flow, flowOf, StreamError } from "#stream";
import { realClock } from "#system";
import { Ip } from "#values";

const HOST = Ip.parse("127.83.1.12")!;
/** Several times what the kernel takes for a reader that does not read. */
const ANSWER_BYTES = 24 << 20;
const CHUNK = crypto.getRandomValues(new Uint8Array(65_536));

const kernel = createKernel({ clock: realClock });

async function pair(): Promise<[dialed: ByteStream, accepted: ByteStream]> {
  const acceptor = kernel.listen({
    at: { ip: HOST, port: 0 },
    transparent: "off",
    redirected: false,
  });
  const accepted = new Promise<ByteStream>((resolve) =>
    acceptor.serve((arrival) => resolve(arrival.stream))
  );
  const dialed = await kernel.dialer({}).dial(acceptor.address, { timeoutMs: 30_000 });
  const streams: [ByteStream, ByteStream] = [dialed, await accepted];
  acceptor.close();
  return streams;
}

async function writeAll(stream: ByteStream): Promise<string> {
  const hash = createHash("sha256");
  for (let at = 0; at < ANSWER_BYTES; at += CHUNK.length) {
    const chunk = CHUNK.slice(0, CHUNK.length);
    new DataView(chunk.buffer).setUint32(0, at);
    hash.update(chunk);
    await stream.write(chunk);
    // It is ours again: what is written over it must not arrive.
    chunk.fill(0);
  }
  await stream.closeWrite();
  return hash.digest("hex");
}

async function readAll(stream: ByteStream): Promise<string> {
  const hash = createHash("sha256");
  for (let chunk = await stream.read(); chunk !== null; chunk = await stream.read()) {
    hash.update(chunk);
  }
  return hash.digest("hex");
}

for (const when of ["before", "during"] as const) {
  for (const who of ["dialed", "accepted"] as const) {
    Deno.test(`who finishes ${when} its answer gets the whole of it from the ${who} side, however slowly it reads`, async () => {
      const [dialed, accepted] = await pair();
      const [client, server] = who === "dialed" ? [accepted, dialed] : [dialed, accepted];
      if (when === "before") await client.closeWrite();
      const answering = writeAll(server);
      await realClock.sleep(100);
      await client.closeWrite();
      assertEquals(await server.read(), null);
      await realClock.sleep(100);
      const [sent, got] = await Promise.all([answering, readAll(client)]);
      assertEquals(got, sent);
      for (const stream of [client, server]) await stream[Symbol.asyncDispose]();
    });
  }
}

Deno.test("a flow writes on behind the peer's FIN, calls back in order, and finishes after all of it", async () => {
  const [client, server] = await pair();
  const flow: Flow = flowOf(server.native)!;
  const ended = Promise.withResolvers<void>();
  flow.start({
    buffer: () => new Uint8Array(1_024),
    received: () => {},
    ended: () => ended.resolve(),
    failed: (error) => ended.reject(error),
  });
  await client.closeWrite();
  await ended.promise;
  const order: number[] = [];
  const hash = createHash("sha256");
  for (let index = 0; index * CHUNK.length < ANSWER_BYTES; index++) {
    hash.update(CHUNK);
    flow.write(CHUNK, () => void order.push(index));
  }
  assert(order.length * CHUNK.length < ANSWER_BYTES, "the kernel did not take all");
  const finished = new Promise<void>((resolve) => flow.closeWrite(resolve));
  assertEquals(await readAll(client), hash.digest("hex"));
  await finished;
  assertEquals(order, Array.from(order.keys()));
  assertEquals(order.length, ANSWER_BYTES / CHUNK.length);
  for (const stream of [client, server]) await stream[Symbol.asyncDispose]();
});

for (const who of ["client", "server"] as const) {
  Deno.test(`a write that waits ends when the ${who} aborts, and the other one sees a reset`, async () => {
    const [client, server] = await pair();
    const writing = writeAll(server).catch((error) => error);
    await realClock.sleep(50);
    (who === "client" ? client : server).abort();
    const error = await writing;
    assert(error instanceof StreamError, String(error));
    if (who === "server") {
      assertEquals(error.kind, "aborted");
      const seen = await readAll(client).catch((cause) => cause);
      assert(seen instanceof StreamError && seen.kind === "reset", "the client sees a reset");
    }
    for (const stream of [client, server]) await stream[Symbol.asyncDispose]();
  });
}
