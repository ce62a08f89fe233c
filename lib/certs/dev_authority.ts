import type { Clock } from "#system";
import type { CertBundle } from "#tls";
import type { SpiffeId } from "#values";
import type { Authority } from "./authority.ts";
import { DEV_ROOT_KEY_PEM, DEV_ROOT_PEM } from "./dev_root.ts";

/** Peers' clocks may be behind ours. */
const BACKDATE_MS = 60_000;
const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

/**
 * Signs any identity for anybody, with the development root (FAKE_CA). Never for production: its key is public.
 *
 * Loads the X.509 library only when called, so that a process with a real CA does not pay for it. The leafs: P-256,
 * one SPIFFE URI SAN, for both ends of TLS, no chain between them and the root. Times are whole seconds.
 */
export async function createDevAuthority(clock: Clock): Promise<Authority> {
  // The library needs this metadata polyfill in place before it is evaluated.
  await import("reflect-metadata");
  const x509 = await import("@peculiar/x509");
  const root = new x509.X509Certificate(DEV_ROOT_PEM);
  const rootKey = await crypto.subtle.importKey(
    "pkcs8",
    x509.PemConverter.decodeFirst(DEV_ROOT_KEY_PEM),
    ALGORITHM,
    false,
    ["sign"],
  );

  return {
    async sign(identity: SpiffeId, lifetimeMs: number): Promise<CertBundle> {
      const keys = await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
      const nowMs = clock.nowMs();
      // Not more than the lifetime itself, or half of it would be over before a short-lived leaf is issued.
      const notBeforeMs = wholeSeconds(nowMs - Math.min(BACKDATE_MS, lifetimeMs / 2));
      const notAfterMs = wholeSeconds(nowMs + lifetimeMs);
      const { digitalSignature } = x509.KeyUsageFlags;
      const { serverAuth, clientAuth } = x509.ExtendedKeyUsage;
      const leaf = await x509.X509CertificateGenerator.create({
        issuer: root.subjectName,
        subject: "",
        notBefore: new Date(notBeforeMs),
        notAfter: new Date(notAfterMs),
        publicKey: keys.publicKey,
        signingKey: rootKey,
        signingAlgorithm: ALGORITHM,
        extensions: [
          // RFC 5280 section 4.2.1.6: critical, because the subject is empty.
          new x509.SubjectAlternativeNameExtension([{ type: "url", value: identity }], true),
          new x509.BasicConstraintsExtension(false, undefined, true),
          new x509.KeyUsagesExtension(digitalSignature, true),
          new x509.ExtendedKeyUsageExtension([serverAuth, clientAuth]),
          await x509.AuthorityKeyIdentifierExtension.create(root.publicKey),
        ],
      });
      const privateKey = await crypto.subtle.exportKey("pkcs8", keys.privateKey);
      return {
        identity,
        chainPem: `${leaf.toString("pem").trim()}\n`,
        privateKeyPem: `${x509.PemConverter.encode(privateKey, "PRIVATE KEY").trim()}\n`,
        rootsPem: DEV_ROOT_PEM,
        notBeforeMs,
        notAfterMs,
      };
    },
  };
}

const wholeSeconds = (ms: number): number => Math.floor(ms / 1_000) * 1_000;
