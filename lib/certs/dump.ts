/**
 * The `certificates` part of the config dump.
 * @module
 */
import { Buffer } from "node:buffer";
import { X509Certificate } from "node:crypto";
import type { CertificateState } from "./authority.ts";

/** One certificate as the dump shows it. */
export interface CertificateEntry {
  /** Base64 of the PEM text. */
  readonly pem: string;
  /** Decimal. */
  readonly serialNumber: string;
  /** RFC 3339, whole seconds, `Z`. */
  readonly validFrom: string;
  /** RFC 3339, whole seconds, `Z`. */
  readonly expirationTime: string;
}

/** One identity as the dump shows it; the lists are empty unless a certificate is available. */
export interface CertificateDump {
  readonly identity: string;
  readonly state: string;
  readonly certChain: readonly CertificateEntry[];
  readonly rootCerts: readonly CertificateEntry[];
}

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

/** What the config dump says about one identity (behaviour.md 14.3). Never shows a key. */
export function certificateDump(state: CertificateState): CertificateDump {
  return {
    identity: state.identity,
    state: state.state,
    certChain: entriesOf(state.chainPem),
    rootCerts: entriesOf(state.rootsPem),
  };
}

function entriesOf(pemText: string): readonly CertificateEntry[] {
  return (pemText.match(PEM_CERTIFICATE) ?? []).flatMap(entryOf);
}

/** A root that cannot be read is skipped, as trust skips it (behaviour.md 9.1): the dump must not fail over it. */
function entryOf(block: string): readonly CertificateEntry[] {
  const pem = `${block}\n`;
  try {
    const certificate = new X509Certificate(pem);
    return [{
      pem: Buffer.from(pem).toString("base64"),
      serialNumber: BigInt(`0x${certificate.serialNumber}`).toString(),
      validFrom: rfc3339(certificate.validFrom),
      expirationTime: rfc3339(certificate.validTo),
    }];
  } catch {
    return [];
  }
}

function rfc3339(opensslTime: string): string {
  return new Date(opensslTime).toISOString().replace(/\.\d+Z$/, "Z");
}
