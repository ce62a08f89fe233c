import { deepStrictEqual, ok, strictEqual, throws } from "node:assert/strict";
import { OwnProcess } from "#linux";
import { CertificateError, trustRoots, verifyPeer } from "#tls";
import { attacks } from "../../support/attacks.ts";
import * as der from "../../support/der_writer.ts";
import {
  type CertOptions,
  type KeyKind,
  type Minted,
  mintIntermediate,
  mintLeaf,
  mintRoot,
  newKeys,
} from "../../support/pki.ts";

const WEB = "spiffe://cluster.local/ns/shop/sa/web";
const root = mintRoot();
const NOW_MS = Date.now();

function verify(
  chain: readonly Minted[],
  roots: readonly Minted[] = [root],
  role: "client" | "server" = "client",
  nowMs = NOW_MS,
) {
  const pem = roots.map((each) => each.pem).join("");
  return verifyPeer(chain.map((each) => each.der), trustRoots(pem), { role, nowMs });
}

function codeOf(work: () => unknown): string {
  try {
    work();
    return "accepted";
  } catch (error) {
    ok(error instanceof CertificateError, `not a CertificateError: ${error}`);
    ok(error.message.length > 10, "no reason");
    return error.code;
  }
}

for (const role of ["client", "server"] as const) {
  for (
    const attack of attacks(root, { uris: [WEB], dns: ["istiod.test"] })
  ) {
    Deno.test(`verifyPeer() refuses ${attack.name} as a ${role}: ${attack.code}`, () => {
      strictEqual(codeOf(() => verify(attack.chain, [root], role)), attack.code);
    });
  }
}

const KEYS: readonly [KeyKind, CertOptions["hash"]][] = [
  ["p256", "sha256"],
  ["p384", "sha384"],
  ["p521", "sha512"],
  ["rsa2048", "sha256"],
  ["rsa2048", "sha512"],
  ["ed25519", "sha512"],
];
for (const [keyKind, hash] of KEYS) {
  Deno.test(`verifyPeer() accepts a path signed with ${keyKind} and ${hash}`, () => {
    const authority = mintRoot({ keyKind, hash: hash! });
    const middle = mintIntermediate(authority, { keyKind, hash: hash! });
    const leaf = mintLeaf(middle, { uris: [WEB], hash: hash! });
    const peer = verify([leaf, middle], [authority]);
    deepStrictEqual(peer.identities, [WEB]);
    deepStrictEqual(peer.path, [leaf.der, middle.der]);
  });
}

Deno.test("verifyPeer() accepts names inside what a CA permits", () => {
  const middle = mintIntermediate(root, {
    permitted: {
      uris: ["cluster.local"],
      dns: ["test"],
      ips: [Uint8Array.of(10, 0, 0, 0, 255, 0, 0, 0)],
    },
    excluded: { uris: [".evil.test"], dns: ["evil.test"] },
  });
  const names = { uris: [WEB], dns: ["istiod.test"], ips: [Uint8Array.of(10, 1, 2, 3)] };
  strictEqual(verify([mintLeaf(middle, names), middle]).identity, WEB);
  const outside = { ...names, ips: [Uint8Array.of(11, 1, 2, 3)] };
  strictEqual(codeOf(() => verify([mintLeaf(middle, outside), middle])), "name_constraint");
  const wide = { ...names, dns: ["*.test"] };
  strictEqual(codeOf(() => verify([mintLeaf(middle, wide), middle])), "name_constraint");
});

Deno.test("verifyPeer() finds the way among certificates of one name, in any order", () => {
  const twins = [mintRoot(), mintRoot(), root];
  const wrong = mintIntermediate(mintRoot());
  const right = mintIntermediate(root);
  const leaf = mintLeaf(right, { uris: [WEB] });
  strictEqual(verify([leaf, wrong, right, root], twins).identity, WEB);
});

Deno.test("verifyPeer() gives up after a bounded search", () => {
  const keys = newKeys("p256");
  const loop = Array.from({ length: 7 }, () => mintRoot({ commonName: "loop", keys }));
  const leaf = mintLeaf(loop[0]!, { uris: [WEB] });
  const tookMs = [1, 2, 3].map(() => {
    const before = OwnProcess.threadProcessorMs();
    strictEqual(codeOf(() => verify([leaf, ...loop])), "untrusted");
    return OwnProcess.threadProcessorMs() - before;
  });
  ok(Math.min(...tookMs) < 1_000, `${tookMs} ms of processor time`);
});

Deno.test("verifyPeer() looks at the clock every time, also for a path that it knows", () => {
  const leaf = mintLeaf(root, { uris: [WEB] });
  strictEqual(verify([leaf]).identity, WEB);
  strictEqual(codeOf(() => verify([leaf], [root], "client", leaf.notAfterMs + 1)), "expired");
  strictEqual(
    codeOf(() => verify([leaf], [root], "client", leaf.notBeforeMs - 1)),
    "not_yet_valid",
  );
  strictEqual(verify([leaf]).identity, WEB);
  strictEqual(codeOf(() => verify([leaf], [root], "client", root.notAfterMs + 1)), "expired");
});

Deno.test("verifyPeer() asks for revocation every time, with the path from leaf to root", () => {
  const middle = mintIntermediate(root);
  const chain = [mintLeaf(middle, { uris: [WEB] }).der, middle.der];
  const asked: number[] = [];
  const revocation = {
    check(path: readonly Uint8Array[]) {
      asked.push(path.length);
      if (asked.length === 3) throw new CertificateError("revoked", "the certificate is revoked");
    },
  };
  const once = () =>
    verifyPeer(chain, trustRoots(root.pem), { role: "client", nowMs: NOW_MS, revocation });
  once();
  once();
  strictEqual(codeOf(once), "revoked");
  deepStrictEqual(asked, [3, 3, 3]);
});

Deno.test("verifyPeer() trusts no path that other roots have trusted, nor one for another role", () => {
  const leaf = mintLeaf(root, { uris: [WEB], extKeyUsage: ["client"] });
  strictEqual(verify([leaf]).identity, WEB);
  strictEqual(codeOf(() => verify([leaf], [mintRoot()])), "untrusted");
  strictEqual(codeOf(() => verify([leaf], [root], "server")), "wrong_usage");
});

Deno.test("verifyPeer() takes one URI name for one identity, whatever is in it", () => {
  const admin = "spiffe://cluster.local/ns/shop/sa/admin";
  const cases: readonly [CertOptions, readonly string[]][] = [
    [{ uris: [`${WEB}, URI:${admin}`] }, []],
    [{ uris: [WEB], dns: [`a, URI:${admin}`] }, [WEB]],
    [{ uris: ["https://x.test/", WEB, admin] }, [WEB, admin]],
    [{ dns: ["web.shop"] }, []],
    [{}, []],
  ];
  for (const [names, identities] of cases) {
    const peer = verify([mintLeaf(root, { commonName: "x", ...names })]);
    deepStrictEqual(peer.identities, identities);
    strictEqual(peer.identity, identities[0]);
  }
  const control = mintLeaf(root, { rawNames: [der.text(0x86, `${WEB}\n`)] });
  strictEqual(codeOf(() => verify([control])), "malformed");
});

Deno.test("verifyPeer() refuses weak keys and an empty chain", () => {
  for (const keyKind of ["rsa1024", "secp256k1"] as const) {
    strictEqual(codeOf(() => verify([mintLeaf(root, { uris: [WEB], keyKind })])), "weak_key");
  }
  strictEqual(codeOf(() => verify([])), "no_certificate");
});

Deno.test("trustRoots() leaves out what it cannot use, and says so when nothing is left", () => {
  const weak = mintRoot({ keyKind: "rsa1024" });
  strictEqual(trustRoots(`${weak.pem}text\n${root.pem}`).certificates.length, 1);
  strictEqual(trustRoots(root.pem), trustRoots(root.pem));
  for (const pem of ["", "junk", weak.pem]) {
    throws(() => trustRoots(pem), { name: "CertificateError", code: "no_roots" });
  }
});
