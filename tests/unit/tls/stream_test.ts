import { strictEqual } from "node:assert/strict";
import http2 from "node:http2";
import type { TLSSocket } from "node:tls";
import { type ByteStream, pipe } from "#stream";
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
byteStreamContract("TLS over a pipe", async () => await tlsOver(pipe()));
byteStreamContract("TLS in TLS", async () => await tlsOver(await tlsOver(await tcpPair())));

for (
  const [over, under] of [["TCP", tcpPair], ["a pipe", () => Promise.resolve(pipe())]] as const
) {
  Deno.test({
    name: `the sockets of a TLS connection over ${over} carry node:http2, both sides`,
    sanitizeOps: false,
    sanitizeResources: false,
    async fn() {
      const [client, server] = await tlsOver(await under());
      const socketOf = ({ native }: ByteStream) => (native as { socket: TLSSocket }).socket;
      const serving = http2.performServerHandshake(socketOf(server));
      serving.on("error", () => {});
      serving.on("stream", (stream, headers) => {
        stream.on("error", () => {});
        stream.respond({ ":status": 200, "x-authority": headers[":authority"] });
        stream.pipe(stream);
      });
      const session = http2.connect("http://x", { createConnection: () => socketOf(client) });
      session.on("error", () => {});
      const request = session.request({ ":method": "CONNECT", ":authority": "10.0.0.1:80" });
      request.end("through the tunnel");
      let text = "";
      request.setEncoding("utf8");
      for await (const chunk of request) text += chunk;
      strictEqual(text, "through the tunnel");
      client.abort();
      server.abort();
      await Promise.all([client.closed, server.closed]);
    },
  });
}
