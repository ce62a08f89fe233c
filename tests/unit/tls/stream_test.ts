import { match, strictEqual } from "node:assert/strict";
import { type ByteStream, flowOf, pipe } from "#stream";
import { realClock } from "#system";
import { createTls } from "#tls";
import type { SpiffeId } from "#values";
import { byteStreamContract } from "../../contract/byte_stream.ts";
import { mintRoot, mintWorkload } from "../../support/pki.ts";
import { tcpPair } from "../../support/tcp_pair.ts";

const WEB = "spiffe://cluster.local/ns/shop/sa/web" as SpiffeId;
const CART = "spiffe://cluster.local/ns/shop/sa/cart" as SpiffeId;
const root = mintRoot();
const [web, cart] = [mintWorkload(WEB, root), mintWorkload(CART, root)];
const tls = createTls(realClock, {});

async function tlsOver(pair: readonly [ByteStream, ByteStream]): Promise<[ByteStream, ByteStream]> {
  const [client, server] = await Promise.all([
    tls.client(pair[0], web, [CART]),
    tls.server(pair[1], cart),
  ]);
  strictEqual(client.peer.identity, CART);
  strictEqual(server.peer.identity, WEB);
  return [client.stream, server.stream];
}

byteStreamContract("TLS over TCP, from the client,", async () => await tlsOver(await tcpPair()));
byteStreamContract("TLS over TCP, from the server,", async () => {
  const [client, server] = await tlsOver(await tcpPair());
  return [server, client];
});

Deno.test({
  name: "TLS sockets that lack something are told once, have no flow, and work all the same",
  sanitizeOps: false,
  sanitizeResources: false,
  async fn() {
    const told: string[] = [];
    const slow = createTls(realClock, {
      missingIn: () => "kBufferCb",
      onFallback: (message) => told.push(message),
    });
    const pair = await tcpPair();
    const [client, server] = await Promise.all([
      slow.client(pair[0], web, [CART]),
      slow.server(pair[1], cart),
    ]);
    for (const { stream } of [client, server]) strictEqual(flowOf(stream.native), undefined);
    await client.stream.write(new TextEncoder().encode("hello"));
    strictEqual(new TextDecoder().decode((await server.stream.read())!), "hello");
    strictEqual(told.length, 1);
    match(told[0]!, /have no kBufferCb/);
    client.stream.abort();
    server.stream.abort();
    await Promise.all([client.stream.closed, server.stream.closed]);
  },
});

byteStreamContract("TLS over a pipe", async () => await tlsOver(pipe()));
byteStreamContract("TLS in TLS", async () => await tlsOver(await tlsOver(await tcpPair())));
