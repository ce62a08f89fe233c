import { match, ok, strictEqual, throws } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { seededRng } from "#system";
import { CertificateError, trustRoots, verifyPeer } from "#tls";
import { RevocationLists } from "../../../lib/tls/crl.ts";
import { mintCrl, type Minted, mintIntermediate, mintLeaf, mintRoot } from "../../support/pki.ts";

const root = mintRoot({ serial: 100 });
const intermediate = mintIntermediate(root, { serial: 200 });
const leaf = mintLeaf(intermediate, { serial: 300, uris: ["spiffe://td/ns/a/sa/b"] });
const path = [leaf, intermediate, root];
const bytesOf = (text: string) => new TextEncoder().encode(text);
const lists = (...pems: string[]) => RevocationLists.parse(bytesOf(pems.join("\n")));
const check = (crls: RevocationLists, certificates: readonly Minted[] = path) =>
  crls.check(certificates.map(({ der }) => der));

Deno.test("9.8: a revoked leaf or intermediate is refused, whoever else is not", () => {
  throws(() => check(lists(mintCrl(intermediate, [1, 300]))), { code: "revoked" });
  throws(() => check(lists(mintCrl(root, [200]))), { code: "revoked" });
  check(lists(mintCrl(intermediate, [301, 302])));
  check(lists(mintCrl(root, [300])), path);
  check(lists(mintCrl(intermediate, [])));
});

Deno.test("9.8: an issuer without a list accepts, and nextUpdate in the past does not matter", () => {
  check(lists());
  const other = mintRoot({ commonName: "other" });
  check(lists(mintCrl(other, [300])));
  const stale = mintCrl(intermediate, [300], { nextUpdateMs: Date.now() - 1_000 });
  throws(() => check(lists(stale)), { code: "revoked" });
});

Deno.test("9.8: a list that its issuer did not sign revokes nothing", () => {
  const forger = mintIntermediate(mintRoot({ commonName: "mesh root" }));
  check(lists(mintCrl(intermediate, [300], { signer: forger })));
});

Deno.test("9.8: other PEM blocks are skipped, DER is taken, nothing is no list", () => {
  const pem = mintCrl(intermediate, [300]);
  strictEqual(lists(root.pem, pem, leaf.pem, mintCrl(root, [])).count, 2);
  const der = Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ""), "base64");
  throws(() => check(RevocationLists.parse(new Uint8Array(der))), { code: "revoked" });
  strictEqual(RevocationLists.parse(new Uint8Array(0)).count, 0);
  strictEqual(lists(root.pem).count, 0);
});

Deno.test("verifyPeer() with lists refuses the revoked, cached path or not", () => {
  const chain = [leaf.der, intermediate.der];
  const roots = trustRoots(root.pem);
  const options = { role: "client", nowMs: Date.now() } as const;
  verifyPeer(chain, roots, options);
  const revocation = lists(mintCrl(intermediate, [300]));
  throws(() => verifyPeer(chain, roots, { ...options, revocation }), (error: Error) => {
    match(error.message, /is revoked by its issuer/);
    return true;
  });
});

Deno.test("openssl's lists are read as our own", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const config =
      `[ca]\ndefault_ca=d\n[d]\ndatabase=${folder}/index.txt\ncrlnumber=${folder}/number\n` +
      `default_md=sha256\ndefault_crl_days=30\n`;
    const revoked = "R\t491231235959Z\t251231235959Z\t012C\tunknown\t/CN=leaf\n";
    await Deno.writeTextFile(`${folder}/ca.cnf`, config);
    await Deno.writeTextFile(`${folder}/index.txt`, revoked);
    await Deno.writeTextFile(`${folder}/number`, "01\n");
    await Deno.writeTextFile(`${folder}/ca.pem`, intermediate.pem);
    await Deno.writeTextFile(`${folder}/ca.key`, intermediate.keyPem);
    const made = await new Deno.Command("openssl", {
      args: [
        "ca",
        "-gencrl",
        "-config",
        "ca.cnf",
        "-cert",
        "ca.pem",
        "-keyfile",
        "ca.key",
        "-out",
        "crl.pem",
      ],
      cwd: folder,
    }).output();
    ok(made.success, new TextDecoder().decode(made.stderr));
    const crls = RevocationLists.parse(await Deno.readFile(`${folder}/crl.pem`));
    strictEqual(crls.count, 1);
    throws(() => check(crls), { code: "revoked" }, "012C is 300");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("any bytes are lists or a CertificateError", () => {
  const seed = Number(Deno.env.get("SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0]);
  const rng = seededRng(seed);
  const pem = mintCrl(intermediate, [300, 301]);
  const good = new Uint8Array(Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ""), "base64"));
  for (let run = 0; run < 3_000; run++) {
    const bytes = run % 3 === 0 ? rng.bytes(rng.below(200)) : good.slice();
    for (let change = 0; change < 3; change++) bytes[rng.below(bytes.length || 1)] = rng.below(256);
    try {
      RevocationLists.parse(bytes).check(path.map(({ der }) => der));
    } catch (error) {
      ok(error instanceof CertificateError, `SEED=${seed} run ${run}: ${error}`);
    }
  }
});
