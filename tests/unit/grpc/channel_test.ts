import { deepStrictEqual, match, ok, rejects, strictEqual } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { type AddressInfo, createServer } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { type Metadata, Server, ServerCredentials } from "@grpc/grpc-js";
import { connectChannel, type Endpoint } from "#grpc";
import { attacks } from "../../support/attacks.ts";
import { realNetwork } from "../../support/network.ts";
import { type Minted, mintIntermediate, mintLeaf, mintRoot } from "../../support/pki.ts";
import { Tls13Attacker } from "../../support/tls13.ts";

const HOST = "127.54.0.1";
const ISTIOD = "istiod.istio-system.svc";
const NAMES = { dns: [ISTIOD], uris: ["spiffe://cluster.local/ns/istio-system/sa/istiod"] };
const TOKEN = "very-secret";
const PATH = "/test.Echo/Say";
const TIMEOUT_MS = 20_000;
const root = mintRoot();

const test = (name: string, fn: () => Promise<void>) =>
  Deno.test({ name, fn, sanitizeOps: false, sanitizeResources: false });

/** Calls a server with a token; resolves with its answer or with why there is none. */
async function call(address: string, more: Partial<Endpoint> = {}): Promise<string | Error> {
  using channel = await connectChannel({
    url: `https://${address}`,
    altHostname: ISTIOD,
    roots: { kind: "inline", pem: root.pem },
    token: { kind: "literal", value: TOKEN },
    clusterId: "c1",
    headers: [],
    ...more,
  }, realNetwork);
  try {
    const answer = await channel.unary(PATH, Buffer.from("hello"), { timeoutMs: TIMEOUT_MS });
    return new TextDecoder().decode(answer);
  } catch (error) {
    return error as Error;
  }
}

/** An honest gRPC server that remembers the tokens that it was given. */
async function serve(chain: readonly Minted[], host = HOST) {
  const tokens: unknown[] = [];
  const server = new Server();
  const plain = (bytes: Buffer) => bytes;
  const say = {
    path: PATH,
    requestStream: false,
    responseStream: false,
    requestSerialize: plain,
    requestDeserialize: plain,
    responseSerialize: plain,
    responseDeserialize: plain,
  };
  server.addService({ say }, {
    say(
      asked: { metadata: Metadata; request: Buffer },
      done: (error: null, answer: Buffer) => void,
    ) {
      tokens.push(...asked.metadata.get("authorization"));
      done(null, asked.request);
    },
  });
  const pair = {
    cert_chain: Buffer.from(chain.map(({ pem }) => pem).join("")),
    private_key: Buffer.from(chain[0]!.keyPem),
  };
  const port = await new Promise<number>((resolve, reject) => {
    const secure = ServerCredentials.createSsl(Buffer.from(root.pem), [pair]);
    server.bindAsync(`${host}:0`, secure, (error, bound) => error ? reject(error) : resolve(bound));
  });
  return { address: `${host}:${port}`, tokens, [Symbol.dispose]: () => server.forceShutdown() };
}

test("a channel reaches a server of our roots with the expected name, and gives it the token", async () => {
  const middle = mintIntermediate(root);
  using server = await serve([mintLeaf(middle, NAMES), middle]);
  strictEqual(await call(server.address), "hello");
  deepStrictEqual(server.tokens, [`Bearer ${TOKEN}`]);
});

test("a channel takes the alternative name, a wildcard and an IP name", async () => {
  using other = await serve([mintLeaf(root, { dns: ["*.alt.test"] })]);
  strictEqual(await call(other.address, { altHostname: "istiod.alt.test" }), "hello");
  for (const altHostname of ["wrong.test", "a.b.alt.test", HOST, undefined]) {
    const error = await call(other.address, { altHostname });
    ok(error instanceof Error, `accepted ${altHostname}`);
    match(error.message, /certificate is for \*\.alt\.test, expected/);
  }
  strictEqual(other.tokens.length, 1);
  using own = await serve([mintLeaf(root, { ips: [Uint8Array.of(127, 54, 0, 1)] })]);
  strictEqual(await call(own.address, { altHostname: undefined }), "hello");
});

test("a channel resolves a name, and tells which it cannot", async () => {
  using server = await serve([mintLeaf(root, { dns: ["localhost"] })], "127.0.0.1");
  const [, port] = server.address.split(":");
  strictEqual(await call(`localhost:${port}`, { altHostname: undefined }), "hello");
  const error = await call(`no-such-host.invalid:${port}`);
  ok(error instanceof Error);
  match(error.message, /UNAVAILABLE: cannot connect to no-such-host\.invalid:\d+: /);
});

test("a channel uses no proxy that the environment names, and no roots of it", async () => {
  using server = await serve([mintLeaf(root, NAMES)]);
  const stranger = mintRoot();
  const path = await Deno.makeTempFile();
  await Deno.writeTextFile(path, stranger.pem);
  const set = {
    https_proxy: "http://127.54.9.9:1",
    grpc_proxy: "http://127.54.9.9:1",
    all_proxy: "http://127.54.9.9:1",
    GRPC_DEFAULT_SSL_ROOTS_FILE_PATH: path,
    NODE_TLS_REJECT_UNAUTHORIZED: "0",
  };
  for (const [name, value] of Object.entries(set)) Deno.env.set(name, value);
  try {
    strictEqual(await call(server.address), "hello");
    using strange = await serve([mintLeaf(stranger, NAMES)]);
    ok(await call(strange.address) instanceof Error, "accepted");
    deepStrictEqual(strange.tokens, []);
  } finally {
    for (const name of Object.keys(set)) Deno.env.delete(name);
    await Deno.remove(path);
  }
});

/** These only we refuse; the others the runtime may refuse first, without a reason. */
const REASONS: Readonly<Record<string, RegExp>> = {
  version: /certificate is not of version 3/,
  not_canonical: /not minimal|not 3|unused bits|bytes follow|padded|presented no certificate/,
};
const CERTIFICATE_REFUSED =
  /unable to verify the first certificate|self-signed|certificate|CA "|name constraint|extension/;

for (const attack of attacks(root, NAMES)) {
  test(`a channel refuses ${attack.name} before it sends the token`, async () => {
    const attackers: Tls13Attacker[] = [];
    const listener = createServer((socket) => {
      const chain = attack.chain.map(({ der }) => der);
      const key = attack.chain[0]!.keys.privateKey;
      attackers.push(new Tls13Attacker(socket, "server", { chain, key }));
    });
    await new Promise<void>((resolve) => listener.listen(0, HOST, resolve));
    try {
      const { port } = listener.address() as AddressInfo;
      const error = await call(`${HOST}:${port}`);
      ok(error instanceof Error, "accepted");
      match(error.message, /UNAVAILABLE/);
      match(error.message, REASONS[attack.code] ?? CERTIFICATE_REFUSED);
      ok(attackers.length > 0, "nobody connected");
      for (const attacker of attackers) {
        strictEqual(Buffer.concat(attacker.heard).length, 0, "the attacker was told something");
      }
    } finally {
      listener.close();
    }
  });
}

test("a channel refuses a name hidden in another name, and a certificate for clients only", async () => {
  const table = [
    [
      { dns: [`a, DNS:${ISTIOD}`], uris: [`x, DNS:${ISTIOD}`] },
      /certificate is for a, DNS:.*expected/,
    ],
    [{ ...NAMES, extKeyUsage: ["client"] }, CERTIFICATE_REFUSED],
  ] as const;
  for (const [names, reason] of table) {
    using server = await serve([mintLeaf(root, names)]);
    const error = await call(server.address);
    ok(error instanceof Error, "accepted");
    match(error.message, reason);
    deepStrictEqual(server.tokens, []);
  }
});

test("a channel tells its token to no server without ALPN", async () => {
  const leaf = mintLeaf(root, NAMES);
  const heard: Uint8Array[] = [];
  const server = createTlsServer({ cert: leaf.pem, key: leaf.keyPem }, (socket) => {
    socket.on("error", () => {});
    socket.on("data", (chunk: Uint8Array) => heard.push(chunk));
  });
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
  try {
    const { port } = server.address() as AddressInfo;
    const error = await call(`${HOST}:${port}`);
    ok(error instanceof Error, "accepted");
    ok(!Buffer.concat(heard).includes("very-secret"), "the token was sent");
  } finally {
    server.close();
  }
});

test("a channel takes the cipher suites of behaviour.md 7.1 only, and TLS 1.2 only where it may", async () => {
  const leaf = mintLeaf(root, NAMES);
  const dir = await Deno.makeTempDir();
  await Deno.writeTextFile(`${dir}/cert.pem`, leaf.pem);
  await Deno.writeTextFile(`${dir}/key.pem`, leaf.keyPem);
  const outcomeWith = async (flags: readonly string[], more: Partial<Endpoint> = {}) => {
    const port = 20_000 + Math.floor(Math.random() * 10_000);
    const files = ["-cert", `${dir}/cert.pem`, "-key", `${dir}/key.pem`];
    const child = new Deno.Command("openssl", {
      args: ["s_server", "-accept", `${HOST}:${port}`, ...files, "-alpn", "h2", "-quiet", ...flags],
      stdin: "piped",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    try {
      for (;;) {
        const error = await call(`${HOST}:${port}`, more);
        ok(error instanceof Error);
        if (!/ECONNREFUSED/.test(error.message)) return error.message;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    } finally {
      child.kill("SIGKILL");
      await child.stdin.abort().catch(() => {});
      const { stdout } = await child.output();
      const heard = new TextDecoder().decode(stdout);
      strictEqual(heard.includes(TOKEN), false, "the token was sent");
    }
  };
  try {
    const other = "TLS_CHACHA20_POLY1305_SHA256";
    match(await outcomeWith(["-ciphersuites", other]), /cipher suite .*CHACHA.* is not allowed/);
    match(await outcomeWith(["-tls1_2"]), /UNAVAILABLE/);
    // openssl answers the preface with nothing: the handshake was good.
    match(await outcomeWith(["-tls1_2"], { allowTls12: true }), /sent no SETTINGS|DEADLINE/);
    match(await outcomeWith([]), /sent no SETTINGS|DEADLINE/);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

test("connectChannel() refuses roots and addresses that it cannot use", async () => {
  const connecting = (more: Partial<Endpoint>) =>
    rejects(call("127.54.0.1:1", more), { name: "Refusal" });
  await connecting({ roots: { kind: "inline", pem: "junk" } });
  await connecting({ url: "http://127.54.0.1:1" });
  await connecting({ roots: { kind: "file", path: "/does/not/exist" } });
});
