/**
 * Whether we trust the chain that a peer presented, by our own reading of it (RFC 5280 section 6, without
 * policies). node:tls's opinion counts for nothing here (runtime.md section 0).
 * @module
 */
import { createHash } from "node:crypto";
import { SpiffeId } from "#values";
import { type Certificate, describeCertificate, parseCertificate } from "./certificate.ts";
import { CertificateError } from "./error.ts";
import { forbiddenName } from "./names.ts";
import type { TrustRoots } from "./roots.ts";
import { isSignedBy } from "./strength.ts";
import type { Peer, RevocationCheck } from "./types.ts";

export interface VerifyOptions {
  /** What the peer is to us. */
  readonly role: "client" | "server";
  readonly nowMs: number;
  readonly revocation?: RevocationCheck | undefined;
}

/** Leaf and intermediates together; meshes use two or three. */
const CHAIN_LENGTH_MAX = 8;
/** Certificates of one name make the search branch: this bounds it, at well under a millisecond per check. */
const SIGNATURE_CHECKS_MAX = 32;

const PURPOSE = { server: "2b06010505070301", client: "2b06010505070302" } as const;

/**
 * Verifies `chain` (DER as presented, leaf first) and says who that is. Throws a CertificateError. Signatures
 * are checked once per exact chain, role and set of roots; times and revocation every time.
 */
export function verifyPeer(
  chain: readonly Uint8Array[],
  roots: TrustRoots,
  options: VerifyOptions,
): Peer {
  const { nowMs, role } = options;
  if (chain.length === 0) {
    throw new CertificateError("no_certificate", "the peer presented no certificate");
  }
  if (chain.length > CHAIN_LENGTH_MAX) {
    throw new CertificateError(
      "chain_too_long",
      `the peer presented ${chain.length} certificates, more than ${CHAIN_LENGTH_MAX}`,
    );
  }
  const key = keyOf(chain, role);
  let path = roots.verified.get(key);
  if (path === undefined || !path.every((certificate) => isCurrent(certificate, nowMs))) {
    path = new Search(chain.map((der) => parseCertificate(der)), roots, role, nowMs).path();
    roots.verified.set(key, path);
  }
  options.revocation?.check(path.map(({ der }) => der));
  const identities = path[0]!.uris.map((uri) => SpiffeId.parse(uri)).filter((id) =>
    id !== undefined
  );
  return {
    identities,
    identity: identities[0],
    path: path.slice(0, -1).map(({ der }) => der),
    anchor: path.at(-1)!.der,
    isRevoked: false,
  };
}

/** Looks for the way from a leaf to a root, depth first, within a fixed number of signature checks. */
class Search {
  #checksLeft = SIGNATURE_CHECKS_MAX;
  /** Why the most promising way failed. */
  #obstacle: CertificateError | undefined;

  constructor(
    private readonly presented: readonly Certificate[],
    private readonly roots: TrustRoots,
    private readonly role: "client" | "server",
    private readonly nowMs: number,
  ) {}

  path(): readonly Certificate[] {
    const leaf = this.presented[0]!;
    assertLeaf(leaf, this.role);
    assertCurrent(leaf, this.nowMs);
    const path = this.#extend([leaf]);
    if (path !== undefined) return path;
    throw this.#obstacle ?? new CertificateError(
      "untrusted",
      `certificate ${describeCertificate(leaf)} has no path to our roots: its issuer is unknown`,
    );
  }

  #extend(path: readonly Certificate[]): readonly Certificate[] | undefined {
    const last = path[path.length - 1]!;
    const isIssuer = ({ subject }: Certificate) => equal(subject, last.issuer);
    for (const root of this.roots.certificates.filter(isIssuer)) {
      if (this.#mayIssue(root, path)) return [...path, root];
    }
    for (const candidate of this.presented.slice(1).filter(isIssuer)) {
      if (path.includes(candidate) || !this.#mayIssue(candidate, path)) continue;
      const whole = this.#extend([...path, candidate]);
      if (whole !== undefined) return whole;
    }
    return undefined;
  }

  #mayIssue(issuer: Certificate, path: readonly Certificate[]): boolean {
    const below = path[path.length - 1]!;
    if (this.#checksLeft-- <= 0) {
      this.#obstacle = new CertificateError(
        "untrusted",
        `certificate ${
          describeCertificate(path[0]!)
        } has no path to our roots that can be found in ` +
          `${SIGNATURE_CHECKS_MAX} steps`,
      );
      return false;
    }
    try {
      if (!isSignedBy(below, issuer)) {
        throw new CertificateError(
          "untrusted",
          `certificate ${describeCertificate(below)} is not signed by ${
            describeCertificate(issuer)
          } that we know`,
        );
      }
      assertIssuer(issuer, path, this.role);
      assertCurrent(issuer, this.nowMs);
      return true;
    } catch (error) {
      if (!(error instanceof CertificateError)) throw error;
      // A wrong signature says least: several certificates may have one name.
      if (this.#obstacle === undefined || this.#obstacle.code === "untrusted") {
        this.#obstacle = error;
      }
      return false;
    }
  }
}

function assertLeaf(leaf: Certificate, role: "client" | "server"): void {
  if (leaf.ca) {
    throw new CertificateError(
      "leaf_is_ca",
      `certificate ${describeCertificate(leaf)} is a CA's, not a peer's`,
    );
  }
  if (leaf.keyUsage?.has("digitalSignature") === false) {
    throw new CertificateError(
      "wrong_usage",
      `certificate ${describeCertificate(leaf)} may not be used for signatures`,
    );
  }
  assertPurpose(leaf, role);
}

function assertIssuer(
  issuer: Certificate,
  path: readonly Certificate[],
  role: "client" | "server",
): void {
  const name = describeCertificate(issuer);
  if (!issuer.ca) {
    throw new CertificateError("not_a_ca", `certificate ${name} signed another but is no CA`);
  }
  if (issuer.keyUsage?.has("keyCertSign") === false) {
    throw new CertificateError("cannot_sign", `CA ${name} may not sign certificates`);
  }
  const intermediates = path.length - 1;
  if (issuer.pathLengthMax !== undefined && intermediates > issuer.pathLengthMax) {
    throw new CertificateError(
      "path_too_long",
      `CA ${name} allows ${issuer.pathLengthMax} CAs below it, not ${intermediates}`,
    );
  }
  assertPurpose(issuer, role);
  if (issuer.nameConstraints === undefined) return;
  for (const below of path) {
    const forbidden = forbiddenName(issuer.nameConstraints, below);
    if (forbidden === undefined) continue;
    throw new CertificateError("name_constraint", `CA ${name} may not vouch for "${forbidden}"`);
  }
}

/** A CA that names purposes passes on no others; "any" is not enough, as in the TLS library underneath. */
function assertPurpose(certificate: Certificate, role: "client" | "server"): void {
  if (certificate.extKeyUsage?.includes(PURPOSE[role]) !== false) return;
  throw new CertificateError(
    "wrong_usage",
    `certificate ${describeCertificate(certificate)} is not for TLS ${role}s`,
  );
}

function isCurrent(certificate: Certificate, nowMs: number): boolean {
  return nowMs >= certificate.notBeforeMs && nowMs <= certificate.notAfterMs;
}

function assertCurrent(certificate: Certificate, nowMs: number): void {
  if (isCurrent(certificate, nowMs)) return;
  const early = nowMs < certificate.notBeforeMs;
  const [code, what, atMs] = early
    ? ["not_yet_valid", "is not valid before", certificate.notBeforeMs] as const
    : ["expired", "expired at", certificate.notAfterMs] as const;
  const time = new Date(atMs).toISOString();
  throw new CertificateError(
    code,
    `certificate ${describeCertificate(certificate)} ${what} ${time}`,
  );
}

/** Lengths are part of the digest, so that no two lists give the same bytes. */
function keyOf(chain: readonly Uint8Array[], role: string): string {
  const hash = createHash("sha256").update(role);
  for (const der of chain) hash.update(`|${der.length}|`).update(der);
  return hash.digest("base64");
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
