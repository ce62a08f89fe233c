/**
 * One X.509 certificate as we need it, or a CertificateError. No trust is decided here.
 *
 * The form comes first: node:tls skips proof of possession for a certificate whose encoding its parser refuses
 * (runtime.md S1), so whatever that parser may refuse, we must refuse too. We take only the plain profile: v3,
 * canonical DER throughout, no unique identifiers, no unknown critical extension.
 * @module
 */
import {
  assertStrict,
  bodyOf,
  childrenOf,
  expectTag,
  readOid,
  readPrintable,
  readSmallInteger,
  readTime,
  readWhole,
  readWholeBits,
  Tag,
  type Tlv,
  wholeOf,
} from "./der.ts";
import { CertificateError } from "./error.ts";
import { type Extensions, readExtensions } from "./extensions.ts";
import { assertStrongKey, assertStrongSignature } from "./strength.ts";

/** What one certificate says of itself. */
export interface Certificate extends Extensions {
  readonly der: Uint8Array;
  /** The signed part, as it stands in `der`. */
  readonly tbs: Uint8Array;
  /** Hex of the AlgorithmIdentifier's DER; unless a root's, one of those in `strength.ts`. */
  readonly signatureAlgorithm: string;
  readonly signature: Uint8Array;
  /** Content of the INTEGER. */
  readonly serial: Uint8Array;
  /** DER of the Name. */
  readonly issuer: Uint8Array;
  readonly subject: Uint8Array;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** DER of the SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
}

/** What the TLS library underneath can read at all; longer ones it calls badly encoded. */
const CERTIFICATE_BYTES_MAX = 65_535;

const VERSION_3 = 2;
const COMMON_NAME = "550403";
const NAME_CHARACTERS_MAX = 100;

/**
 * Reads one certificate (RFC 5280 section 4.1). Total: any bytes give a value or a CertificateError. `root`
 * allows a weak signature: what a trusted root says of itself proves nothing either way.
 */
export function parseCertificate(
  der: Uint8Array,
  options: { readonly root?: boolean } = {},
): Certificate {
  if (der.length > CERTIFICATE_BYTES_MAX) {
    throw new CertificateError(
      "malformed",
      `certificate is longer than ${CERTIFICATE_BYTES_MAX} bytes`,
    );
  }
  const outer = expectTag(readWhole(der), Tag.sequence, "a certificate");
  const parts = childrenOf(der, outer);
  if (parts.length !== 3) {
    throw new CertificateError("not_canonical", `certificate has ${parts.length} parts, not 3`);
  }
  assertStrict(der, outer);
  const tbs = expectTag(parts[0], Tag.sequence, "the signed part");
  const algorithm = expectTag(parts[1], Tag.sequence, "the signature algorithm");
  const signature = readWholeBits(der, parts[2], "the signature");
  const signed = readSigned(der, childrenOf(der, tbs));
  const signatureAlgorithm = wholeOf(der, algorithm).toHex();
  if (signed.algorithm !== signatureAlgorithm) {
    throw new CertificateError("not_canonical", "certificate names two signature algorithms");
  }
  if (!options.root) assertStrongSignature(signatureAlgorithm);
  assertStrongKey(signed.fields.spki);
  return { der, tbs: wholeOf(der, tbs), signatureAlgorithm, signature, ...signed.fields };
}

/** For messages: its first name, or what else tells it apart. */
export function describeCertificate(certificate: Certificate): string {
  const name = certificate.uris[0] ?? certificate.dnsNames[0] ?? commonNameOf(certificate.subject);
  const text = name ?? `with serial ${certificate.serial.toHex()}`;
  return `"${text.slice(0, NAME_CHARACTERS_MAX)}"`;
}

function readSigned(der: Uint8Array, fields: readonly Tlv[]) {
  const [version, serial, algorithm, issuer, validity, subject, spki, extensions, ...more] = fields;
  if (version?.tag !== 0xa0 || fields.length < 7) {
    throw new CertificateError("version", "certificate is not of version 3");
  }
  const [number, ...rest] = childrenOf(der, version);
  if (
    number === undefined || rest.length > 0 ||
    readSmallInteger(der, number, "version") !== VERSION_3
  ) {
    throw new CertificateError("version", "certificate is not of version 3");
  }
  // Issuer and subject unique identifiers would stand here: nobody issues them, and parsers disagree on them.
  if (more.length > 0 || (extensions !== undefined && extensions.tag !== 0xa3)) {
    throw new CertificateError("malformed", "certificate has fields outside the plain profile");
  }
  const [notBefore, notAfter, ...others] = childrenOf(
    der,
    expectTag(validity, Tag.sequence, "the validity"),
  );
  if (others.length > 0) {
    throw new CertificateError("malformed", "validity has more than two times");
  }
  return {
    algorithm: wholeOf(der, expectTag(algorithm, Tag.sequence, "the inner algorithm")).toHex(),
    fields: {
      serial: bodyOf(der, expectTag(serial, Tag.integer, "the serial number")),
      issuer: wholeOf(der, expectTag(issuer, Tag.sequence, "the issuer")),
      subject: wholeOf(der, expectTag(subject, Tag.sequence, "the subject")),
      notBeforeMs: readTime(der, notBefore),
      notAfterMs: readTime(der, notAfter),
      spki: wholeOf(der, expectTag(spki, Tag.sequence, "the public key")),
      ...readExtensions(der, extensions),
    },
  };
}

function commonNameOf(subject: Uint8Array): string | undefined {
  try {
    for (const set of childrenOf(subject, readWhole(subject))) {
      for (const attribute of childrenOf(subject, set)) {
        const [type, value] = childrenOf(subject, attribute);
        if (readOid(subject, type) === COMMON_NAME) {
          return value && readPrintable(subject, value, "common name");
        }
      }
    }
  } catch {
    // An odd name is no reason to refuse: subjects are compared as bytes, and described by their serial then.
  }
  return undefined;
}
