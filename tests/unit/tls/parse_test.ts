import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { seededRng } from "#system";
import { CertificateError, derFromPem, parseCertificate } from "#tls";
import { matchesHost } from "../../../lib/tls/names.ts";
import { mintIntermediate, mintLeaf, mintRoot } from "../../support/pki.ts";

const root = mintRoot();
const names = {
  uris: ["spiffe://cluster.local/ns/shop/sa/web"],
  dns: ["istiod.test"],
  ips: [Uint8Array.of(10, 0, 0, 1)],
};
const samples = [
  root.der,
  mintIntermediate(root, { permitted: { uris: [".test"] }, pathLength: 3 }).der,
  mintLeaf(root, names).der,
  mintLeaf(root, { ...names, keyKind: "rsa2048" }).der,
];

/** Whatever the bytes: a certificate or a CertificateError. */
function assertTotal(bytes: Uint8Array): boolean {
  try {
    parseCertificate(bytes);
    return true;
  } catch (error) {
    if (error instanceof CertificateError) return false;
    throw error;
  }
}

Deno.test("parseCertificate() reads what node:crypto reads", () => {
  for (const der of samples) {
    const ours = parseCertificate(der);
    const theirs = new X509Certificate(der as never);
    strictEqual(ours.notBeforeMs, Date.parse(theirs.validFrom));
    strictEqual(ours.notAfterMs, Date.parse(theirs.validTo));
    strictEqual(BigInt(`0x${ours.serial.toHex()}`), BigInt(`0x${theirs.serialNumber}`));
    strictEqual(ours.ca, theirs.ca);
    const spki = theirs.publicKey.export({ type: "spki", format: "der" });
    deepStrictEqual(ours.spki.toHex(), new Uint8Array(spki).toHex());
  }
  const leaf = parseCertificate(samples[2]!);
  deepStrictEqual([leaf.uris, leaf.dnsNames, leaf.ips.map((ip) => [...ip])], [
    names.uris,
    names.dns,
    [[10, 0, 0, 1]],
  ]);
});

Deno.test("parseCertificate() gives a value or a CertificateError for any bytes", () => {
  const seed = Number(Deno.env.get("SEED") ?? Date.now() % 1_000_000);
  const rng = seededRng(seed);
  let accepted = 0;
  try {
    for (let round = 0; round < 20_000; round++) {
      const bytes = Uint8Array.from(samples[rng.below(samples.length)]!);
      const kind = rng.below(4);
      if (kind === 0) {
        for (let n = rng.below(4); n >= 0; n--) bytes[rng.below(bytes.length)] = rng.below(256);
        if (assertTotal(bytes)) accepted++;
      } else if (kind === 1) assertTotal(bytes.subarray(0, rng.below(bytes.length)));
      else if (kind === 2) {
        bytes.copyWithin(rng.below(bytes.length), rng.below(bytes.length), rng.below(bytes.length));
        assertTotal(bytes);
      } else assertTotal(rng.bytes(rng.below(400)));
    }
  } catch (error) {
    throw new Error(`SEED=${seed}`, { cause: error });
  }
  // A changed serial, signature or name is still a certificate: otherwise this test tries too little.
  ok(accepted > 100, `SEED=${seed}: only ${accepted} changed certificates were readable`);
});

Deno.test("parseCertificate() refuses bytes that nest, repeat or promise too much, at once", () => {
  const deep = new Uint8Array(60_000).fill(0x30);
  const hostile = [
    new Uint8Array(0),
    Uint8Array.of(0x30),
    Uint8Array.of(0x30, 0x80, 0, 0),
    Uint8Array.of(0x30, 0x84, 0xff, 0xff, 0xff, 0xff),
    Uint8Array.of(0x30, 0xff),
    deep,
    new Uint8Array(70_000).fill(0x30),
    nested(40),
  ];
  const before = performance.now();
  for (const bytes of hostile) strictEqual(assertTotal(bytes), false);
  ok(performance.now() - before < 500, "took too long");
});

Deno.test("derFromPem() takes the certificates out of any text", () => {
  const text =
    `junk\n${root.pem}-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n${root.pem}`;
  deepStrictEqual(derFromPem(text).map((der) => der.toHex()), [
    new Uint8Array(root.der).toHex(),
    new Uint8Array(root.der).toHex(),
  ]);
  deepStrictEqual(derFromPem("-----BEGIN CERTIFICATE-----"), []);
});

Deno.test("matchesHost() lets a star stand for one whole left-most label", () => {
  const table: readonly [string, string, boolean][] = [
    ["istiod.istio-system.svc", "istiod.istio-system.svc", true],
    ["ISTIOD.test", "istiod.TEST", true],
    ["istiod.test", "istiod.test.", true],
    ["istiod.test", "xistiod.test", false],
    ["*.istio-system.svc", "istiod.istio-system.svc", true],
    ["*.istio-system.svc", "a.istiod.istio-system.svc", false],
    ["*.istio-system.svc", "istio-system.svc", false],
    ["*.svc", "istiod.svc", false],
    ["*", "istiod", false],
    ["i*.test.svc", "istiod.test.svc", false],
    ["a.*.svc", "a.test.svc", false],
    ["", "", false],
  ];
  for (const [pattern, host, fits] of table) {
    strictEqual(matchesHost([pattern], host), fits, `${pattern} for ${host}`);
  }
});

function nested(depth: number): Uint8Array {
  let bytes = Uint8Array.of(0x05, 0x00);
  for (let i = 0; i < depth; i++) bytes = Uint8Array.of(0x30, bytes.length, ...bytes);
  return bytes;
}
