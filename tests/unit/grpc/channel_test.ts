import { deepStrictEqual, match, ok, strictEqual, throws } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { type AddressInfo, createServer } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import {
  Client,
  credentials,
  Metadata,
  Server,
  ServerCredentials,
  type ServiceError,
} from "@grpc/grpc-js";
import { channelCredentials, channelOptions, type ServerTrust } from "#grpc";
import { realClock } from "#system";
import { attacks } from "../../support/attacks.ts";
import { type Minted, mintIntermediate, mintLeaf, mintRoot } from "../../support/pki.ts";
import { Tls13Attacker } from "../../support/tls13.ts";

const HOST = "127.54.0.1";
const ISTIOD = "istiod.istio-system.svc";
const NAMES = { dns: [ISTIOD], uris: ["spiffe://cluster.local/ns/istio-system/sa/istiod"] };
const TOKEN = "Bearer very-secret";
const PATH = "/test.Echo/Say";
const DEADLINE_MS = 3_000;
const root = mintRoot();
const trust: ServerTrust = { rootsPem: root.pem, hostnames: [ISTIOD] };

const test = (name: string, fn: () => Promise<void>) =>
  Deno.test({ name, fn, sanitizeOps: false, sanitizeResources: false });

/** Calls a server with a token; resolves with its answer or with why there is none. */
function call(address: string, how: ServerTrust): Promise<string | ServiceError> {
  const token = credentials.createFromMetadataGenerator((_params, done) => {
    const metadata = new Metadata();
    metadata.set("authorization", TOKEN);
    done(null, metadata);
  });
  const both = credentials.combineChannelCredentials(channelCredentials(how, realClock), token);
  const client = new Client(address, both, channelOptions(how));
  const plain = (bytes: Buffer) => bytes;
  return new Promise((resolve) => {
    const deadline = Date.now() + DEADLINE_MS;
    client.makeUnaryRequest(
      PATH,
      plain,
      plain,
      Buffer.from("hello"),
      { deadline },
      (error, answer) => {
        client.close();
        resolve(error ?? String(answer));
      },
    );
  });
}

/** An honest gRPC server that remembers the tokens that it was given. */
async function serve(chain: readonly Minted[]) {
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
    server.bindAsync(`${HOST}:0`, secure, (error, bound) => error ? reject(error) : resolve(bound));
  });
  return { address: `${HOST}:${port}`, tokens, [Symbol.dispose]: () => server.forceShutdown() };
}

test("a channel reaches a server of our roots with the expected name, and gives it the token", async () => {
  const middle = mintIntermediate(root);
  using server = await serve([mintLeaf(middle, NAMES), middle]);
  strictEqual(await call(server.address, trust), "hello");
  deepStrictEqual(server.tokens, [TOKEN]);
});

test("a channel takes the alternative name, a wildcard and an IP name", async () => {
  const ips = [Uint8Array.of(127, 54, 0, 1)];
  using server = await serve([mintLeaf(root, { dns: ["*.alt.test"], ips })]);
  const named = (...hostnames: string[]) => call(server.address, { ...trust, hostnames });
  strictEqual(await named("wrong.test", "istiod.alt.test"), "hello");
  strictEqual(await named(HOST), "hello");
  strictEqual(server.tokens.length, 2);
  for (const hostname of ["wrong.test", "a.b.alt.test", "127.54.0.2"]) {
    const error = await named(hostname);
    ok(error instanceof Error, hostname);
    match(error.message, /certificate is for .*expected/);
  }
  strictEqual(server.tokens.length, 2);
});

/** These only we refuse; the others the runtime may refuse first, without a reason. */
const REASONS: Readonly<Record<string, RegExp>> = {
  version: /certificate is not of version 3/,
  not_canonical: /not minimal|not 3|unused bits|bytes follow|padded|presented no certificate/,
};
const CERTIFICATE_REFUSED =
  /unable to verify the first certificate|self-signed|certificate|CA "|name constraint/;

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
      const error = await call(`${HOST}:${port}`, trust);
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
    const error = await call(server.address, trust);
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
    const error = await call(`${HOST}:${port}`, trust);
    ok(error instanceof Error, "accepted");
    ok(!Buffer.concat(heard).includes("very-secret"), "the token was sent");
  } finally {
    server.close();
  }
});

Deno.test("channelCredentials() refuses roots that it cannot use", () => {
  throws(() => channelCredentials({ ...trust, rootsPem: "junk" }, realClock), {
    name: "Refusal",
    message: /cannot set up tls: cannot use the root bundle/,
  });
});
