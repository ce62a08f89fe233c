import { match, ok, strictEqual } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { realClock } from "#system";
import { type CertBundle, createTls, type Tls } from "#tls";
import type { SpiffeId } from "#values";
import { codeOf, type Outcome, outcomeOf, refusalIn } from "../../support/outcome.ts";
import { bundleOf, mintLeaf, mintRoot, mintWorkload } from "../../support/pki.ts";
import { listen, type SocketStream } from "../../support/tcp_pair.ts";

const HOST = "127.53.0.2";
const WEB = "spiffe://cluster.local/ns/shop/sa/web" as SpiffeId;
const CART = "spiffe://cluster.local/ns/shop/sa/cart" as SpiffeId;
const root = mintRoot();
const cart = mintWorkload(CART, root);
const TIMEOUT_MS = 30_000;

const test = (name: string, fn: () => Promise<void>) =>
  Deno.test({ name, fn, sanitizeOps: false, sanitizeResources: false });

test("server() refuses a ticket that another listener gave to somebody it should not trust", async () => {
  // The first listener trusts `twin`, the second does not; the runtime resumes across both, without asking for a
  // certificate again (runtime.md S2).
  const twin = mintRoot();
  const lenient = bundleOf(CART, [mintLeaf(root, { uris: [CART] })], [twin]);
  const leaf = mintLeaf(twin, { uris: [WEB] });
  const tls = createTls(realClock, { handshakeTimeoutMs: TIMEOUT_MS });
  await withFiles({ "cert.pem": leaf.pem, "key.pem": leaf.keyPem }, async (dir) => {
    const first = await openssl(tls, lenient, ["-sess_out", `${dir}/ticket`, ...proofIn(dir)]);
    ok("secured" in first.outcome);
    for (const [bundle, code] of [[cart, "untrusted"], [lenient, undefined]] as const) {
      const { outcome, text } = await openssl(tls, bundle, ["-sess_in", `${dir}/ticket`]);
      match(text, /Reused, TLSv1.3/, "the ticket was not used, so this test shows nothing");
      if (code === undefined) ok("secured" in outcome);
      else strictEqual(codeOf(refusalIn(outcome)), code);
    }
  });
});

test("server() refuses a ChaCha20-only client, and takes an AES one", async () => {
  const leaf = mintLeaf(root, { uris: [WEB] });
  const tls = createTls(realClock, { handshakeTimeoutMs: TIMEOUT_MS });
  await withFiles({ "cert.pem": leaf.pem, "key.pem": leaf.keyPem }, async (dir) => {
    for (const suite of ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"]) {
      const { outcome } = await openssl(tls, cart, ["-ciphersuites", suite, ...proofIn(dir)]);
      ok("secured" in outcome, suite);
      strictEqual(outcome.secured.peer.identity, WEB);
    }
    const other = "TLS_CHACHA20_POLY1305_SHA256";
    const { outcome } = await openssl(tls, cart, ["-ciphersuites", other, ...proofIn(dir)]);
    match(refusalIn(outcome).message, /cipher suite TLS_CHACHA20_POLY1305_SHA256 is not allowed/);
  });
});

const proofIn = (dir: string): string[] => ["-cert", `${dir}/cert.pem`, "-key", `${dir}/key.pem`];

/** `openssl s_client` against one of our listeners; a trusted one is greeted, so that it takes its ticket. */
async function openssl(
  tls: Tls,
  bundle: CertBundle,
  more: readonly string[],
): Promise<{ outcome: Outcome; text: string }> {
  const arrived = Promise.withResolvers<SocketStream>();
  using listener = await listen(HOST, arrived.resolve);
  const command = new Deno.Command("openssl", {
    args: ["s_client", "-connect", `${HOST}:${listener.port}`, "-alpn", "h2", ...more],
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  });
  const running = command.spawn();
  const outcome = await outcomeOf(tls.server(await arrived.promise, bundle));
  if ("secured" in outcome) {
    const { stream } = outcome.secured;
    await stream.write(Buffer.from("welcome"));
    await stream.closeWrite();
    await Promise.race([stream.read(), realClock.sleep(30_000)]).catch(() => {});
    stream.abort();
  }
  // It leaves at the end of its input, and a ticket comes after the handshake: so not before now.
  await running.stdin.close();
  return { outcome, text: new TextDecoder().decode((await running.output()).stdout) };
}

async function withFiles(
  files: Readonly<Record<string, string>>,
  work: (dir: string) => Promise<void>,
): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    for (const [name, text] of Object.entries(files)) {
      await Deno.writeTextFile(`${dir}/${name}`, text);
    }
    await work(dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}
