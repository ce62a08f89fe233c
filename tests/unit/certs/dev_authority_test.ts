import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { X509Certificate } from "node:crypto";
import { certificateDump, type CertificateState, createDevAuthority, DEV_ROOT_PEM } from "#certs";
import { derFromPem, trustRoots, verifyPeer } from "#tls";
import { SpiffeId } from "#values";
import { FakeClock } from "../../support/fake_clock.ts";

const DAY_MS = 24 * 60 * 60_000;
const cart = SpiffeId.of("cluster.local", "shop", "cart");

async function openssl(args: readonly string[], stdin: string): Promise<string> {
  const child = new Deno.Command("openssl", {
    args: [...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(stdin));
  await writer.close();
  const { stdout, stderr, success } = await child.output();
  const text = new TextDecoder().decode(stdout);
  if (!success) throw new Error(`openssl: ${text}${new TextDecoder().decode(stderr)}`);
  return text;
}

Deno.test("createDevAuthority() signs leafs that openssl accepts at both ends of TLS", async () => {
  const clock = new FakeClock();
  const authority = await createDevAuthority(clock);
  const bundle = await authority.sign(cart, DAY_MS);
  const rootFile = await Deno.makeTempFile({ suffix: ".pem" });
  try {
    await Deno.writeTextFile(rootFile, DEV_ROOT_PEM);
    const atSeconds = String(clock.nowMs() / 1_000);
    for (const purpose of ["sslserver", "sslclient"]) {
      const args = ["verify", "-x509_strict", "-purpose", purpose, "-attime", atSeconds];
      await openssl([...args, "-CAfile", rootFile], bundle.chainPem);
    }
  } finally {
    await Deno.remove(rootFile);
  }
  const text = await openssl(["x509", "-noout", "-text"], bundle.chainPem);
  for (
    const expected of [
      /Version: 3/,
      /Signature Algorithm: ecdsa-with-SHA256/,
      /Subject: *\n/,
      /ASN1 OID: prime256v1/,
      /Subject Alternative Name: critical\n *URI:spiffe:\/\/cluster\.local\/ns\/shop\/sa\/cart\n/,
      /Key Usage: critical\n *Digital Signature\n/,
      /Extended Key Usage: *\n *TLS Web Server Authentication, TLS Web Client Authentication\n/,
      /CA:FALSE/,
    ]
  ) strictEqual(expected.test(text), true, `${expected} in ${text}`);
});

Deno.test("createDevAuthority() signs leafs that our own verification accepts in both roles", async () => {
  const clock = new FakeClock();
  const { chainPem, rootsPem } = await (await createDevAuthority(clock)).sign(cart, DAY_MS);
  const chain = derFromPem(chainPem);
  for (const role of ["client", "server"] as const) {
    const peer = verifyPeer(chain, trustRoots(rootsPem), { role, nowMs: clock.nowMs() });
    deepStrictEqual(peer.identities, [cart]);
  }
});

Deno.test("createDevAuthority() says the times that are in the certificate", async () => {
  const clock = new FakeClock(Date.UTC(2026, 4, 5, 6, 7, 8, 999));
  const authority = await createDevAuthority(clock);
  const times = async (lifetimeMs: number) => {
    const bundle = await authority.sign(cart, lifetimeMs);
    const leaf = new X509Certificate(bundle.chainPem);
    strictEqual(Date.parse(leaf.validFrom), bundle.notBeforeMs);
    strictEqual(Date.parse(leaf.validTo), bundle.notAfterMs);
    return [bundle.notBeforeMs, bundle.notAfterMs].map((ms) => new Date(ms).toISOString());
  };
  deepStrictEqual(await times(DAY_MS), ["2026-05-05T06:06:08.000Z", "2026-05-06T06:07:08.000Z"]);
  deepStrictEqual(await times(10_000), ["2026-05-05T06:07:03.000Z", "2026-05-05T06:07:18.000Z"]);
});

Deno.test("createDevAuthority() gives every leaf its own key and serial, and the key fits", async () => {
  const authority = await createDevAuthority(new FakeClock());
  const bundles = await Promise.all([1, 2, 3].map(() => authority.sign(cart, DAY_MS)));
  const serials = bundles.map(({ chainPem }) => new X509Certificate(chainPem).serialNumber);
  strictEqual(new Set(serials).size, 3);
  for (const { chainPem, privateKeyPem } of bundles) {
    strictEqual(privateKeyPem.startsWith("-----BEGIN PRIVATE KEY-----\n"), true);
    const ofKey = await openssl(["pkey", "-pubout"], privateKeyPem);
    const ofLeaf = await openssl(["x509", "-noout", "-pubkey"], chainPem);
    strictEqual(ofKey, ofLeaf);
  }
});

Deno.test("createDevAuthority() signs any identity, empty segments and odd characters included", async () => {
  const authority = await createDevAuthority(new FakeClock());
  for (
    const text of ["spiffe:///ns//sa/", "spiffe://a.b/ns/x-y/sa/z.w", "spiffe://td/ns/a,b/sa/c d"]
  ) {
    const identity = SpiffeId.parse(text)!;
    const bundle = await authority.sign(identity, DAY_MS);
    strictEqual(bundle.identity, identity);
    strictEqual(new X509Certificate(bundle.chainPem).raw.includes(Buffer.from(text)), true);
  }
});

Deno.test("two authorities trust each other's leafs", async () => {
  const [one, other] = [
    await createDevAuthority(new FakeClock()),
    await createDevAuthority(new FakeClock()),
  ];
  const leaf = new X509Certificate((await one.sign(cart, DAY_MS)).chainPem);
  const { rootsPem } = await other.sign(cart, DAY_MS);
  strictEqual(leaf.verify(new X509Certificate(rootsPem).publicKey), true);
});

Deno.test("9.9: certificateDump() shows chain and roots as the config dump wants them", async () => {
  const authority = await createDevAuthority(new FakeClock());
  const { chainPem, rootsPem } = await authority.sign(cart, DAY_MS);
  const available = { identity: cart, state: "Available", chainPem, rootsPem };
  const dump = certificateDump({ ...available, rootsPem: `${rootsPem}${rootsPem}` });
  strictEqual(dump.identity, cart);
  strictEqual(dump.state, "Available");
  strictEqual(dump.certChain.length, 1);
  strictEqual(dump.rootCerts.length, 2);
  const [leaf] = dump.certChain;
  strictEqual(Buffer.from(leaf!.pem, "base64").toString(), chainPem);
  strictEqual(leaf!.validFrom, "2025-12-31T23:59:00Z");
  strictEqual(leaf!.expirationTime, "2026-01-02T00:00:00Z");
  const hex = await openssl(["x509", "-noout", "-serial"], chainPem);
  strictEqual(leaf!.serialNumber, BigInt(`0x${hex.trim().replace("serial=", "")}`).toString());
  strictEqual(dump.rootCerts[0]!.expirationTime, "2049-12-31T23:59:59Z");
});

Deno.test("9.9: certificateDump() has empty lists while there is nothing, and skips what it cannot read", () => {
  const empty: CertificateState = {
    identity: cart,
    state: "Unavailable: no CA",
    chainPem: "",
    rootsPem: "",
  };
  deepStrictEqual(certificateDump(empty), {
    identity: cart,
    state: "Unavailable: no CA",
    certChain: [],
    rootCerts: [],
  });
  const junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
  const mixed = { ...empty, state: "Available", rootsPem: `text\n${junk}${DEV_ROOT_PEM}` };
  strictEqual(certificateDump(mixed).rootCerts.length, 1);
});
