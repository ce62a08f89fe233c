import "reflect-metadata";
import { deepStrictEqual, match, ok, rejects, strictEqual } from "node:assert/strict";
import { createPublicKey } from "node:crypto";
import { Buffer } from "node:buffer";
import { Pkcs10CertificateRequest, SubjectAlternativeNameExtension } from "@peculiar/x509";
import { type CaRequest, createCaAuthority } from "#certs";
import { createLogHub } from "#log";
import { realClock } from "#system";
import { type CertBundle, createTls } from "#tls";
import { SpiffeId } from "#values";
import {
  type CertOptions,
  mint,
  type Minted,
  mintIntermediate,
  mintLeaf,
  mintRoot,
  newKeys,
} from "../../support/pki.ts";

const DAY_MS = 24 * 3_600_000;
const identity = SpiffeId.of("cluster.local", "shop", "cart");
const root = mintRoot();

/** The leaf that a CA would give for a request, with the request's own key. */
function leafFor(request: CaRequest, issuer: Minted, options: CertOptions = {}): Minted {
  const csr = new Pkcs10CertificateRequest(request.csrPem);
  const spki = Buffer.from(csr.publicKey.rawData);
  const publicKey = createPublicKey({ key: spki, format: "der", type: "spki" });
  // Only the public half is ours to certify; the other stays where the request came from.
  const keys = { publicKey, privateKey: newKeys("p256").privateKey };
  return mintLeaf(issuer, { uris: [identity], keys, ...options });
}

interface Asked {
  readonly authority: ReturnType<typeof createCaAuthority>;
  readonly requests: CaRequest[];
  log(): string;
}

function authority(
  answer: (request: CaRequest) => Promise<readonly string[]>,
  impersonates = true,
): Asked {
  const requests: CaRequest[] = [];
  let text = "";
  const hub = createLogHub({
    write: (bytes) => text += new TextDecoder().decode(bytes),
    nowMs: () => 0,
    filter: "info",
    format: "plain",
  });
  return {
    requests,
    log: () => {
      hub.flush();
      return text;
    },
    authority: createCaAuthority({
      clock: realClock,
      log: hub.scope("ztunnel::identity"),
      impersonates,
      client: {
        createCertificate: (request) => {
          requests.push(request);
          return answer(request);
        },
      },
    }),
  };
}

Deno.test("9.1, 9.2: the request has one critical URI SAN, no subject, and names whom it is for", async () => {
  const { authority: ca, requests } = authority((request) =>
    Promise.resolve([
      leafFor(request, root).pem,
      root.pem,
    ])
  );
  await ca.sign(identity, DAY_MS);
  const [request] = requests;
  strictEqual(request?.validitySeconds, 86_400);
  strictEqual(request.impersonatedIdentity, identity);
  match(
    request.csrPem,
    /^-----BEGIN CERTIFICATE REQUEST-----\n[\s\S]+-----END CERTIFICATE REQUEST-----\n$/,
  );
  const csr = new Pkcs10CertificateRequest(request.csrPem);
  ok(await csr.verify());
  strictEqual(csr.subject, "");
  strictEqual(csr.extensions.length, 1);
  const san = csr.extensions[0] as SubjectAlternativeNameExtension;
  ok(san instanceof SubjectAlternativeNameExtension);
  strictEqual(san.critical, true);
  deepStrictEqual(san.names.toJSON(), [{ type: "url", value: identity }]);
});

Deno.test("9.1: in dedicated mode nobody is impersonated, and the CA's own choice of name is taken", async () => {
  const other = SpiffeId.of("cluster.local", "shop", "whoever");
  const { authority: ca, requests } = authority(
    (request) => Promise.resolve([leafFor(request, root, { uris: [other] }).pem, root.pem]),
    false,
  );
  await ca.sign(identity, DAY_MS);
  ok(!("impersonatedIdentity" in requests[0]!));
});

Deno.test("9.1: two certificates of it meet in mutual TLS, with an intermediate, and renew under a new root", async () => {
  const intermediate = mintIntermediate(root);
  const second = mintRoot({ commonName: "next root" });
  const { authority: ca } = authority((request) =>
    Promise.resolve([
      leafFor(request, intermediate).pem,
      `${intermediate.pem}${root.pem}`,
      `${root.pem}${second.pem}`,
    ])
  );
  const bundle = await ca.sign(identity, DAY_MS);
  strictEqual(
    bundle.chainPem.match(/BEGIN CERTIFICATE/g)?.length,
    2,
    "only the first of an element",
  );
  strictEqual(bundle.rootsPem.match(/BEGIN CERTIFICATE/g)?.length, 2);
  ok(bundle.notAfterMs > Date.now());
  const { tcpPair } = await import("../../support/tcp_pair.ts");
  const [near, far] = await tcpPair();
  const tls = createTls(realClock, {});
  const [client, server] = await Promise.all([
    tls.client(near, bundle, [identity]),
    tls.server(far, bundle satisfies CertBundle),
  ]);
  strictEqual(client.peer.identity, identity);
  await client.stream.write(Uint8Array.of(1));
  strictEqual((await server.stream.read())?.length, 1);
  client.stream.abort();
  await Promise.all([client.stream.closed, server.stream.closed]);
});

Deno.test("9.1: what does not prove itself is refused with its reason, and no key is in the reason", async () => {
  const stranger = mintRoot({ commonName: "stranger" });
  const table:
    readonly (readonly [string, (request: CaRequest) => Promise<readonly string[]>, RegExp])[] = [
      ["nothing", () => Promise.resolve([]), /answer is empty/],
      [
        "no root",
        (request) => Promise.resolve([leafFor(request, root).pem]),
        /invalid root certificate/,
      ],
      [
        "garbage for a root",
        (request) => Promise.resolve([leafFor(request, root).pem, "hello"]),
        /invalid root certificate/,
      ],
      [
        "garbage for a leaf",
        () => Promise.resolve(["hello", root.pem]),
        /leaf in the CA's answer is no PEM/,
      ],
      [
        "somebody's key",
        () => Promise.resolve([mintLeaf(root, { uris: [identity] }).pem, root.pem]),
        /another key than ours/,
      ],
      [
        "somebody's name",
        (request) =>
          Promise.resolve([
            leafFor(request, root, { uris: ["spiffe://cluster.local/ns/shop/sa/other"] }).pem,
            root.pem,
          ]),
        /did not find expected SAN: spiffe:\/\/cluster\.local\/ns\/shop\/sa\/cart/,
      ],
      [
        "a foreign chain",
        (request) => Promise.resolve([leafFor(request, stranger).pem, root.pem]),
        /no path to our roots/,
      ],
      [
        "an expired leaf",
        (request) =>
          Promise.resolve([
            leafFor(request, root, { notAfterMs: Date.now() - 1_000 }).pem,
            root.pem,
          ]),
        /expired/,
      ],
      [
        "a leaf for clients only",
        (request) =>
          Promise.resolve([
            leafFor(request, root, { extKeyUsage: ["client"] }).pem,
            root.pem,
          ]),
        /certificate/,
      ],
      [
        "far too much",
        () => Promise.resolve(Array.from({ length: 40 }, () => root.pem)),
        /40 elements/,
      ],
      ["a CA that says no", () => Promise.reject(new Error("UNAUTHENTICATED: go away")), /go away/],
    ];
  for (const [what, answer, reason] of table) {
    const { authority: ca } = authority(answer);
    await rejects(ca.sign(identity, DAY_MS), (error: Error) => {
      match(error.message, reason, what);
      ok(!error.message.includes("PRIVATE KEY"));
      return true;
    }, what);
  }
});

Deno.test("9.1: an unreadable root among readable ones is skipped, and told once and not at each renewal", async () => {
  const odd = mint({ commonName: "odd", version: 1, ca: true });
  let rootsPem = `${odd.pem}${root.pem}`;
  const { authority: ca, log } = authority((request) =>
    Promise.resolve([leafFor(request, root).pem, rootsPem])
  );
  const bundle = await ca.sign(identity, DAY_MS);
  strictEqual(bundle.rootsPem.match(/BEGIN CERTIFICATE/g)?.length, 1);
  const told = () =>
    log().match(/warn\tidentity\ta root certificate from the CA is skipped/g)?.length;
  strictEqual(told(), 1);
  await ca.sign(identity, DAY_MS);
  strictEqual(told(), 1);
  rootsPem = root.pem;
  await ca.sign(identity, DAY_MS);
  rootsPem = `${odd.pem}${root.pem}`;
  await ca.sign(identity, DAY_MS);
  strictEqual(told(), 2, "gone meanwhile, so it is news");
});
