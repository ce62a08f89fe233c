/**
 * Certificate revocation lists (RFC 5280 section 5; behaviour.md 9.8).
 * @module
 */
import { type Certificate, describeCertificate, parseCertificate } from "./certificate.ts";
import {
  bodyOf,
  childrenOf,
  expectTag,
  readTime,
  readWhole,
  readWholeBits,
  Tag,
  type Tlv,
  wholeOf,
} from "./der.ts";
import { CertificateError } from "./error.ts";
import { assertStrongSignature, isSignedBy } from "./strength.ts";
import type { RevocationCheck } from "./types.ts";

/** A list of a million revoked certificates is about 40 MB; more is a mistake. */
const FILE_BYTES_MAX = 64 << 20;
const PEM_BLOCK = /-----BEGIN X509 CRL-----([\s\S]*?)-----END X509 CRL-----/g;

/** One list: who says it, and of which serial numbers. */
interface RevocationList {
  readonly tbs: Uint8Array;
  readonly signature: Uint8Array;
  readonly signatureAlgorithm: string;
  /** DER of the Name. */
  readonly issuer: Uint8Array;
  /** Hex of the INTEGERs' content. */
  readonly revoked: ReadonlySet<string>;
  /** Hex of public keys to whether they signed this list: asked for each handshake. */
  readonly signers: Map<string, boolean>;
}

/**
 * The lists of one file. A certificate whose issuer has no list here is accepted, and a list's nextUpdate does not
 * matter, as the reference does: a list that comes late must not stop a mesh.
 */
export class RevocationLists implements RevocationCheck {
  private constructor(private readonly lists: readonly RevocationList[]) {}

  /** PEM (other blocks are skipped) or one DER list; empty bytes are no lists. Throws a CertificateError. */
  static parse(bytes: Uint8Array): RevocationLists {
    if (bytes.length > FILE_BYTES_MAX) {
      throw new CertificateError("malformed", `more than ${FILE_BYTES_MAX} bytes of CRLs`);
    }
    return new RevocationLists(dersOf(bytes).map(parseList));
  }

  get count(): number {
    return this.lists.length;
  }

  /** `path` is leaf, intermediates, root. Throws a CertificateError (revoked). */
  check(path: readonly Uint8Array[]): void {
    if (this.lists.length === 0) return;
    const certificates = path.map((der, index) =>
      parseCertificate(der, { root: index === path.length - 1 })
    );
    for (const [index, certificate] of certificates.entries()) {
      const issuer = certificates[index + 1];
      if (issuer === undefined) return;
      for (const list of this.lists) {
        if (equal(list.issuer, issuer.subject) && this.#lists(list, certificate, issuer)) {
          throw new CertificateError(
            "revoked",
            `certificate ${describeCertificate(certificate)} is revoked by its issuer`,
          );
        }
      }
    }
  }

  /** The signature is looked at only when it matters: most serials are in no list. */
  #lists(list: RevocationList, certificate: Certificate, issuer: Certificate): boolean {
    if (!list.revoked.has(certificate.serial.toHex())) return false;
    const key = issuer.spki.toHex();
    let signed = list.signers.get(key);
    if (signed === undefined) {
      signed = isSignedBy(list, issuer);
      list.signers.set(key, signed);
    }
    return signed;
  }
}

function dersOf(bytes: Uint8Array): Uint8Array[] {
  const head = new TextDecoder().decode(bytes.subarray(0, 10));
  if (bytes.length === 0) return [];
  if (head !== "-----BEGIN") return [bytes];
  const text = new TextDecoder().decode(bytes);
  return [...text.matchAll(PEM_BLOCK)].map((match) => {
    try {
      return Uint8Array.fromBase64(match[1]!.replace(/\s/g, ""));
    } catch {
      throw new CertificateError("malformed", "a CRL's PEM is no base64");
    }
  });
}

function parseList(der: Uint8Array): RevocationList {
  const [tbs, algorithm, bits, ...more] = childrenOf(
    der,
    expectTag(readWhole(der), Tag.sequence, "a CRL"),
  );
  if (more.length > 0) throw new CertificateError("malformed", "CRL has too many parts");
  const signatureAlgorithm = wholeOf(
    der,
    expectTag(algorithm, Tag.sequence, "the CRL's algorithm"),
  ).toHex();
  assertStrongSignature(signatureAlgorithm);
  const fields = childrenOf(der, expectTag(tbs, Tag.sequence, "the CRL's content"));
  // version is optional here, and an INTEGER; the algorithm that follows is a SEQUENCE.
  if (fields[0]?.tag === Tag.integer) fields.shift();
  const [inner, issuer, thisUpdate, ...rest] = fields;
  if (wholeOf(der, expectTag(inner, Tag.sequence, "an algorithm")).toHex() !== signatureAlgorithm) {
    throw new CertificateError("malformed", "CRL names two signature algorithms");
  }
  readTime(der, thisUpdate);
  return {
    tbs: wholeOf(der, tbs!),
    signature: readWholeBits(der, bits, "the CRL's signature"),
    signatureAlgorithm,
    issuer: wholeOf(der, expectTag(issuer, Tag.sequence, "the CRL's issuer")),
    revoked: revokedIn(der, rest),
    signers: new Map(),
  };
}

/** nextUpdate, if any, and the entries, if any, come before the extensions. */
function revokedIn(der: Uint8Array, rest: readonly Tlv[]): Set<string> {
  const entries = rest.find((value) => value.tag === Tag.sequence);
  const serials = new Set<string>();
  if (entries === undefined) return serials;
  for (const entry of childrenOf(der, entries)) {
    const [serial] = childrenOf(der, expectTag(entry, Tag.sequence, "a revoked certificate"));
    serials.add(bodyOf(der, expectTag(serial, Tag.integer, "a serial number")).toHex());
  }
  return serials;
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}
