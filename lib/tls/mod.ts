/**
 * Mutual TLS over any ByteStream, with our own verification of every peer on every connection.
 *
 * Owns: secure contexts, handshakes, the canonical-form, chain, SPIFFE and CRL checks; the CertBundle type. Never:
 * fetching bundles, trusting node:tls's `authorized` (runtime.md section 0). Runs on: every thread.
 *
 * @module
 */
export type {
  CertBundle,
  Peer,
  RevocationCheck,
  Secured,
  ServerTrust,
  Tls,
  TlsOptions,
} from "./types.ts";
export { connectTls, createTls } from "./tls.ts";
export { type VerifyOptions, verifyPeer } from "./verify.ts";
export { CertificateError, type CertificateErrorCode } from "./error.ts";
export { type Certificate, parseCertificate } from "./certificate.ts";
export { derFromPem, type TrustRoots, trustRoots } from "./roots.ts";
export { usableRoots } from "./materials.ts";
export type { PackedList } from "./packed_crl.ts";
export { Revocations, type RevocationsOptions } from "./revocations.ts";
