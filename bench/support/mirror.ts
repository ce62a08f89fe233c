/**
 * An application for the benchmark and its callers: a server that sends back what it gets, a caller that compares every
 * byte of it, and one that holds idle connections. A program of its own, run in a host.
 *
 * mirror.ts serve PORT | compare HOST PORT STREAMS MEGABYTES | idle HOST PORT COUNT
 * @module
 */

/** Random bytes that all streams send from, each from a place of its own. */
const NOISE_BYTES = 8 << 20;
const CHUNK_BYTES = 64 << 10;
/** Connections that are opened at one time. */
const OPENING_MAX = 50;

async function serve(port: number): Promise<void> {
  const listener = Deno.listen({ hostname: "0.0.0.0", port });
  for await (const connection of listener) {
    (async () => {
      await connection.readable.pipeTo(connection.writable);
    })().catch(() => {});
  }
}

interface Compared {
  readonly bytes: number;
  readonly seconds: number;
}

/** Sends `megabytes` on each of `streams` at once and compares what comes back; throws at the first wrong byte. */
async function compare(
  hostname: string,
  port: number,
  streams: number,
  megabytes: number,
): Promise<Compared> {
  const noise = noiseOf(NOISE_BYTES);
  const total = megabytes << 20;
  const startMs = performance.now();
  await Promise.all(Array.from({ length: streams }, async (_, index) => {
    const connection = await Deno.connect({ hostname, port });
    const start = index * 104_729 % NOISE_BYTES;
    await Promise.all([
      send(connection, noise, start, total),
      check(connection, noise, start, total, index),
    ]);
    connection.close();
  }));
  return { bytes: 2 * streams * total, seconds: (performance.now() - startMs) / 1_000 };
}

async function send(
  connection: Deno.TcpConn,
  noise: Uint8Array,
  start: number,
  total: number,
): Promise<void> {
  for (let at = 0; at < total;) {
    const from = (start + at) % noise.length;
    const piece = noise.subarray(from, from + Math.min(CHUNK_BYTES, total - at));
    at += await connection.write(piece);
  }
  await connection.closeWrite();
}

async function check(
  connection: Deno.TcpConn,
  noise: Uint8Array,
  start: number,
  total: number,
  stream: number,
): Promise<void> {
  const buffer = new Uint8Array(CHUNK_BYTES);
  let at = 0;
  for (let count = await connection.read(buffer); count !== null;) {
    for (let done = 0; done < count;) {
      const from = (start + at) % noise.length;
      const length = Math.min(count - done, noise.length - from);
      if (!isEqual(buffer.subarray(done, done + length), noise.subarray(from, from + length))) {
        throw new Error(`stream ${stream}: wrong bytes after ${at} right ones`);
      }
      at += length;
      done += length;
    }
    count = await connection.read(buffer);
  }
  if (at !== total) throw new Error(`stream ${stream}: ${at} of ${total} bytes came back`);
}

function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  for (let index = 0; index < a.length; index++) if (a[index] !== b[index]) return false;
  return true;
}

function noiseOf(bytes: number): Uint8Array {
  const noise = new Uint8Array(bytes);
  for (let at = 0; at < bytes; at += 65_536) {
    crypto.getRandomValues(noise.subarray(at, at + 65_536));
  }
  return noise;
}

/** Opens so many connections, each with one byte there and back, and keeps them. */
async function idle(hostname: string, port: number, count: number): Promise<Deno.TcpConn[]> {
  const connections: Deno.TcpConn[] = [];
  let left = count;
  await Promise.all(Array.from({ length: OPENING_MAX }, async () => {
    while (left-- > 0) {
      const connection = await Deno.connect({ hostname, port });
      connections.push(connection);
      await connection.write(Uint8Array.of(7));
      const answer = new Uint8Array(1);
      if (await connection.read(answer) !== 1 || answer[0] !== 7) throw new Error("no answer");
    }
  }));
  return connections;
}

async function main([mode, ...args]: readonly string[]): Promise<void> {
  if (mode === "serve") return await serve(Number(args[0]));
  const [hostname, port] = [args[0]!, Number(args[1])];
  if (mode === "compare") {
    const compared = await compare(hostname, port, Number(args[2]), Number(args[3]));
    return console.log(`COMPARED ${JSON.stringify(compared)}`);
  }
  if (mode !== "idle") throw new Error(`unknown mode "${mode}"`);
  const held = await idle(hostname, port, Number(args[2]));
  console.log(`HELD ${held.length}`);
  await new Promise(() => setInterval(() => held.length, 60_000));
}

if (import.meta.main) {
  await main(Deno.args).catch((error) => {
    console.error(`mirror: ${error instanceof Error ? error.message : error}`);
    Deno.exit(1);
  });
}
