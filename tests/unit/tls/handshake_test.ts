import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { connect, createSecureContext, type TLSSocket, TLSSocket as Socket } from "node:tls";
import { realClock } from "#system";
import { createTls, type TlsOptions } from "#tls";
import type { Refusal, SpiffeId } from "#values";
import { attacks } from "../../support/attacks.ts";
import { codeOf, outcomeOf, refusalIn } from "../../support/outcome.ts";
import { type Minted, mintLeaf, mintRoot, mintWorkload, newKeys } from "../../support/pki.ts";
import { type Credentials, Tls13Attacker } from "../../support/tls13.ts";
import { dial, listen, type SocketStream, tcpPair } from "../../support/tcp_pair.ts";

const HOST = "127.53.0.1";
const WEB = "spiffe://cluster.local/ns/shop/sa/web" as SpiffeId;
const CART = "spiffe://cluster.local/ns/shop/sa/cart" as SpiffeId;
const FOREIGN = "spiffe://other.test/ns/shop/sa/web" as SpiffeId;
const root = mintRoot();
const [web, cart] = [mintWorkload(WEB, root), mintWorkload(CART, root)];
const TIMEOUT_MS = 30_000;

const test = (name: string, fn: () => Promise<void>) =>
  Deno.test({ name, fn, sanitizeOps: false, sanitizeResources: false });

/** An attacker on node:tls: it says hello once it may, and remembers every byte that it is told. */
class Attacker {
  readonly heard: Uint8Array[] = [];
  readonly over: Promise<void>;
  constructor(readonly socket: TLSSocket, say: "secure" | "secureConnect") {
    socket.on("error", () => {});
    // The runtime shows a reset as an end.
    socket.on("end", () => socket.destroy());
    socket.on("data", (chunk: Uint8Array) => this.heard.push(chunk));
    socket.once(say, () => socket.write("attack"));
    this.over = new Promise((resolve) => socket.once("close", () => resolve()));
  }
}

const contextOf = (chain: readonly Minted[], options: object = {}) =>
  createSecureContext({
    cert: chain.map(({ pem }) => pem).join(""),
    key: chain[0]!.keyPem,
    ...options,
  });

function attackServer(stream: SocketStream, chain: readonly Minted[], options: object): Attacker {
  return new Attacker(
    new Socket(stream.socket, {
      isServer: true,
      secureContext: contextOf(chain),
      ALPNProtocols: ["h2"] as never,
      ...options,
    }),
    "secure",
  );
}

function attackClient(
  stream: SocketStream,
  chain: readonly Minted[] | undefined,
  options: object = {},
): Attacker {
  const secureContext = chain === undefined ? createSecureContext({}) : contextOf(chain, options);
  const base = { socket: stream.socket, rejectUnauthorized: false, ALPNProtocols: ["h2"] };
  return new Attacker(connect({ ...base, secureContext, ...options }), "secureConnect");
}

/** Our client against an attacker's server. */
async function clientMeets(chain: readonly Minted[], options: object = {}): Promise<Refusal> {
  const [near, far] = await tcpPair(HOST);
  const attacker = attackServer(far, chain, options);
  const tls = createTls(realClock, { handshakeTimeoutMs: TIMEOUT_MS });
  const refusal = refusalIn(await outcomeOf(tls.client(near, web, [CART])));
  await Promise.all([near.closed, attacker.over]);
  strictEqual(Buffer.concat(attacker.heard).length, 0, "the attacker was told something");
  strictEqual(refusal.failure.kind, "tls_handshake");
  return refusal;
}

/** Our server against an attacker's client. */
async function serverMeets(
  chain: readonly Minted[] | undefined,
  options: object = {},
  tlsOptions: TlsOptions = {},
): Promise<Refusal> {
  const [far, near] = await tcpPair(HOST);
  const attacker = attackClient(far, chain, options);
  const tls = createTls(realClock, { handshakeTimeoutMs: TIMEOUT_MS, ...tlsOptions });
  const refusal = refusalIn(await outcomeOf(tls.server(near, cart)));
  await Promise.all([near.closed, attacker.over]);
  strictEqual(Buffer.concat(attacker.heard).length, 0, "the attacker was told something");
  strictEqual(refusal.failure.kind, "tls_handshake");
  return refusal;
}

/** One end of ours against an attacker that signs with the key it has, whatever its certificate says. */
async function meetRaw(
  attacking: "client" | "server",
  credentials: Credentials,
): Promise<{ readonly refusal: Refusal }> {
  const [far, near] = await tcpPair(HOST);
  const attacker = new Tls13Attacker(far.socket, attacking, credentials);
  const tls = createTls(realClock, { handshakeTimeoutMs: TIMEOUT_MS });
  const work = attacking === "server" ? tls.client(near, web, [CART]) : tls.server(near, cart);
  const refusal = refusalIn(await outcomeOf(work));
  await Promise.all([near.closed, attacker.over]);
  strictEqual(Buffer.concat(attacker.heard).length, 0, "the attacker was told something");
  strictEqual(refusal.failure.kind, "tls_handshake");
  return { refusal };
}

const credentialsOf = (chain: readonly Minted[]): Credentials => ({
  chain: chain.map(({ der }) => der),
  key: chain[0]!.keys.privateKey,
});

test("client() and server() accept the raw peer of these tests when it is honest", async () => {
  for (const role of ["client", "server"] as const) {
    const [far, near] = await tcpPair(HOST);
    const names = { uris: [role === "server" ? CART : WEB] };
    const peer = new Tls13Attacker(far.socket, role, credentialsOf([mintLeaf(root, names)]));
    const tls = createTls(realClock, { handshakeTimeoutMs: TIMEOUT_MS });
    const work = role === "server" ? tls.client(near, web, [CART]) : tls.server(near, cart);
    const { stream } = await work;
    strictEqual(Buffer.from((await stream.read())!).toString(), "attack");
    await stream.write(Buffer.from("answer"));
    await stream.closeWrite();
    await peer.over;
    strictEqual(Buffer.concat(peer.heard).toString(), "answer");
    stream.abort();
  }
});

for (const attack of attacks(root, { uris: [CART] })) {
  test(`client() refuses ${attack.name}: ${attack.code}`, async () => {
    const { refusal } = await meetRaw("server", credentialsOf(attack.chain));
    if (codeOf(refusal) !== undefined) strictEqual(codeOf(refusal), attack.code);
    else match(refusal.message, /cannot see that the server has its certificate's private key/);
    // These the runtime lets pass, so the refusal must be ours.
    if (["version", "not_canonical"].includes(attack.code)) ok(codeOf(refusal), refusal.message);
  });
}

for (const attack of attacks(root, { uris: [WEB] })) {
  test(`server() refuses ${attack.name}: ${attack.code}`, async () => {
    const { refusal } = await meetRaw("client", credentialsOf(attack.chain));
    if (codeOf(refusal) !== undefined) strictEqual(codeOf(refusal), attack.code);
    // What the runtime cannot read at all does not reach us here.
    else match(refusal.message, /UNABLE_TO_GET_ISSUER_CERT/);
  });
}

test("client() and server() refuse a genuine certificate without its private key", async () => {
  for (const [role, name] of [["client", WEB], ["server", CART]] as const) {
    const { der } = mintLeaf(root, { uris: [name] });
    const { refusal } = await meetRaw(role, { chain: [der], key: newKeys("p256").privateKey });
    match(refusal.message, /cannot see that the server has|UNABLE_TO_GET_ISSUER_CERT/);
  }
});

test("client() refuses a server that is somebody else", async () => {
  const refusal = await clientMeets([mintLeaf(root, { uris: [WEB] })]);
  match(refusal.message, /the server is spiffe:.*sa\/web, expected spiffe:.*sa\/cart/);
});

test("client() refuses a server whose names only look like the expected one", async () => {
  const names = { uris: [`${WEB}, URI:${CART}`], dns: [`a, URI:${CART}`] };
  match((await clientMeets([mintLeaf(root, names)])).message, /without a SPIFFE identity/);
});

test("client() refuses a server for clients only", async () => {
  const leaf = mintLeaf(root, { uris: [CART], extKeyUsage: ["client"] });
  strictEqual(codeOf(await clientMeets([leaf])), "wrong_usage");
});

test("client() refuses a server without ALPN, and one of TLS 1.2", async () => {
  const leaf = [mintLeaf(root, { uris: [CART] })];
  match((await clientMeets(leaf, { ALPNProtocols: undefined })).message, /ALPN is absent/);
  const old = { secureContext: contextOf(leaf, { maxVersion: "TLSv1.2" }) };
  match((await clientMeets(leaf, old)).message, /handshake failed: .*(version|closed|alert)/i);
});

test("server() refuses a client of another trust domain, and one without a SPIFFE name", async () => {
  const foreign = await serverMeets([mintLeaf(root, { uris: [FOREIGN] })]);
  match(foreign.message, /spiffe:\/\/other.test.*not of trust domain "cluster.local"/);
  const nameless = await serverMeets([mintLeaf(root, { dns: ["web.shop"] })]);
  match(nameless.message, /without a SPIFFE identity, not of trust domain/);
});

test("server() refuses a client whose names only look like one of its trust domain", async () => {
  const names = { uris: [`${FOREIGN}, URI:${WEB}`], dns: [`a, URI:${WEB}`] };
  match((await serverMeets([mintLeaf(root, names)])).message, /not of trust domain/);
});

test("server() refuses a client for servers only", async () => {
  const leaf = mintLeaf(root, { uris: [WEB], extKeyUsage: ["server"] });
  strictEqual(codeOf(await serverMeets([leaf])), "wrong_usage");
});

test("server() refuses a client without a certificate", async () => {
  match((await serverMeets(undefined)).message, /PEER_DID_NOT_RETURN_A_CERTIFICATE/);
});

test("server() refuses a client without ALPN, and one that speaks something else", async () => {
  const leaf = [mintLeaf(root, { uris: [WEB] })];
  match((await serverMeets(leaf, { ALPNProtocols: undefined })).message, /ALPN is absent/);
  match(
    (await serverMeets(leaf, { ALPNProtocols: ["http/1.1"] })).message,
    /NO_APPLICATION_PROTOCOL/,
  );
});

test("server() refuses TLS 1.2 unless it is allowed", async () => {
  const leaf = [mintLeaf(root, { uris: [WEB] })];
  match(
    (await serverMeets(leaf, { maxVersion: "TLSv1.2" })).message,
    /Tls12NotOfferedOrEnabled|UNSUPPORTED_PROTOCOL/,
  );
  const [far, near] = await tcpPair(HOST);
  const attacker = attackClient(far, leaf, { maxVersion: "TLSv1.2" });
  const { peer, stream } = await createTls(realClock, { allowTls12: true }).server(near, cart);
  strictEqual(attacker.socket.getProtocol(), "TLSv1.2");
  strictEqual(peer.identity, WEB);
  stream.abort();
  await stream.closed;
});

const NOT_TLS: readonly [string, Uint8Array][] = [
  ["plain HTTP", Buffer.from("GET / HTTP/1.1\r\nhost: x\r\n\r\n")],
  ["an HTTP/2 preface", Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")],
  ["garbage", Uint8Array.from({ length: 600 }, (_, i) => (i * 7919) & 0xff)],
];
for (const [what, bytes] of NOT_TLS) {
  test(`server() refuses ${what} and resets`, async () => {
    const [far, near] = await tcpPair(HOST);
    far.socket.resume();
    far.socket.write(bytes);
    const tls = createTls(realClock, { handshakeTimeoutMs: TIMEOUT_MS });
    const refusal = refusalIn(await outcomeOf(tls.server(near, cart)));
    match(refusal.message, /^tls handshake failed: .{5}/);
    await near.closed;
    far.abort();
  });
}

const HALF_HELLO = Uint8Array.of(0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03);
for (const [what, bytes] of [["silence", Buffer.alloc(0)], ["half a hello", HALF_HELLO]] as const) {
  test(`server() gives up after ${what}, within its time`, async () => {
    const [far, near] = await tcpPair(HOST);
    far.socket.resume();
    far.socket.write(bytes);
    const tls = createTls(realClock, { handshakeTimeoutMs: 150 });
    const refusal = refusalIn(await outcomeOf(tls.server(near, cart)));
    match(refusal.message, /no handshake within 150 ms/);
    await Promise.all([near.closed, far.closed]);
  });
  test(`client() gives up after ${what}, within its time`, async () => {
    const [near, far] = await tcpPair(HOST);
    far.socket.resume();
    const tls = createTls(realClock, { handshakeTimeoutMs: 150 });
    const refusal = refusalIn(await outcomeOf(tls.client(near, web, [CART])));
    match(refusal.message, /no handshake within 150 ms/);
    await Promise.all([near.closed, far.closed]);
  });
}

test("server() refuses a peer that leaves in the middle, by FIN or by RST", async () => {
  for (const leave of ["end", "resetAndDestroy"] as const) {
    const [far, near] = await tcpPair(HOST);
    far.socket.resume();
    far.socket.write(HALF_HELLO, () => far.socket[leave]());
    const tls = createTls(realClock, { handshakeTimeoutMs: TIMEOUT_MS });
    const refusal = refusalIn(await outcomeOf(tls.server(near, cart)));
    match(refusal.message, /^tls handshake failed: .{5}/);
    await near.closed;
    far.abort();
  }
});

test("server() refuses at once a connection that was over before its handshake", async () => {
  const [, near] = await tcpPair(HOST);
  near.abort();
  await near.closed;
  const tls = createTls(realClock, { handshakeTimeoutMs: 60_000 });
  const { failure } = refusalIn(await outcomeOf(tls.server(near, cart)));
  deepStrictEqual(failure, {
    kind: "tls_handshake",
    cause: "the connection was closed before its handshake",
  });
});

test("client() and server() refuse an unusable bundle, without quoting its key", async () => {
  const other = mintWorkload(CART, root);
  const broken = [
    { ...cart, chainPem: "junk" },
    { ...cart, privateKeyPem: cart.privateKeyPem.replaceAll("A", "B") },
    { ...cart, privateKeyPem: other.privateKeyPem },
    {
      ...cart,
      privateKeyPem: "-----BEGIN PRIVATE KEY-----\nSECRETSECRET\n-----END PRIVATE KEY-----",
    },
    { ...cart, rootsPem: "" },
  ];
  for (const bundle of broken) {
    for (const side of ["client", "server"] as const) {
      const [far, near] = await tcpPair(HOST);
      const tls = createTls(realClock, {});
      const work = side === "client" ? tls.client(near, bundle, [WEB]) : tls.server(near, bundle);
      const { failure, message } = refusalIn(await outcomeOf(work));
      strictEqual(failure.kind, "tls_config");
      const secrets = bundle.privateKeyPem.split("\n").filter((line) => !line.startsWith("-----"));
      ok(!secrets.some((line) => line !== "" && message.includes(line)), message);
      await near.closed;
      far.abort();
    }
  }
});

test("client() and server() with a chain of three know each other, again and again", async () => {
  const tls = createTls(realClock, {});
  for (let round = 0; round < 5; round++) {
    const [near, far] = await tcpPair(HOST);
    const [client, server] = await Promise.all([
      tls.client(near, web, [WEB, CART]),
      tls.server(far, cart),
    ]);
    deepStrictEqual(client.peer.identities, [CART]);
    deepStrictEqual(server.peer.identities, [WEB]);
    client.stream.abort();
    server.stream.abort();
  }
});

test("server() keeps what a client sent with its handshake", async () => {
  using listener = await listen(HOST, (stream) => {
    createTls(realClock, {}).server(stream, cart).then(async (secured) => {
      await secured.stream.write((await secured.stream.read())!);
      await secured.stream.closeWrite();
    }, () => {});
  });
  const client = attackClient(await dial(listener.port, HOST), [mintLeaf(root, { uris: [WEB] })]);
  await new Promise((resolve) => client.socket.once("data", resolve));
  strictEqual(Buffer.concat(client.heard).toString(), "attack");
  client.socket.destroy();
  await client.over;
});

test("client() and server() refuse no less where the environment asks the runtime to believe anybody", async () => {
  const name = "NODE_TLS_REJECT_UNAUTHORIZED";
  Deno.env.set(name, "0");
  try {
    for (const [attacking, uri] of [["server", CART], ["client", WEB]] as const) {
      // `meetRaw` asserts that the attacker was refused, and told nothing.
      for (const attack of attacks(root, { uris: [uri] })) {
        await meetRaw(attacking, credentialsOf(attack.chain));
      }
    }
  } finally {
    Deno.env.delete(name);
  }
});
