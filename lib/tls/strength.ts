/**
 * Which signatures and keys are strong enough: ECDSA on the NIST curves, RSA from 2,048 bits, Ed25519; SHA-2.
 * @module
 */
import { constants, createPublicKey, type KeyObject, verify } from "node:crypto";
import { bodyOf, childrenOf, expectTag, readOid, readWhole, readWholeBits, Tag } from "./der.ts";
import { CertificateError } from "./error.ts";

/** RSA_BITS_MAX bounds what one signature check costs. */
const RSA_BITS_MIN = 2_048;
const RSA_BITS_MAX = 8_192;

type Family = "ec" | "rsa" | "ed25519";

interface Algorithm {
  readonly family: Family;
  readonly hash: "sha256" | "sha384" | "sha512" | null;
  /** RSASSA-PSS; its salt is as long as its hash. */
  readonly pssSaltBytes?: number;
}

/** By hex of the whole AlgorithmIdentifier, so that odd parameters are simply unknown. */
const ALGORITHMS: ReadonlyMap<string, Algorithm> = new Map<string, Algorithm>([
  ["300a06082a8648ce3d040302", { family: "ec", hash: "sha256" }],
  ["300a06082a8648ce3d040303", { family: "ec", hash: "sha384" }],
  ["300a06082a8648ce3d040304", { family: "ec", hash: "sha512" }],
  ["300d06092a864886f70d01010b0500", { family: "rsa", hash: "sha256" }],
  ["300d06092a864886f70d01010c0500", { family: "rsa", hash: "sha384" }],
  ["300d06092a864886f70d01010d0500", { family: "rsa", hash: "sha512" }],
  [pss("01", "20"), { family: "rsa", hash: "sha256", pssSaltBytes: 32 }],
  [pss("02", "30"), { family: "rsa", hash: "sha384", pssSaltBytes: 48 }],
  [pss("03", "40"), { family: "rsa", hash: "sha512", pssSaltBytes: 64 }],
  ["300506032b6570", { family: "ed25519", hash: null }],
]);

const KEY_EC = "2a8648ce3d0201";
const KEY_RSA = "2a864886f70d010101";
const KEY_ED25519 = "2b6570";
const CURVES: ReadonlySet<string> = new Set(["2a8648ce3d030107", "2b81040022", "2b81040023"]);

export function assertStrongSignature(algorithm: string): void {
  if (ALGORITHMS.has(algorithm)) return;
  throw new CertificateError("weak_signature", "certificate is signed by an algorithm we refuse");
}

/** Holds a SubjectPublicKeyInfo to the list above; its form too. */
export function assertStrongKey(spki: Uint8Array): void {
  familyOf(spki);
}

/** Whether `issuerSpki`'s key made `signature` over `tbs`. */
export function isSignedBy(
  signed: {
    readonly tbs: Uint8Array;
    readonly signature: Uint8Array;
    readonly signatureAlgorithm: string;
  },
  issuer: { readonly spki: Uint8Array },
): boolean {
  const algorithm = ALGORITHMS.get(signed.signatureAlgorithm);
  if (algorithm === undefined || algorithm.family !== familyOf(issuer.spki)) return false;
  try {
    const key = keyOf(issuer);
    const options = algorithm.pssSaltBytes === undefined ? { key } : {
      key,
      padding: constants.RSA_PKCS1_PSS_PADDING,
      saltLength: algorithm.pssSaltBytes,
    };
    return verify(algorithm.hash, signed.tbs, options, signed.signature);
  } catch {
    // A key or a signature that the library cannot read did not sign anything.
    return false;
  }
}

const keys = new WeakMap<object, KeyObject>();

function keyOf(issuer: { readonly spki: Uint8Array }): KeyObject {
  let key = keys.get(issuer);
  if (key === undefined) {
    const der = issuer.spki as Uint8Array<ArrayBuffer>;
    key = createPublicKey({ key: der as never, format: "der", type: "spki" });
    keys.set(issuer, key);
  }
  return key;
}

function familyOf(spki: Uint8Array): Family {
  const [algorithm, bits, ...more] = childrenOf(spki, readWhole(spki));
  const [id, parameters, ...others] = childrenOf(
    spki,
    expectTag(algorithm, Tag.sequence, "the key's algorithm"),
  );
  const key = readWholeBits(spki, bits, "the public key");
  if (more.length > 0 || others.length > 0) {
    throw new CertificateError("malformed", "public key has too many parts");
  }
  switch (readOid(spki, id)) {
    case KEY_EC:
      if (parameters?.tag === Tag.oid && CURVES.has(readOid(spki, parameters))) return "ec";
      break;
    case KEY_ED25519:
      if (parameters === undefined) return "ed25519";
      break;
    case KEY_RSA: {
      const bitCount = modulusBits(key);
      if (bitCount >= RSA_BITS_MIN && bitCount <= RSA_BITS_MAX) return "rsa";
      throw new CertificateError("weak_key", `certificate has an RSA key of ${bitCount} bits`);
    }
  }
  throw new CertificateError("weak_key", "certificate has a kind of key that we refuse");
}

function modulusBits(key: Uint8Array): number {
  const [modulus] = childrenOf(key, expectTag(readWhole(key), Tag.sequence, "an RSA key"));
  const body = bodyOf(key, expectTag(modulus, Tag.integer, "an RSA modulus"));
  const digits = body[0] === 0 ? body.subarray(1) : body;
  return digits.length * 8 - Math.clz32(digits[0] ?? 0) + 24;
}

/** id-RSASSA-PSS with one SHA-2 for message and MGF1, NULL parameters, and that hash's salt length. */
function pss(hash: string, salt: string): string {
  const sha = `300d06096086480165030402${hash}0500`;
  return `304106092a864886f70d01010a3034a00f${sha}a11c301a06092a864886f70d010108${sha}a2030201${salt}`;
}
