import { ok } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { realClock } from "#system";
import { CertificateError, parseCertificate, trustRoots, verifyPeer } from "#tls";
import { RevocationLists } from "../../lib/tls/crl.ts";
import { packLists } from "../../lib/tls/packed_crl.ts";
import { run } from "../support/fuzz.ts";
import { realTurn } from "../support/network.ts";
import { mintCrl, mintIntermediate, mintLeaf, mintRoot } from "../support/pki.ts";

const root = mintRoot();
const intermediate = mintIntermediate(root);
const leaf = mintLeaf(intermediate, { uris: ["spiffe://cluster.local/ns/shop/sa/web"] });
const crl = Buffer.from(
  mintCrl(intermediate, [1, 300]).replace(/-----[^-]+-----|\s/g, ""),
  "base64",
);
const roots = trustRoots(root.pem);
const genuine = new Map(
  [leaf, intermediate, root].map(({ der }) => [Buffer.from(der).toString("hex"), der]),
);

function outcomeOf(read: () => unknown): string {
  try {
    read();
    return "read";
  } catch (error) {
    return codeOf(error);
  }
}

async function listOutcome(input: Uint8Array): Promise<string> {
  try {
    const lists = new RevocationLists(await packLists(input, { clock: realClock, turn: realTurn }));
    lists.check([leaf.der, intermediate.der, root.der]);
    return "read";
  } catch (error) {
    return codeOf(error);
  }
}

function codeOf(error: unknown): string {
  if (!(error instanceof CertificateError)) throw error;
  return error.code;
}

Deno.test("certificates and revocation lists of any bytes are read or refused with a code, and none is forged", async () => {
  const report = await run({
    name: "certificates",
    corpus: [leaf.der, intermediate.der, root.der, new Uint8Array(crl)],
    async try(input, rng) {
      if (rng.below(4) === 0) return `list ${await listOutcome(input)}`;
      const read = outcomeOf(() => parseCertificate(input));
      if (read !== "read") return read;
      const chain = [input, intermediate.der];
      const judged = outcomeOf(() =>
        verifyPeer(chain, roots, { role: "client", nowMs: Date.now() })
      );
      const isGenuine = genuine.has(Buffer.from(input).toString("hex"));
      ok(judged !== "read" || isGenuine, "a certificate that nobody signed is trusted");
      return `${read}, then ${judged}`;
    },
  });
  ok(report.inputs > 100, `only ${report.inputs} inputs`);
  ok(report.outcomes.size > 6, [...report.outcomes.keys()].join());
});
