/**
 * The fast road: `relay` between real TCP connections and tunnels over TLS, both proxies in one process, as users have it.
 * Every byte is compared.
 */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { createHash } from "node:crypto";
import type { ClientConnection, Http2Settings } from "#http2";
import { type ByteStream, flowOf, joiningOf, relay, StreamError } from "#stream";
import { realClock, seededRng } from "#system";
import type { Failure } from "#values";
import { both, NO_HEADERS, tcpStreams, tlsStreams } from "./support.ts";

const HOST = "127.83.1.5";

interface Counts {
  received: number;
  sent: number;
}

interface Chain {
  /** The application that calls, and the one that is called. */
  readonly client: ByteStream;
  readonly server: ByteStream;
  /** Of the proxy beside the caller, and of the one beside the called. */
  readonly results: Promise<(Failure | undefined)[]>;
  readonly counts: readonly [Counts, Counts];
  readonly halves: string[];
  readonly revoke: (failure: Failure) => void;
  end(): Promise<void>;
}

interface Mesh extends AsyncDisposable {
  readonly connection: ClientConnection;
  chain(options?: { slow?: boolean }): Promise<Chain>;
}

async function mesh(settings: Partial<Http2Settings> = {}): Promise<Mesh> {
  const arrivals: ((stream: ByteStream) => void)[] = [];
  const ends = await both(
    await tlsStreams(HOST),
    (request) => arrivals.shift()!(request.accept(NO_HEADERS)),
    { server: settings, client: settings },
  );
  return {
    connection: ends.client,
    async chain({ slow = false } = {}) {
      const [client, downstream] = await tcpStreams(HOST);
      const [upstream, server] = await tcpStreams(HOST);
      const accepted = new Promise<ByteStream>((resolve) => arrivals.push(resolve));
      const { stream } = await ends.client.request({ authority: "a:1", headers: NO_HEADERS });
      const tunnel = await accepted;
      const revocation = new AbortController();
      const counts = [{ received: 0, sent: 0 }, { received: 0, sent: 0 }] as const;
      const halves: string[] = [];
      if (!slow) {
        assert(flowOf(downstream.native) !== undefined, "TCP flows");
        assert(joiningOf(stream.native) !== undefined, "tunnels join");
      }
      const plain = (one: ByteStream) => slow ? withoutNative(one) : one;
      const at = (
        [down, up]: [ByteStream, ByteStream],
        count: Counts,
        onHalfClosed: () => void,
      ) =>
        relay({
          downstream: plain(down),
          upstream: plain(up),
          meter: {
            received: (bytes) => void (count.received += bytes),
            sent: (bytes) => void (count.sent += bytes),
          },
          revoked: revocation.signal,
          onHalfClosed,
        });
      const results = Promise.all([
        at([downstream, stream], counts[0], () => void halves.push("out")),
        at([tunnel, upstream], counts[1], () => void halves.push("in")),
      ]);
      const all = [client, downstream, stream, tunnel, upstream, server];
      return {
        client,
        server,
        results,
        counts,
        halves,
        revoke: (failure) => revocation.abort(failure),
        end: async () => {
          for (const one of all) await one[Symbol.asyncDispose]();
        },
      };
    },
    [Symbol.asyncDispose]: () => ends[Symbol.asyncDispose](),
  };
}

/** The same stream, as one that only has promises. */
function withoutNative(stream: ByteStream): ByteStream {
  return {
    read: () => stream.read(),
    write: (chunk) => stream.write(chunk),
    closeWrite: () => stream.closeWrite(),
    abort: () => stream.abort(),
    closed: stream.closed,
    [Symbol.asyncDispose]: () => stream[Symbol.asyncDispose](),
  };
}

const NOISE = crypto.getRandomValues(new Uint8Array(65_536));
const NOISES = Array.from(
  { length: 32 },
  () => crypto.getRandomValues(new Uint8Array(65_536)),
);

/** Random bytes in chunks of every size, with pauses where `stallEvery` says so; returns their digest. */
async function send(
  stream: ByteStream,
  seed: number,
  total: number,
  stallEvery = Infinity,
): Promise<string> {
  const hash = createHash("sha256");
  const rng = seededRng(seed);
  let sinceStall = 0;
  for (let left = total; left > 0;) {
    const noise = NOISES[rng.below(NOISES.length)] ?? NOISE;
    const start = rng.below(1_000);
    const size = rng.below(3) === 0 ? 1 + rng.below(300) : 1 + rng.below(noise.length - start - 1);
    const chunk = noise.subarray(start, start + Math.min(left, size));
    hash.update(chunk);
    await stream.write(chunk);
    left -= chunk.length;
    sinceStall += chunk.length;
    if (sinceStall < stallEvery) continue;
    sinceStall = 0;
    await realClock.sleep(5 + rng.below(20));
  }
  await stream.closeWrite();
  return hash.digest("hex");
}

async function receive(stream: ByteStream, seed: number, stallEvery = Infinity): Promise<string> {
  const hash = createHash("sha256");
  const rng = seededRng(seed);
  let sinceStall = 0;
  for (let chunk = await stream.read(); chunk !== null; chunk = await stream.read()) {
    hash.update(chunk);
    sinceStall += chunk.length;
    if (sinceStall < stallEvery) continue;
    sinceStall = 0;
    await realClock.sleep(5 + rng.below(30));
  }
  return hash.digest("hex");
}

async function bothWays(
  { client, server, results, counts }: Chain,
  seed: number,
  total: number,
  stallEvery?: number,
): Promise<void> {
  const [up, down, atServer, atClient] = await Promise.all([
    send(client, seed, total),
    send(server, seed + 1, total, stallEvery),
    receive(server, seed + 2, stallEvery),
    receive(client, seed + 3, stallEvery),
  ]);
  assertEquals([atServer, atClient], [up, down], `seed ${seed}`);
  assertEquals(await results, [undefined, undefined]);
  assertEquals(counts, [{ received: total, sent: total }, { received: total, sent: total }]);
}

async function kindOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return "no error";
  } catch (error) {
    assert(error instanceof StreamError, String(error));
    return error.kind;
  }
}

async function readAll(stream: ByteStream): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for (let chunk = await stream.read(); chunk !== null; chunk = await stream.read()) {
    text += decoder.decode(chunk, { stream: true });
  }
  return text;
}

const bytes = (text: string) => new TextEncoder().encode(text);

Deno.test("one joined tunnel carries 40 MB of random bytes each way at once, whole", async () => {
  await using made = await mesh();
  const chain = await made.chain();
  await bothWays(chain, 11, 40_000_000);
  await chain.end();
});

Deno.test("sixteen joined tunnels of one connection carry random bytes each way, whole, also past slow and stalling readers", async () => {
  await using made = await mesh();
  const chains = await Promise.all(Array.from({ length: 16 }, () => made.chain()));
  await Promise.all(
    chains.map((chain, index) =>
      bothWays(chain, 100 * index, 4_000_000, index % 3 === 0 ? 300_000 : undefined)
    ),
  );
  for (const chain of chains) await chain.end();
});

Deno.test("many joined tunnels that all have much to say are no flood", async () => {
  await using made = await mesh();
  const chains = await Promise.all(Array.from({ length: 40 }, () => made.chain()));
  const echoing = chains.map(async ({ server }) => {
    for (let chunk = await server.read(); chunk !== null; chunk = await server.read()) {
      await server.write(chunk);
    }
    await server.closeWrite();
  });
  const total = 1_000_000;
  const answers = chains.map(async ({ client }, index) => {
    const [sent, heard] = await Promise.all([
      send(client, index, total),
      receive(client, index),
    ]);
    assertEquals(heard, sent, `stream ${index}`);
  });
  await Promise.all([...echoing, ...answers]);
  for (const chain of chains) {
    assertEquals(await chain.results, [undefined, undefined]);
    await chain.end();
  }
});

Deno.test("joined tunnels with tiny windows lose nothing", async () => {
  await using made = await mesh({
    streamWindowBytes: 5_000,
    explicitWindows: true,
    connectionWindowBytes: 65_535,
    frameBytesMax: 16_384,
  });
  const chains = await Promise.all(Array.from({ length: 8 }, () => made.chain()));
  await Promise.all(chains.map((chain, index) => bothWays(chain, 7 * index, 300_000)));
  for (const chain of chains) await chain.end();
});

Deno.test("a stream between a joined and a plain relay is the same", async () => {
  await using made = await mesh();
  const chain = await made.chain({ slow: true });
  await bothWays(chain, 21, 3_000_000);
  await chain.end();
});

Deno.test("a reader that stands still stops its writer, costs no more than the windows, and stops nobody else", async () => {
  await using made = await mesh();
  const still = await made.chain();
  let taken = 0;
  const flood = (async () => {
    const chunk = new Uint8Array(65_536);
    for (;;) {
      await still.client.write(chunk);
      taken += chunk.length;
    }
  })().catch(() => {});
  for (let before = -1; before !== taken;) {
    before = taken;
    await realClock.sleep(200);
  }
  // Four socket buffers of the kernel's, two stream windows, and queues.
  assert(taken < 40 << 20, `${taken} bytes were taken`);
  const other = await made.chain();
  await bothWays(other, 31, 3_000_000);
  still.client.abort();
  await flood;
  assertEquals(await still.results, [undefined, undefined]);
  for (const chain of [still, other]) await chain.end();
});

for (const slow of [false, true]) {
  const road = slow ? "the promise road" : "the fast road";

  Deno.test(`half-closes pass one by one on ${road}, and are told`, async () => {
    await using made = await mesh();
    const { client, server, results, halves, end } = await made.chain({ slow });
    await client.write(bytes("question"));
    await client.closeWrite();
    assertEquals(await readAll(server), "question");
    await server.write(bytes("answer"));
    await server.closeWrite();
    assertEquals(await readAll(client), "answer");
    assertEquals(await results, [undefined, undefined]);
    assertEquals(halves.toSorted(), ["in", "out"]);
    await end();
  });

  Deno.test(`the server may finish first on ${road}`, async () => {
    await using made = await mesh();
    const { client, server, results, halves, end } = await made.chain({ slow });
    await server.closeWrite();
    assertEquals(await client.read(), null);
    await client.write(bytes("still here"));
    await client.closeWrite();
    assertEquals(await readAll(server), "still here");
    assertEquals(await results, [undefined, undefined]);
    assertEquals(halves.toSorted(), ["in", "out"]);
    await end();
  });

  Deno.test(`a reset on either side passes as a reset on ${road}`, async () => {
    await using made = await mesh();
    for (const who of ["client", "server"] as const) {
      const chain = await made.chain({ slow });
      const other = who === "client" ? chain.server : chain.client;
      await chain[who].write(bytes("half of it"));
      await other.read();
      const reading = kindOf(readAll(other));
      chain[who].abort();
      assertEquals(await reading, "reset", who);
      assertEquals(await chain.results, [undefined, undefined], who);
      await chain.end();
    }
  });

  Deno.test(`a revoked connection is reset at both ends although both are blocked, on ${road}`, async () => {
    await using made = await mesh();
    const { client, server, results, revoke, end } = await made.chain({ slow });
    const flood = async (stream: ByteStream) => {
      const chunk = new Uint8Array(256 * 1024);
      for (;;) await stream.write(chunk);
    };
    const floods = [kindOf(flood(client)), kindOf(flood(server))];
    await realClock.sleep(300);
    revoke({ kind: "policy_changed" });
    assertEquals(await results, [{ kind: "policy_changed" }, { kind: "policy_changed" }]);
    for (const kind of await Promise.all(floods)) {
      assert(kind === "reset" || kind === "broken_pipe", kind);
    }
    await end();
  });

  Deno.test(`the connection's end cuts its tunnels on ${road}`, async () => {
    await using made = await mesh();
    const { client, server, results, end } = await made.chain({ slow });
    await client.write(bytes("hello"));
    await server.read();
    const reading = [kindOf(readAll(client)), kindOf(readAll(server))];
    made.connection.destroy();
    assertEquals(await Promise.all(reading), ["reset", "reset"]);
    assertEquals(await results, [undefined, undefined]);
    await end();
  });
}

Deno.test("joined tunnels cut anywhere end both relays, and leave no rejection behind", async () => {
  const seed = seededRng(Number(crypto.getRandomValues(new Uint32Array(1))[0]) % 2 ** 31);
  await using made = await mesh();
  const one = async () => {
    const chain = await made.chain();
    const { client, server, results, revoke, end } = chain;
    const cut = seed.below(4);
    const work = [
      send(client, 3, 1_000_000),
      send(server, 4, 1_000_000),
      receive(client, 5),
      receive(server, 6),
    ];
    await realClock.sleep(seed.below(10));
    if (cut === 0) client.abort();
    if (cut === 1) server.abort();
    if (cut === 2) revoke({ kind: "revoked" });
    for (const outcome of await Promise.allSettled(work)) {
      assert(outcome.status === "fulfilled" || outcome.reason instanceof StreamError);
    }
    for (const failure of await results) {
      assert(failure === undefined || failure.kind === "revoked");
    }
    await end();
  };
  for (let round = 0; round < 4; round++) await Promise.all(Array.from({ length: 10 }, one));
  assertEquals(made.connection.activeStreams, 0);
});
