/**
 * What is wrong with a certificate or a chain; stable, for metrics and tests.
 *
 * - `no_certificate`, `chain_too_long`: the presented list.
 * - `malformed`, `not_canonical`, `version`, `duplicate_extension`, `unknown_critical_extension`, `weak_key`,
 *   `weak_signature`: one certificate on its own.
 * - `untrusted`: no path to a root, or a signature that does not fit.
 * - `expired`, `not_yet_valid`, `leaf_is_ca`, `not_a_ca`, `cannot_sign`, `path_too_long`, `wrong_usage`,
 *   `name_constraint`: a certificate of the path may not be used so.
 * - `revoked`: a RevocationCheck says so.
 * - `no_roots`: nothing to trust.
 */
export type CertificateErrorCode =
  | "no_certificate"
  | "chain_too_long"
  | "malformed"
  | "not_canonical"
  | "version"
  | "duplicate_extension"
  | "unknown_critical_extension"
  | "weak_key"
  | "weak_signature"
  | "untrusted"
  | "expired"
  | "not_yet_valid"
  | "leaf_is_ca"
  | "not_a_ca"
  | "cannot_sign"
  | "path_too_long"
  | "wrong_usage"
  | "name_constraint"
  | "revoked"
  | "no_roots";

/** A certificate that we do not accept. */
export class CertificateError extends Error {
  override readonly name = "CertificateError";
  constructor(readonly code: CertificateErrorCode, message: string) {
    super(message);
  }
}
