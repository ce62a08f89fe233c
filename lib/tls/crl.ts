/**
 * Certificate revocation lists (RFC 5280 section 5; behaviour.md 9.8).
 * @module
 */
import { type Certificate, describeCertificate, parseCertificate } from "./certificate.ts";
import { CertificateError } from "./error.ts";
import { hasSerial, type ListHead, type PackedList, readHead } from "./packed_crl.ts";
import { isSignedBy } from "./strength.ts";
import type { RevocationCheck } from "./types.ts";

/** One list: who says it, and of which serial numbers. */
interface RevocationList extends ListHead, PackedList {
  /** Hex of public keys to whether they signed this list: asked for each handshake. */
  readonly signers: Map<string, boolean>;
}

/**
 * The lists of one file. A certificate whose issuer has no list here is accepted, and a list's nextUpdate does not
 * matter, as the reference does: a list that comes late must not stop a mesh.
 */
export class RevocationLists implements RevocationCheck {
  readonly #lists: readonly RevocationList[];

  /** Made by `packLists`. */
  constructor(lists: readonly PackedList[]) {
    this.#lists = lists.map((list) => ({ ...list, ...readHead(list.der), signers: new Map() }));
  }

  /** `path` is leaf, intermediates, root. Throws a CertificateError (revoked). */
  check(path: readonly Uint8Array[]): void {
    if (this.#lists.length === 0) return;
    const certificates = path.map((der, index) =>
      parseCertificate(der, { root: index === path.length - 1 })
    );
    for (const [index, certificate] of certificates.entries()) {
      const issuer = certificates[index + 1];
      if (issuer === undefined) return;
      for (const list of this.#lists) {
        if (equal(list.issuer, issuer.subject) && lists(list, certificate, issuer)) {
          throw new CertificateError(
            "revoked",
            `certificate ${describeCertificate(certificate)} is revoked by its issuer`,
          );
        }
      }
    }
  }
}

/** The signature is looked at only when it matters: most serials are in no list. */
function lists(list: RevocationList, certificate: Certificate, issuer: Certificate): boolean {
  if (!hasSerial(list, certificate.serial)) return false;
  const key = issuer.spki.toHex();
  let signed = list.signers.get(key);
  if (signed === undefined) {
    // Of its own, since the verifier takes no shared memory.
    signed = isSignedBy({ ...list, tbs: list.tbs.slice() }, issuer);
    list.signers.set(key, signed);
  }
  return signed;
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}
