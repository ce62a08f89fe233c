/**
 * What every ByteStream keeps, whatever lies underneath (lib/stream/byte_stream.ts). A room that makes
 * streams runs this over a pair of connected ones.
 * @module
 */
import { deepStrictEqual as assertEquals, ok as assert, rejects } from "node:assert/strict";
import { createHash } from "node:crypto";
import { type ByteStream, StreamError, type StreamErrorKind } from "#stream";

/** Two ends of one fresh connection. */
export type StreamPair = () => Promise<[ByteStream, ByteStream]>;

/** What a stream may take in although nobody reads: kernel buffers of both ends, windows, our own queues. */
const UNREAD_BYTES_MAX = 8 * 1024 * 1024;
const TRANSFER_BYTES = 12 * 1024 * 1024;
/** A writer that has made no progress for so long is taken to be blocked. */
const BLOCKED_AFTER_MS = 200;

/** Registers one test for each clause of the contract. */
export function byteStreamContract(name: string, pair: StreamPair): void {
  const clause = (text: string, check: (a: ByteStream, b: ByteStream) => Promise<void>): void => {
    Deno.test({
      name: `${name} ${text}`,
      // A transport may keep a wake-up thread or a listener between its tests.
      sanitizeOps: false,
      sanitizeResources: false,
      async fn() {
        const [a, b] = await pair();
        try {
          await check(a, b);
        } finally {
          a.abort();
          b.abort();
          await Promise.all([a.closed, b.closed]);
        }
      },
    });
  };
  orderClauses(clause);
  endingClauses(clause);
  abortClauses(clause);
  pressureClauses(clause);
}

type Clause = (text: string, check: (a: ByteStream, b: ByteStream) => Promise<void>) => void;

function orderClauses(clause: Clause): void {
  clause("delivers chunks of every size in order, and never an empty one", async (a, b) => {
    const sizes = [1, 0, 2, 1000, 16_384, 65_536, 0, 70_001, 3, 200_000];
    const sent = sizes.map((size, index) => new Uint8Array(size).fill(index + 1));
    const writing = (async () => {
      for (const chunk of sent) await a.write(chunk);
      await a.closeWrite();
    })();
    const got = await collect(b);
    await writing;
    assert(got.smallest > 0, "an empty chunk was read");
    assertEquals(digest([got.bytes]), digest(sent));
  });

  clause("keeps content right when the writer reuses one buffer after each write", async (a, b) => {
    const buffer = new Uint8Array(50_000);
    const expected = createHash("sha256");
    const writing = (async () => {
      for (let round = 0; round < 60; round++) {
        const size = 1 + (round * 7919) % buffer.length;
        buffer.fill(round + 1, 0, size);
        expected.update(buffer.subarray(0, size));
        await a.write(buffer.subarray(0, size));
        buffer.fill(0xee);
      }
      await a.closeWrite();
    })();
    const got = createHash("sha256");
    for (let chunk = await b.read(); chunk !== null; chunk = await b.read()) got.update(chunk);
    await writing;
    assertEquals(got.digest("hex"), expected.digest("hex"));
  });

  clause("moves much both ways at once, whole", async (a, b) => {
    const results = await Promise.all([
      pump(a, 1, TRANSFER_BYTES),
      pump(b, 2, TRANSFER_BYTES),
      swallow(a),
      swallow(b),
    ]);
    assertEquals(results[2], results[1], "from the second to the first");
    assertEquals(results[3], results[0], "from the first to the second");
    await Promise.all([a.closed, b.closed]);
  });

  clause("answers ping with pong many times", async (a, b) => {
    const echo = (async () => {
      for (let chunk = await b.read(); chunk !== null; chunk = await b.read()) await b.write(chunk);
      await b.closeWrite();
    })();
    for (let round = 0; round < 200; round++) {
      const [chunk] = await Promise.all([a.read(), a.write(Uint8Array.of(round))]);
      assertEquals([...chunk!], [round]);
    }
    await a.closeWrite();
    assertEquals(await a.read(), null);
    await echo;
  });
}

function endingClauses(clause: Clause): void {
  clause("reads null after the peer finished, and ever after", async (a, b) => {
    await a.closeWrite();
    for (let times = 0; times < 3; times++) assertEquals(await b.read(), null);
  });

  clause("carries the other direction on after one has finished", async (a, b) => {
    await a.closeWrite();
    assertEquals(await b.read(), null);
    const writing = pump(b, 3, 300_000);
    assertEquals(await swallow(a), await writing);
    await Promise.all([a.closed, b.closed]);
  });

  clause("finishes idempotently and takes nothing afterwards", async (a, b) => {
    await Promise.all([a.closeWrite(), a.closeWrite()]);
    await a.closeWrite();
    await rejects(() => a.write(Uint8Array.of(1)), StreamError);
    assertEquals(await b.read(), null);
  });

  clause("disposes twice after both directions ended, without a reset", async (a, b) => {
    const writing = (async () => {
      await a.write(Uint8Array.of(1, 2, 3));
      await a.closeWrite();
    })();
    assertEquals([...(await collect(b)).bytes], [1, 2, 3]);
    await writing;
    await b.closeWrite();
    assertEquals(await a.read(), null);
    for (const stream of [a, a, b, b]) await stream[Symbol.asyncDispose]();
    assertEquals(await b.read(), null);
  });
}

function abortClauses(clause: Clause): void {
  clause("lets the peer see a reset when aborted", async (a, b) => {
    const reading = kindOf(drain(b));
    a.abort();
    a.abort();
    assertEquals(await reading, "reset");
    assertEquals(await kindOf(b.read()), "reset", "and ever after");
    const writing = await kindOf(b.write(Uint8Array.of(1)));
    assert(writing === "reset" || writing === "broken_pipe", `write after a reset: ${writing}`);
    await Promise.all([a.closed, b.closed]);
  });

  clause("fails its own reads and writes as aborted", async (a) => {
    const reading = kindOf(a.read());
    a.abort();
    assertEquals(await reading, "aborted");
    assertEquals(await kindOf(a.read()), "aborted");
    assertEquals(await kindOf(a.write(Uint8Array.of(1))), "aborted");
    await a.closed;
  });

  clause("frees a blocked writer when it is aborted itself", async (a) => {
    const blocked = writeUntilBlocked(a);
    await blocked.silence;
    a.abort();
    assertEquals(await kindOf(blocked.writing), "aborted");
    await a.closed;
  });

  clause("frees a blocked writer when the peer aborts", async (a, b) => {
    const blocked = writeUntilBlocked(a);
    await blocked.silence;
    b.abort();
    const kind = await kindOf(blocked.writing);
    assert(kind === "reset" || kind === "broken_pipe", `a blocked write ended as ${kind}`);
  });

  clause("aborts when disposed early, twice", async (a, b) => {
    const reading = kindOf(drain(b));
    await Promise.all([a[Symbol.asyncDispose](), a[Symbol.asyncDispose]()]);
    await a[Symbol.asyncDispose]();
    assertEquals(await reading, "reset");
  });
}

function pressureClauses(clause: Clause): void {
  clause("stops a writer that nobody reads, and loses nothing", async (a, b) => {
    const blocked = writeUntilBlocked(a);
    await blocked.silence;
    const taken = blocked.taken();
    assert(taken <= UNREAD_BYTES_MAX, `${taken} bytes were taken although nobody reads`);
    blocked.finish();
    const [read] = await Promise.all([drain(b), blocked.writing.then(() => a.closeWrite())]);
    assertEquals(read, blocked.taken());
  });
}

/** Writes pseudo-random chunks of many sizes, finishes, and returns their digest. */
async function pump(stream: ByteStream, seed: number, bytes: number): Promise<string> {
  const hash = createHash("sha256");
  const pool = pseudoRandom(seed, 1024 * 1024);
  let state = seed;
  for (let left = bytes; left > 0;) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    const size = Math.min(left, 1 + (state >>> 8) % 150_000);
    const start = (state >>> 4) % (pool.length - size);
    const chunk = pool.subarray(start, start + size);
    hash.update(chunk);
    await stream.write(chunk);
    left -= size;
  }
  await stream.closeWrite();
  return hash.digest("hex");
}

async function swallow(stream: ByteStream): Promise<string> {
  const hash = createHash("sha256");
  for (let chunk = await stream.read(); chunk !== null; chunk = await stream.read()) {
    hash.update(chunk);
  }
  return hash.digest("hex");
}

async function drain(stream: ByteStream): Promise<number> {
  let bytes = 0;
  for (let chunk = await stream.read(); chunk !== null; chunk = await stream.read()) {
    bytes += chunk.length;
  }
  return bytes;
}

async function collect(stream: ByteStream): Promise<{ bytes: Uint8Array; smallest: number }> {
  const parts: Uint8Array[] = [];
  for (let chunk = await stream.read(); chunk !== null; chunk = await stream.read()) {
    parts.push(chunk.slice());
  }
  const smallest = Math.min(...parts.map((part) => part.length));
  return { bytes: new Uint8Array(parts.flatMap((part) => [...part])), smallest };
}

/** Keeps writing; `silence` resolves when nothing has been taken for a while. */
function writeUntilBlocked(stream: ByteStream) {
  const chunk = new Uint8Array(64 * 1024).fill(7);
  let taken = 0;
  let finish = false;
  const writing = (async () => {
    while (!finish && taken < 4 * UNREAD_BYTES_MAX) {
      await stream.write(chunk);
      taken += chunk.length;
    }
  })();
  writing.catch(() => {});
  const silence = (async () => {
    for (let before = -1; taken !== before;) {
      before = taken;
      await new Promise((resolve) => setTimeout(resolve, BLOCKED_AFTER_MS));
    }
  })();
  return { writing, silence, taken: () => taken, finish: () => void (finish = true) };
}

/** The kind of the StreamError that `work` rejects with. */
async function kindOf(work: Promise<unknown>): Promise<StreamErrorKind | "no error"> {
  try {
    await work;
    return "no error";
  } catch (error) {
    assert(error instanceof StreamError, `not a StreamError: ${error}`);
    return error.kind;
  }
}

function digest(chunks: readonly Uint8Array[]): string {
  const hash = createHash("sha256");
  for (const chunk of chunks) hash.update(chunk);
  return hash.digest("hex");
}

function pseudoRandom(seed: number, bytes: number): Uint8Array {
  const words = new Uint32Array(bytes / 4);
  let state = seed | 1;
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  return new Uint8Array(words.buffer);
}
