import { match, ok, rejects, strictEqual, throws } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { realClock, seededRng } from "#system";
import { CertificateError, trustRoots, verifyPeer } from "#tls";
import { OwnProcess } from "#linux";
import { RevocationLists } from "../../../lib/tls/crl.ts";
import { hasSerial, packLists } from "../../../lib/tls/packed_crl.ts";
import { sequence, tlv } from "../../support/der_writer.ts";
import { realTurn } from "../../support/network.ts";
import { mintCrl, type Minted, mintIntermediate, mintLeaf, mintRoot } from "../../support/pki.ts";

const { threadProcessorMs } = OwnProcess;
const root = mintRoot({ serial: 100 });
const intermediate = mintIntermediate(root, { serial: 200 });
const leaf = mintLeaf(intermediate, { serial: 300, uris: ["spiffe://td/ns/a/sa/b"] });
const path = [leaf, intermediate, root];
const bytesOf = (text: string) => new TextEncoder().encode(text);
const pack = (bytes: Uint8Array) => packLists(bytes, { clock: realClock, turn: realTurn });
const packed = (...pems: string[]) => pack(bytesOf(pems.join("\n")));
const lists = async (...pems: string[]) => new RevocationLists(await packed(...pems));
const derOf = (pem: string) =>
  new Uint8Array(Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ""), "base64"));
const check = (crls: RevocationLists, certificates: readonly Minted[] = path) =>
  crls.check(certificates.map(({ der }) => der));
const judge = async (...pems: string[]) => check(await lists(...pems));

Deno.test("9.8: a revoked leaf or intermediate is refused, whoever else is not", async () => {
  await rejects(judge(mintCrl(intermediate, [1, 300])), { code: "revoked" });
  await rejects(judge(mintCrl(root, [200])), { code: "revoked" });
  await judge(mintCrl(intermediate, [301, 302]));
  await judge(mintCrl(root, [300]));
  await judge(mintCrl(intermediate, []));
});

Deno.test("9.8: an issuer without a list accepts, and nextUpdate in the past does not matter", async () => {
  await judge();
  const other = mintRoot({ commonName: "other" });
  await judge(mintCrl(other, [300]));
  const stale = mintCrl(intermediate, [300], { nextUpdateMs: Date.now() - 1_000 });
  await rejects(judge(stale), { code: "revoked" });
});

Deno.test("9.8: a list that its issuer did not sign revokes nothing", async () => {
  const forger = mintIntermediate(mintRoot({ commonName: "mesh root" }));
  await judge(mintCrl(intermediate, [300], { signer: forger }));
});

Deno.test("9.8: other PEM blocks are skipped, DER is taken, nothing is no list", async () => {
  const pem = mintCrl(intermediate, [300]);
  strictEqual((await packed(root.pem, pem, leaf.pem, mintCrl(root, []))).length, 2);
  const fromDer = new RevocationLists(await pack(derOf(pem)));
  throws(() => check(fromDer), { code: "revoked" });
  strictEqual((await pack(new Uint8Array(0))).length, 0);
  strictEqual((await packed(root.pem)).length, 0);
});

Deno.test("verifyPeer() with lists refuses the revoked, cached path or not", async () => {
  const chain = [leaf.der, intermediate.der];
  const roots = trustRoots(root.pem);
  const options = { role: "client", nowMs: Date.now() } as const;
  verifyPeer(chain, roots, options);
  const revocation = await lists(mintCrl(intermediate, [300]));
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
    const read = await pack(await Deno.readFile(`${folder}/crl.pem`));
    strictEqual(read.length, 1);
    const crls = new RevocationLists(read);
    throws(() => check(crls), { code: "revoked" }, "012C is 300");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("any bytes are lists or a CertificateError", async () => {
  const seed = Number(Deno.env.get("SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0]);
  const rng = seededRng(seed);
  const good = derOf(mintCrl(intermediate, [300, 301]));
  for (let run = 0; run < 3_000; run++) {
    const bytes = run % 3 === 0 ? rng.bytes(rng.below(200)) : good.slice();
    for (let change = 0; change < 3; change++) bytes[rng.below(bytes.length || 1)] = rng.below(256);
    try {
      check(new RevocationLists(await pack(bytes)));
    } catch (error) {
      ok(error instanceof CertificateError, `SEED=${seed} run ${run}: ${error}`);
    }
  }
});

Deno.test("9.8: of a hundred thousand serial numbers each is found and no other, and nobody is held up meanwhile", async () => {
  const isOdd = (serial: number) => serial % 2 === 1;
  const serials = Array.from({ length: 100_000 }, (_, at) => 1 + 2 * at);
  const pem = mintCrl(intermediate, [...serials, ...serials.slice(0, 10)]);
  const bytes = bytesOf(pem);
  let lastMs = threadProcessorMs();
  const turnsMs: number[] = [];
  const turn = async () => {
    turnsMs.push(threadProcessorMs() - lastMs);
    await realTurn();
    lastMs = threadProcessorMs();
  };
  const [list] = await packLists(bytes, { clock: realClock, turn });
  turnsMs.sort((a, b) => a - b);
  ok(turnsMs.length > 2, `${turnsMs}`);
  // The longest have whatever collecting and compiling there was, in half of them at most.
  ok(turnsMs[turnsMs.length >> 1]! < 10, `${turnsMs}`);
  const integer = (serial: number) => {
    const hex = serial.toString(16);
    const even = hex.length % 2 === 0 ? hex : `0${hex}`;
    return Uint8Array.fromHex(parseInt(even.slice(0, 2), 16) < 0x80 ? even : `00${even}`);
  };
  for (let serial = 1; serial <= 200_001; serial++) {
    const isListed = isOdd(serial) && serial < 200_000;
    if (hasSerial(list!, integer(serial)) !== isListed) throw new Error(`${serial}`);
  }
  // What a data thread does with it costs the same for any list.
  const timesMs = Array.from({ length: 5 }, () => {
    const beforeMs = threadProcessorMs();
    check(new RevocationLists([list!]));
    return threadProcessorMs() - beforeMs;
  });
  ok(Math.min(...timesMs) < 2, `${timesMs} ms`);
});

Deno.test("9.8: what is no list says so, in words about lists", async () => {
  const block = (base64: string) => `-----BEGIN X509 CRL-----\n${base64}\n-----END X509 CRL-----\n`;
  for (
    const [text, said] of [
      [block("AAAA"), /^CRL has an unusable tag/],
      [block("!"), /^a CRL's PEM is no base64/],
      [block("A".repeat(300_001)), /^a CRL's PEM is no base64|^CRL has/],
      [block(""), /^CRL ends in the middle/],
      [
        "\x30\x03\x02\x01\x01",
        /has tag 0x2 where the CRL's content should be|algorithm is missing/,
      ],
    ] as const
  ) await rejects(packed(text), { name: "CertificateError", message: said });
  // Half of a file is no file: the lists that are missing would be taken for lifted.
  const whole = mintCrl(intermediate, [300]) + mintCrl(root, [200]);
  for (const cut of [whole.length - 2, whole.length - 30, whole.length - 200]) {
    await rejects(packed(whole.slice(0, cut)), /a CRL's PEM ends in the middle/);
  }
  const some = mintCrl(intermediate, [1]);
  await rejects(packed(some.repeat(4_097)), /more than 4096 CRLs/);
  const many = mintCrl(intermediate, [], {
    entriesDer: Buffer.alloc(3_000_001 * 5, Uint8Array.of(0x30, 3, 2, 1, 1)),
  });
  await rejects(packed(many), /more than 3000000 revoked certificates/);
  await rejects(pack(new Uint8Array((64 << 20) + 1)), /more than 67108864 bytes of CRLs/);
});

Deno.test("9.8: serial numbers of any length are packed in slices, and one that no certificate can have is nobody's", async () => {
  const long = (length: number, last: number) => {
    const body = Buffer.alloc(length, 1);
    body[length - 1] = last;
    return body;
  };
  const lengths = [...Array.from({ length: 100 }, () => 60_000), 65_536, 20];
  const serials = lengths.map(long);
  const entriesDer = Buffer.concat(
    serials.map((body) => sequence(tlv(0x02, body))),
  );
  let looksCount = 0;
  const clock = { ...realClock, monotonicMs: () => looksCount++ * 0 };
  const [list] = await packLists(derOf(mintCrl(intermediate, [], { entriesDer })), {
    clock,
    turn: realTurn,
  });
  ok(looksCount > 2 * 100, `the clock was looked at ${looksCount} times`);
  for (const serial of serials) strictEqual(hasSerial(list!, serial), serial.length < 65_536);
  ok(!hasSerial(list!, long(60_000, 200)));
});
