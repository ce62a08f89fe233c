import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import type { TLSSocket } from "node:tls";
import { realClock } from "#system";
import { createTls, type Secured } from "#tls";
import type { SpiffeId } from "#values";
import { bundleOf, mintIntermediate, mintLeaf, mintRoot } from "../../support/pki.ts";
import { tcpPair } from "../../support/tcp_pair.ts";
import { handleOf, presentedChain } from "../../../lib/tls/handle.ts";

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
