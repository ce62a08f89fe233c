/** `relay` between real sockets: what a user's connection through the proxy looks like from both ends. */
import { deepStrictEqual as assertEquals, ok as assert, rejects } from "node:assert/strict";
import { createHash } from "node:crypto";
import { type Acceptor, type ByteStream, relay, StreamError } from "#stream";
import { realRng, seededRng } from "#system";
import type { Failure } from "#values";
import { bytes, firstArrival, kernel, listenOptions, readText } from "./support.ts";

const dialer = kernel.dialer({});

async function connection(at: string): Promise<[ByteStream, ByteStream]> {
  const acceptor: Acceptor = kernel.listen(listenOptions(at));
  const arriving = firstArrival(acceptor);
  const dialed = await dialer.dial(acceptor.address, { timeoutMs: 30_000 });
  const { stream } = await arriving;
  acceptor.close();
  return [dialed, stream];
}

interface Scene {
  readonly client: ByteStream;
  readonly server: ByteStream;
  readonly result: Promise<Failure | undefined>;
  readonly revoke: (failure: Failure) => void;
  readonly counts: { received: number; sent: number };
  end(): Promise<void>;
}

async function scene(): Promise<Scene> {
  const [client, downstream] = await connection("127.61.4.1");
  const [upstream, server] = await connection("127.61.4.2");
  const revocation = new AbortController();
  const counts = { received: 0, sent: 0 };
  const result = relay({
    downstream,
    upstream,
    meter: {
      received: (count) => void (counts.received += count),
      sent: (count) => void (counts.sent += count),
    },
    revoked: revocation.signal,
  });
  const all = [client, downstream, upstream, server];
  return {
    client,
    server,
    result,
    counts,
    revoke: (failure) => revocation.abort(failure),
    async end() {
      for (const stream of all) await stream[Symbol.asyncDispose]();
    },
  };
}

async function send(stream: ByteStream, seed: number, total: number): Promise<string> {
  const hash = createHash("sha256");
  const pool = crypto.getRandomValues(new Uint8Array(65_536));
  const rng = seededRng(seed);
  for (let left = total; left > 0;) {
    const chunk = pool.subarray(0, Math.min(left, 1 + rng.below(pool.length)));
    hash.update(chunk);
    await stream.write(chunk);
    left -= chunk.length;
  }
  await stream.closeWrite();
  return hash.digest("hex");
}

async function receive(stream: ByteStream): Promise<string> {
  const hash = createHash("sha256");
  for (let chunk = await stream.read(); chunk !== null; chunk = await stream.read()) {
    hash.update(chunk);
  }
  return hash.digest("hex");
}

Deno.test("a relayed connection carries 20 MB each way at once, whole", async () => {
  const { client, server, result, counts, end } = await scene();
  const total = 20_000_000;
  const [up, down, atServer, atClient] = await Promise.all([
    send(client, 1, total),
    send(server, 2, total),
    receive(server),
    receive(client),
  ]);
  assertEquals([atServer, atClient], [up, down]);
  assertEquals(await result, undefined);
  assertEquals(counts, { received: total, sent: total });
  await end();
});

Deno.test("a relayed question and answer keep their half-closes", async () => {
  const { client, server, result, end } = await scene();
  await client.write(bytes("question"));
  await client.closeWrite();
  assertEquals(await readText(server), "question");
  await server.write(bytes("answer"));
  await server.closeWrite();
  assertEquals(await readText(client), "answer");
  assertEquals(await result, undefined);
  await end();
});

Deno.test("an upload that is reset half-way does not look complete to the server", async () => {
  const { client, server, result, end } = await scene();
  await client.write(bytes("half of it"));
  const chunk = await server.read();
  assertEquals(new TextDecoder().decode(chunk!), "half of it");
  client.abort();
  await rejects(() => server.read(), { name: "StreamError", kind: "reset" });
  assertEquals(await result, undefined);
  await end();
});

Deno.test("a revoked connection is reset at both ends although both are blocked", async () => {
  const { client, server, result, revoke, end } = await scene();
  const chunk = new Uint8Array(256 * 1024);
  const flood = async (stream: ByteStream) => {
    for (;;) await stream.write(chunk);
  };
  const floods = [client, server].map((stream) => rejects(() => flood(stream), StreamError));
  await new Promise((resolve) => setTimeout(resolve, 100));
  revoke({ kind: "policy_changed" });
  assertEquals(await result, { kind: "policy_changed" });
  await Promise.all(floods);
  await end();
});

Deno.test("connections cut anywhere end their relay, and leave no rejection behind", async () => {
  const seed = realRng.below(2 ** 31);
  const rng = seededRng(seed);
  const one = async () => {
    const { client, server, result, revoke, end } = await scene();
    const cut = rng.below(4);
    const work = [
      send(client, 3, 400_000),
      send(server, 4, 400_000),
      receive(client),
      receive(server),
    ];
    await new Promise((resolve) => setTimeout(resolve, rng.below(8)));
    if (cut === 0) client.abort();
    if (cut === 1) server.abort();
    if (cut === 2) revoke({ kind: "revoked" });
    for (const outcome of await Promise.allSettled(work)) {
      const ok = outcome.status === "fulfilled" || outcome.reason instanceof StreamError;
      assert(ok, `seed ${seed}: ${outcome.status === "rejected" ? outcome.reason : ""}`);
    }
    const failure = await result;
    assert(failure === undefined || failure.kind === "revoked", `seed ${seed}: ${failure?.kind}`);
    await end();
  };
  for (let round = 0; round < 5; round++) await Promise.all(Array.from({ length: 10 }, one));
});
