import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { Buffer } from "node:buffer";
import type { TLSSocket } from "node:tls";
import { realClock } from "#system";
import { createTls, type Secured } from "#tls";
import type { SpiffeId } from "#values";
import { bundleOf, mintIntermediate, mintLeaf, mintRoot } from "../../support/pki.ts";
import { tcpPair } from "../../support/tcp_pair.ts";
import {
  handleOf,
  missingIn,
  presentedChain,
  readInto,
  WRITE_BYTES_MAX,
  writeNow,
} from "../../../lib/tls/handle.ts";

const WEB = "spiffe://cluster.local/ns/shop/sa/web" as SpiffeId;

Deno.test({
  name: "the runtime's TLS handle has what lib/tls/handle.ts says, on both ends",
  sanitizeOps: false,
  sanitizeResources: false,
  async fn() {
    const root = mintRoot();
    const middle = mintIntermediate(root);
    const leaf = mintLeaf(middle, { uris: [WEB] });
    const bundle = bundleOf(WEB, [leaf, middle], [root]);
    const tls = createTls(realClock, {});
    const [near, far] = await tcpPair();
    const ends = await Promise.all([tls.client(near, bundle, [WEB]), tls.server(far, bundle)]);
    const chain = [leaf, middle].map(({ der }) => new Uint8Array(der).toHex());
    for (const { stream, peer } of ends) {
      const { socket } = stream.native as { socket: TLSSocket };
      const handle = handleOf(socket);
      const presented = presentedChain(handle).map((der) => new Uint8Array(der).toHex());
      deepStrictEqual(presented, chain, "exactly what was presented, without the root");
      deepStrictEqual(peer.path.map((der) => new Uint8Array(der).toHex()), chain);
      ok(handle?._nativeTcpHandle, "the TCP handle");
      for (const name of ["readStart", "readStop", "onread"] as const) {
        strictEqual(typeof handle._nativeTcpHandle[name], "function", name);
      }
    }
    for (const { stream } of ends as Secured[]) stream.abort();
    await Promise.all(ends.map(({ stream }) => stream.closed));
  },
});

async function tlsPair() {
  const root = mintRoot();
  const bundle = bundleOf(WEB, [mintLeaf(root, { uris: [WEB] })], [root]);
  const tls = createTls(realClock, {});
  const [near, far] = await tcpPair();
  const [client, server] = await Promise.all([
    tls.client(near, bundle, [WEB]),
    tls.server(far, bundle),
  ]);
  const socketOf = ({ stream }: Secured) => (stream.native as { socket: TLSSocket }).socket;
  return {
    client: socketOf(client),
    server: socketOf(server),
    async end() {
      for (const { stream } of [client, server]) stream.abort();
      await Promise.all([client.stream.closed, server.stream.closed]);
    },
  };
}

/** Reads the socket into one buffer of `size` bytes. */
function collect(socket: TLSSocket, size: number) {
  const parts: Uint8Array[] = [];
  const state = { bytes: 0, tcpEnds: 0, largest: 0 };
  const buffer = new Uint8Array(size);
  readInto(socket, {
    buffer: () => buffer,
    received(count) {
      parts.push(buffer.slice(0, count));
      state.bytes += count;
      state.largest = Math.max(state.largest, count);
    },
    tcpEnded: () => void state.tcpEnds++,
  });
  handleOf(socket)!._nativeTcpHandle!.readStart();
  return { state, all: () => new Uint8Array(Buffer.concat(parts)) };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await realClock.sleep(5);
}

Deno.test({
  name: "missingIn() finds nothing missing in a TLS socket of this runtime, and names what is",
  sanitizeOps: false,
  sanitizeResources: false,
  async fn() {
    const { client, server, end } = await tlsPair();
    deepStrictEqual([missingIn(client), missingIn(server)], [undefined, undefined]);
    strictEqual(missingIn({ _handle: null } as unknown as TLSSocket), "TCP handle");
    await end();
  },
});

Deno.test({
  name: "readInto() gets all plaintext in our buffer, whatever the sizes, and the end of TCP",
  sanitizeOps: false,
  sanitizeResources: false,
  async fn() {
    const { client, server, end } = await tlsPair();
    const sent = crypto.getRandomValues(new Uint8Array(65_536));
    const { state, all } = collect(server, 10_000);
    for (let round = 0; round < 30; round++) client.write(sent);
    await until(() => state.bytes === 30 * sent.length);
    strictEqual(state.largest, 10_000);
    ok(Buffer.concat(Array(30).fill(sent)).equals(all()), "the same bytes");
    strictEqual(state.tcpEnds, 0);
    client.end();
    await until(() => state.tcpEnds === 1);
    await end();
  },
});

Deno.test({
  name:
    "writeNow() copies before it returns, many times in a row, and is done once all is with the kernel",
  sanitizeOps: false,
  sanitizeResources: false,
  async fn() {
    const { client, server, end } = await tlsPair();
    const { state, all } = collect(server, 160 * 1024);
    const chunk = new Uint8Array(WRITE_BYTES_MAX);
    const expected: Uint8Array[] = [];
    const done: number[] = [];
    // Far above the kernel's buffers: they fill up while we write.
    for (let round = 0; round < 200; round++) {
      crypto.getRandomValues(chunk.subarray(0, WRITE_BYTES_MAX - round % 7));
      const piece = chunk.subarray(0, WRITE_BYTES_MAX - round % 7);
      expected.push(piece.slice());
      writeNow(client, piece, (error) => {
        strictEqual(error ?? null, null);
        done.push(round);
      });
      // What the runtime has not copied by now would arrive as zeros.
      chunk.fill(0);
    }
    await until(() => done.includes(199));
    deepStrictEqual(done.at(-1), 199, "the last one's callback comes");
    const total = expected.reduce((sum, piece) => sum + piece.length, 0);
    await until(() => state.bytes === total);
    ok(Buffer.concat(expected).equals(all()), "the same bytes");
    await end();
  },
});
