import type { SpiffeId } from "#values";

/** A key that never leaves memory, and the request that proves we have it. */
export interface SigningRequest {
  /** PKCS#10, PEM label `CERTIFICATE REQUEST`. */
  readonly csrPem: string;
  /** PKCS#8 PEM. */
  readonly privateKeyPem: string;
  /** DER of the SubjectPublicKeyInfo, to recognise our key in the answer. */
  readonly spki: Uint8Array;
}

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

/**
 * A new ECDSA P-256 key and a request for `identity`: empty subject, one URI SAN, critical because the subject is
 * empty (behaviour.md 9.2). The X.509 library is loaded at the first call.
 */
export async function createSigningRequest(identity: SpiffeId): Promise<SigningRequest> {
  // The library needs this metadata polyfill in place before it is evaluated.
  await import("reflect-metadata");
  const x509 = await import("@peculiar/x509");
  const keys = await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: "",
    keys,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.SubjectAlternativeNameExtension([{ type: "url", value: identity }], true),
    ],
  });
  const pkcs8 = await crypto.subtle.exportKey("pkcs8", keys.privateKey);
  return {
    csrPem: `${request.toString("pem").trim()}\n`,
    privateKeyPem: `${x509.PemConverter.encode(pkcs8, "PRIVATE KEY").trim()}\n`,
    spki: new Uint8Array(await crypto.subtle.exportKey("spki", keys.publicKey)),
  };
}
