import { Buffer } from "node:buffer";
import { type Certificate, parseCertificate } from "./certificate.ts";
import { CertificateError } from "./error.ts";
import { LruMap } from "./lru.ts";

/** What a verification starts from, and the paths that have been verified against it. */
export interface TrustRoots {
  readonly certificates: readonly Certificate[];
  /** PEM of exactly those. */
  readonly pem: string;
  /** Verified paths (leaf to root) by role and exact presented chain: their signatures need no second look. */
  readonly verified: LruMap<string, readonly Certificate[]>;
}

/** A path keeps about 4 KB alive. */
const VERIFIED_PATHS_MAX = 1_024;
/** The roots of now and of a rotation under way, with room. */
const ROOT_SETS_MAX = 16;
/** A public bundle has about 150. */
const ROOTS_MAX = 1_000;

const known = new LruMap<string, TrustRoots>(ROOT_SETS_MAX);

/**
 * The roots in `pem` (one or more certificates). Those that cannot be used are left out; throws a CertificateError
 * (`no_roots`) if none can. The same text gives the same object, with its verified paths.
 */
export function trustRoots(pem: string): TrustRoots {
  const before = known.get(pem);
  if (before !== undefined) return before;
  const certificates: Certificate[] = [];
  let problem = "there is no certificate in it";
  for (const der of derFromPem(pem).slice(0, ROOTS_MAX)) {
    try {
      certificates.push(parseCertificate(der, { root: true }));
    } catch (error) {
      if (!(error instanceof CertificateError)) throw error;
      problem = error.message;
    }
  }
  if (certificates.length === 0) {
    throw new CertificateError("no_roots", `cannot use the root bundle: ${problem}`);
  }
  const roots = {
    certificates,
    pem: certificates.map(({ der }) => pemFromDer(der)).join(""),
    verified: new LruMap<string, readonly Certificate[]>(VERIFIED_PATHS_MAX),
  };
  known.set(pem, roots);
  return roots;
}

/** The certificates of a PEM text, in its order; other blocks and text between them are skipped. */
export function derFromPem(pem: string): Uint8Array[] {
  const blocks = pem.matchAll(
    /-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]*)-----END CERTIFICATE-----/g,
  );
  return Array.from(blocks, ([, base64]) => new Uint8Array(Buffer.from(base64!, "base64")));
}

function pemFromDer(der: Uint8Array): string {
  const lines = Buffer.from(der).toString("base64").replace(/.{1,64}/g, "$&\n");
  return `-----BEGIN CERTIFICATE-----\n${lines}-----END CERTIFICATE-----\n`;
}
