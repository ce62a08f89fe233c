import { Buffer } from "node:buffer";
import { createPrivateKey, createPublicKey } from "node:crypto";
import { createSecureContext, type SecureContext } from "node:tls";
import { Refusal } from "#values";
import { parseCertificate } from "./certificate.ts";
import { CertificateError } from "./error.ts";
import { derFromPem, type TrustRoots, trustRoots } from "./roots.ts";
import type { CertBundle } from "./types.ts";

/** A bundle, made ready once: contexts parse PEM, which a handshake should not pay for. */
export interface Materials {
  readonly forServer: SecureContext;
  readonly forClient: SecureContext;
  readonly roots: TrustRoots;
}

/**
 * Checks `bundle` and prepares it. Throws a Refusal (`tls_config`) that says which part is unusable: node:tls
 * takes anything here, and would only break every handshake later. Its message never holds key material.
 */
export function materialsOf(bundle: CertBundle, allowTls12: boolean): Materials {
  const roots = usableRoots(bundle.rootsPem);
  const leafDer = derFromPem(bundle.chainPem)[0];
  if (leafDer === undefined) throw unusable("the certificate chain is not PEM");
  const leaf = usable(() => parseCertificate(leafDer));
  if (Buffer.compare(leaf.spki, publicKeyOf(bundle.privateKeyPem)) !== 0) {
    throw unusable(`the private key does not belong to the certificate of ${bundle.identity}`);
  }
  const common = {
    cert: bundle.chainPem,
    key: bundle.privateKeyPem,
    minVersion: allowTls12 ? "TLSv1.2" : "TLSv1.3",
  } as const;
  return {
    // Without `ca`: the runtime would send every root behind our chain, and judge without our rules.
    forServer: createSecureContext(common),
    forClient: createSecureContext({ ...common, ca: roots.pem }),
    roots,
  };
}

/** For a client without a certificate, of a server below `roots`. */
export function anonymousContext(roots: TrustRoots, allowTls12: boolean): SecureContext {
  return createSecureContext({ ca: roots.pem, minVersion: allowTls12 ? "TLSv1.2" : "TLSv1.3" });
}

function publicKeyOf(privateKeyPem: string): Uint8Array {
  try {
    const key = createPrivateKey(privateKeyPem);
    return createPublicKey(key as never).export({ type: "spki", format: "der" });
  } catch {
    // The library's message is dropped on purpose: it may quote what it could not read.
    throw unusable("the private key cannot be read");
  }
}

/** The roots in `pem`; throws a Refusal (`tls_config`) that says why there are none. */
export function usableRoots(pem: string): TrustRoots {
  return usable(() => trustRoots(pem));
}

function usable<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof CertificateError) throw unusable(error.message);
    throw error;
  }
}

const unusable = (cause: string): Refusal => new Refusal({ kind: "tls_config", cause });
