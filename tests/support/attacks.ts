/**
 * Certificates that nobody may accept, for clients, servers and gRPC alike. `genuine` is what each pretends to be.
 * @module
 */
import {
  type CertOptions,
  extension,
  mint,
  type Minted,
  mintIntermediate,
  mintLeaf,
  mintRoot,
  newKeys,
  withDer,
} from "./pki.ts";
import { REENCODINGS } from "./reencode.ts";
import * as der from "./der_writer.ts";

export interface Attack {
  readonly name: string;
  /** Leaf first; the leaf's key is what the attacker has. */
  readonly chain: readonly Minted[];
  /** What our own verification says, by code. */
  readonly code: string;
}

const DAY_MS = 86_400_000;

/** `names` are those of the certificate that is attacked, `root` the authority that everybody trusts. */
export function attacks(root: Minted, names: CertOptions): Attack[] {
  const plainCa = mintIntermediate(root, { commonName: "plain" });
  const below = (options: CertOptions): Minted[] => {
    const ca = mintIntermediate(root, { commonName: "bad CA", ...options });
    return [mintLeaf(ca, names), ca];
  };
  const leaf = (options: CertOptions): Minted[] => [mintLeaf(root, { ...names, ...options })];
  const critical = extension("1.2.3.4.5", true, der.octets());
  const constrained = extension("2.5.29.19", true, der.sequence(der.boolean(true), der.integer(0)));
  const shortCa = mintIntermediate(root, { commonName: "short", pathLength: 0 });
  const longer = mintIntermediate(shortCa, { commonName: "one too many" });
  const untrusted = mintRoot({ commonName: "somebody else" });
  const twin = mintRoot();
  const forged = { ...names, version: 1, signature: "forged", keyUsage: null } as const;
  const reencoded = Object.entries(REENCODINGS).map(([what, change]): Attack => ({
    name: `a genuine certificate with ${what} and a foreign key`,
    chain: [withDer(mintLeaf(root, names), change(mintLeaf(root, names).der), newKeys("p256"))],
    code: "not_canonical",
  }));
  return [
    { name: "a forged, unsigned v1 certificate", chain: [mint(forged, root)], code: "version" },
    ...reencoded,
    {
      name: "a certificate of another authority",
      chain: [mintLeaf(untrusted, names)],
      code: "untrusted",
    },
    {
      name: "a certificate of another authority of the same name",
      chain: [mintLeaf(twin, names)],
      code: "untrusted",
    },
    {
      name: "a self-signed certificate",
      chain: [mint({ ...names, ca: false })],
      code: "untrusted",
    },
    {
      name: "an expired certificate",
      chain: leaf({ notBeforeMs: Date.now() - 2 * DAY_MS, notAfterMs: Date.now() - DAY_MS }),
      code: "expired",
    },
    {
      name: "a certificate that is not valid yet",
      chain: leaf({ notBeforeMs: Date.now() + DAY_MS, notAfterMs: Date.now() + 2 * DAY_MS }),
      code: "not_yet_valid",
    },
    {
      name: "an expired intermediate",
      chain: below({ notBeforeMs: Date.now() - 2 * DAY_MS, notAfterMs: Date.now() - DAY_MS }),
      code: "expired",
    },
    {
      name: "a certificate for code signing only",
      chain: leaf({ extKeyUsage: ["codeSigning"] }),
      code: "wrong_usage",
    },
    {
      name: "an intermediate for code signing only",
      chain: below({ extKeyUsage: ["codeSigning"] }),
      code: "wrong_usage",
    },
    {
      name: "a certificate that may not sign",
      chain: leaf({ keyUsage: ["keyEncipherment"] }),
      code: "wrong_usage",
    },
    {
      name: "a CA's own certificate",
      chain: leaf({ ca: true, keyUsage: ["digitalSignature", "keyCertSign"] }),
      code: "leaf_is_ca",
    },
    { name: "an intermediate without the CA flag", chain: below({ ca: false }), code: "not_a_ca" },
    {
      name: "an intermediate without basic constraints",
      chain: below({ ca: null }),
      code: "not_a_ca",
    },
    {
      name: "an intermediate without keyCertSign",
      chain: below({ keyUsage: ["digitalSignature"] }),
      code: "cannot_sign",
    },
    {
      name: "a path that is longer than a CA allows",
      chain: [mintLeaf(longer, names), longer, shortCa],
      code: "path_too_long",
    },
    {
      name: "a URI outside the permitted names",
      chain: below({ permitted: { uris: ["other.test"], dns: ["other.test"] } }),
      code: "name_constraint",
    },
    {
      name: "a URI inside the excluded names",
      chain: below({ excluded: { uris: ["cluster.local"], dns: ["istiod.test"] } }),
      code: "name_constraint",
    },
    {
      name: "a name constraint of a kind nobody checks",
      chain: below({ permitted: { emails: ["x@y"] } }),
      code: "unknown_critical_extension",
    },
    {
      name: "an unknown critical extension",
      chain: leaf({ rawExtensions: [critical] }),
      code: "unknown_critical_extension",
    },
    {
      name: "an unknown critical extension in an intermediate",
      chain: below({ rawExtensions: [critical] }),
      code: "unknown_critical_extension",
    },
    {
      name: "an extension that comes twice",
      chain: below({ rawExtensions: [constrained] }),
      code: "duplicate_extension",
    },
    {
      name: "a chain of nine",
      chain: [mintLeaf(plainCa, names), ...Array<Minted>(8).fill(plainCa)],
      code: "chain_too_long",
    },
    { name: "a signature with SHA-1", chain: leaf({ hash: "sha1" }), code: "weak_signature" },
    {
      name: "an intermediate that is missing",
      chain: [mintLeaf(plainCa, names)],
      code: "untrusted",
    },
  ];
}
