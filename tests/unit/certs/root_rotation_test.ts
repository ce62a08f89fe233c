/** Roots arrive with certificates (behaviour.md 9.4): a rotation in which no two neighbours ever lose each other. */
import { rejects, strictEqual } from "node:assert/strict";
import { realClock } from "#system";
import { type CertBundle, createTls } from "#tls";
import { SpiffeId } from "#values";
import { bundleOf, mintLeaf, mintRoot } from "../../support/pki.ts";
import { tcpPair } from "../../support/tcp_pair.ts";

const WEB = SpiffeId.of("cluster.local", "shop", "web");
const CART = SpiffeId.of("cluster.local", "shop", "cart");
const [old, next] = [mintRoot({ commonName: "old" }), mintRoot({ commonName: "next" })];
const tls = createTls(realClock, {});

/** What the CA gives in each step of a rotation: who signs, and who is trusted. */
const STEPS = [
  [old, [old]],
  [old, [old, next]],
  [next, [old, next]],
  [next, [next]],
] as const;
const bundles = (identity: SpiffeId) =>
  STEPS.map(([signer, roots]) =>
    bundleOf(identity, [mintLeaf(signer, { uris: [identity] })], roots)
  );

async function meet(client: CertBundle, server: CertBundle): Promise<void> {
  const [near, far] = await tcpPair();
  const accepting = tls.server(far, server);
  accepting.catch(() => {});
  const connecting = tls.client(near, client, [server.identity]);
  connecting.catch(() => {});
  try {
    const [out, back] = await Promise.all([connecting, accepting]);
    strictEqual(back.peer.identity, client.identity);
    await out.stream.write(Uint8Array.of(1));
    strictEqual((await back.stream.read())?.length, 1);
  } finally {
    for (const each of await Promise.allSettled([connecting, accepting])) {
      if (each.status === "fulfilled") each.value.stream.abort();
    }
  }
}

Deno.test("9.4: through a rotation of the root, workloads of neighbouring steps verify each other in both directions", async () => {
  const [web, cart] = [bundles(WEB), bundles(CART)];
  for (let step = 0; step < STEPS.length; step++) {
    for (const other of [step - 1, step, step + 1]) {
      const [one, two] = [web[step], cart[other]];
      if (one === undefined || two === undefined) continue;
      await meet(one, two);
      await meet(two, one);
    }
  }
});

Deno.test("9.4: a root that did not come with our certificate is not trusted, whoever else trusts it", async () => {
  const [web, cart] = [bundles(WEB), bundles(CART)];
  await rejects(meet(web[0]!, cart[3]!));
  await rejects(meet(cart[3]!, web[0]!));
});
