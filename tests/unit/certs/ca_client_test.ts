/** The CA's client against a real gRPC server over TLS (behaviour.md 9.1, 9.5). */
import { deepStrictEqual, match, ok, rejects, strictEqual } from "node:assert/strict";
import { type CaClientOptions, createCaAuthority, createCaClient } from "#certs";
import { createLogHub } from "#log";
import { type Clock, realClock } from "#system";
import { SpiffeId } from "#values";
import { CaServer } from "../../support/ca_server.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { realNetwork } from "../../support/network.ts";
import { until } from "../../support/netns.ts";
import { mintLeaf, mintRoot } from "../../support/pki.ts";

const HOST = "127.58.0.1";
const NAMES = { ips: [Uint8Array.of(127, 58, 0, 1)] };
const root = mintRoot();
const leaf = mintLeaf(root, NAMES);
const WEB = SpiffeId.of("cluster.local", "shop", "web");
const REQUEST = { csrPem: "csr", validitySeconds: 86_400 };
const CHAIN = ["leaf", "roots"];

const test = (name: string, fn: () => Promise<void>) =>
  Deno.test({ name, fn, sanitizeOps: false, sanitizeResources: false });

function clientOf(
  url: string,
  endpoint: Partial<CaClientOptions["endpoint"]> = {},
  clock: Clock = realClock,
) {
  let said = "";
  const hub = createLogHub({
    write: (bytes) => said += new TextDecoder().decode(bytes),
    nowMs: () => 0,
    filter: "info",
    format: "plain",
  });
  const client = createCaClient({
    endpoint: {
      url,
      roots: { kind: "inline", pem: root.pem },
      clusterId: "Kubernetes",
      headers: [],
      ...endpoint,
    },
    clock,
    dialer: realNetwork.dialer,
    log: hub.scope("ztunnel::identity"),
  });
  const log = () => {
    hub.flush();
    return said;
  };
  return { client, log, [Symbol.dispose]: () => client[Symbol.dispose]() };
}

async function startCa(port = 0, chain = [leaf]): Promise<CaServer> {
  const ca = await CaServer.start(HOST, chain, root, port);
  ca.answer = () => CHAIN;
  return ca;
}

async function withFile(text: string, act: (path: string) => Promise<void>): Promise<void> {
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(path, text);
    await act(path);
  } finally {
    await Deno.remove(path);
  }
}

test("9.1: a request has its CSR, its lifetime in seconds, and whom it is for only where somebody is impersonated", async () => {
  using ca = await startCa();
  using one = clientOf(ca.url);
  deepStrictEqual(await one.client.createCertificate(REQUEST), CHAIN);
  await one.client.createCertificate({ ...REQUEST, impersonatedIdentity: WEB });
  const [plain, impersonated] = ca.asked.map(({ request }) => request);
  strictEqual(plain?.csr, "csr");
  strictEqual(plain.validityDuration, 86_400n);
  strictEqual(plain.metadata, undefined);
  deepStrictEqual(impersonated?.metadata, { ImpersonatedIdentity: WEB });
});

test("9.1: token, cluster and CA_HEADER_* travel with each request, and the token's file is read for each", () =>
  withFile("first\n", async (path) => {
    using ca = await startCa();
    using one = clientOf(ca.url, {
      token: { kind: "file", value: path },
      clusterId: "c1",
      headers: [["X-Custom", "yes"]],
    });
    await one.client.createCertificate(REQUEST);
    await Deno.writeTextFile(path, "second");
    await one.client.createCertificate(REQUEST);
    const heard = ca.asked.map(({ metadata }) =>
      ["authorization", "clusterid", "x-custom"].map((name) => metadata.get(name)[0])
    );
    deepStrictEqual(heard, [["Bearer first", "c1", "yes"], ["Bearer second", "c1", "yes"]]);
    await Deno.writeTextFile(path, "");
    await rejects(one.client.createCertificate(REQUEST), /token in .* is empty/);
    strictEqual(ca.peers.size, 1);
  }));

test("9.1: one channel serves a burst and what comes after it, until it is idle", async () => {
  using ca = await startCa();
  const clock = new FakeClock(Date.now());
  using one = clientOf(ca.url, {}, clock);
  await Promise.all(Array.from({ length: 8 }, () => one.client.createCertificate(REQUEST)));
  await clock.advance(20_000);
  await one.client.createCertificate(REQUEST);
  strictEqual(ca.asked.length, 9);
  strictEqual(ca.peers.size, 1);
  await clock.advance(30_000);
  await one.client.createCertificate(REQUEST);
  strictEqual(ca.peers.size, 2, "an idle channel is closed");
});

test("9.1: the server must be of our roots and have the expected name, or the alternative one", async () => {
  using stranger = await startCa(0, [mintLeaf(mintRoot(), NAMES)]);
  using other = await startCa(0, [mintLeaf(root, { dns: ["ca.alt.test"] })]);
  for (const [ca, reason] of [[stranger, /UNAVAILABLE/], [other, /expected/]] as const) {
    using one = clientOf(ca.url);
    await rejects(one.client.createCertificate(REQUEST), reason);
    strictEqual(ca.asked.length, 0);
  }
  using alt = clientOf(other.url, { altHostname: "ca.alt.test" });
  deepStrictEqual(await alt.client.createCertificate(REQUEST), CHAIN);
});

test("9.5, 18.28: changed roots are used by the next request, over a new channel; unusable ones keep the old channel and are told once", () =>
  withFile(root.pem, async (path) => {
    const next = mintRoot({ commonName: "next root" });
    using ca = await startCa();
    using one = clientOf(ca.url, { roots: { kind: "file", path } });
    await one.client.createCertificate(REQUEST);
    await Deno.writeTextFile(path, "junk");
    await one.client.createCertificate(REQUEST);
    await one.client.createCertificate(REQUEST);
    await Deno.remove(path);
    await one.client.createCertificate(REQUEST);
    // Mended, and broken again in the same way: that is news.
    await Deno.writeTextFile(path, root.pem);
    await one.client.createCertificate(REQUEST);
    await Deno.remove(path);
    await one.client.createCertificate(REQUEST);
    strictEqual(ca.peers.size, 1);
    strictEqual(one.log().match(/new roots .* cannot be used/g)?.length, 3, one.log());
    // Old and new trusted together.
    await Deno.writeTextFile(path, root.pem + next.pem);
    await one.client.createCertificate(REQUEST);
    strictEqual(ca.peers.size, 2);
    match(one.log(), /the roots of the certificate authority's server changed/);
    const { port } = ca;
    ca[Symbol.dispose]();
    using rotated = await startCa(port, [mintLeaf(next, NAMES)]);
    deepStrictEqual(await one.client.createCertificate(REQUEST), CHAIN);
    strictEqual(rotated.asked.length, 1);
    // The old root alone: the server is a stranger now.
    await Deno.writeTextFile(path, root.pem);
    await rejects(one.client.createCertificate(REQUEST), /UNAVAILABLE/);
    await Deno.writeTextFile(path, next.pem);
    deepStrictEqual(await one.client.createCertificate(REQUEST), CHAIN);
  }));

test("9.5, 18.28: unusable roots leave the earlier ones in force, also when the channel was idle and is closed", () =>
  withFile(root.pem, async (path) => {
    const clock = new FakeClock(Date.now());
    using ca = await startCa();
    using one = clientOf(ca.url, { roots: { kind: "file", path } }, clock);
    await one.client.createCertificate(REQUEST);
    await Deno.writeTextFile(path, "junk");
    for (let renewal = 2; renewal <= 3; renewal++) {
      await clock.advance(60_000);
      deepStrictEqual(await one.client.createCertificate(REQUEST), CHAIN);
      strictEqual(ca.peers.size, renewal, "over a channel of its own");
    }
    strictEqual(one.log().match(/new roots .* cannot be used, the old stay/g)?.length, 1);
    // Roots that can be used count, whoever they trust.
    await Deno.writeTextFile(path, mintRoot({ commonName: "another root" }).pem);
    await clock.advance(60_000);
    await rejects(one.client.createCertificate(REQUEST), /UNAVAILABLE/);
  }));

test("18.28: roots that do not exist yet are read again for the next request", async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/later.pem`;
  using ca = await startCa();
  using one = clientOf(ca.url, { roots: { kind: "file", path } });
  await rejects(one.client.createCertificate(REQUEST), /cannot read root certificates in .*later/);
  await Deno.writeTextFile(path, root.pem);
  deepStrictEqual(await one.client.createCertificate(REQUEST), CHAIN);
  await Deno.remove(folder, { recursive: true });
});

test("9.1: a channel that the server has closed meanwhile costs nobody a failure", async () => {
  const first = await startCa();
  using one = clientOf(first.url);
  await one.client.createCertificate(REQUEST);
  first[Symbol.dispose]();
  using second = await startCa(first.port);
  deepStrictEqual(await one.client.createCertificate(REQUEST), CHAIN);
  strictEqual(second.asked.length, 1);
});

test("9.1: a refusal is told with its status, and the channel stays", async () => {
  using ca = await startCa();
  using one = clientOf(ca.url);
  ca.answer = () => ({ code: 16, details: "token is expired" });
  await rejects(one.client.createCertificate(REQUEST), /UNAUTHENTICATED: token is expired/);
  await rejects(one.client.createCertificate(REQUEST), /UNAUTHENTICATED/);
  strictEqual(ca.asked.length, 2, "asked once each time");
  strictEqual(ca.peers.size, 1);
});

test("9.1: a CA that does not answer is given up in time, and asked over another channel next", async () => {
  using ca = await startCa();
  const clock = new FakeClock(Date.now());
  using one = clientOf(ca.url, {}, clock);
  let answer = () => {};
  ca.answer = () => new Promise((resolve) => answer = () => resolve(CHAIN));
  const asking = rejects(one.client.createCertificate(REQUEST), /no answer in 20000 ms/);
  await until("it was asked", () => ca.asked.length === 1);
  await clock.advance(20_000);
  await asking;
  answer();
  ca.answer = () => CHAIN;
  deepStrictEqual(await one.client.createCertificate(REQUEST), CHAIN);
  strictEqual(ca.peers.size, 2);
});

test("9.1: a server that is not there is told, and tried again when asked again", async () => {
  const gone = await startCa();
  gone[Symbol.dispose]();
  using one = clientOf(gone.url);
  await rejects(one.client.createCertificate(REQUEST), /ECONNREFUSED/);
  using back = await startCa(gone.port);
  deepStrictEqual(await one.client.createCertificate(REQUEST), CHAIN);
  strictEqual(back.asked.length, 1);
});

test("a disposed client answers nobody any more", async () => {
  using ca = await startCa();
  const { client } = clientOf(ca.url);
  await client.createCertificate(REQUEST);
  client[Symbol.dispose]();
  await rejects(client.createCertificate(REQUEST), /shutting down/);
});

test("9.1, 9.2: authority and client together get a certificate that is ours", async () => {
  using ca = await CaServer.start(HOST, [leaf], root);
  using one = clientOf(ca.url);
  const log = createLogHub({ write: () => {}, nowMs: () => 0, filter: "", format: "plain" })
    .scope("ztunnel::identity");
  const authority = createCaAuthority({
    client: one.client,
    clock: realClock,
    log,
    impersonates: true,
  });
  const bundle = await authority.sign(WEB, 86_400_000);
  strictEqual(bundle.identity, WEB);
  ok(bundle.notAfterMs > Date.now());
  ok(!JSON.stringify(ca.asked.map(({ request }) => request.csr)).includes("PRIVATE"));
});
