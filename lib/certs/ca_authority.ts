import type { Log } from "#log";
import type { Clock } from "#system";
import {
  type CertBundle,
  CertificateError,
  derFromPem,
  parseCertificate,
  trustRoots,
  verifyPeer,
} from "#tls";
import type { SpiffeId } from "#values";
import type { Authority } from "./authority.ts";
import { createSigningRequest, type SigningRequest } from "./csr.ts";
import { LastNews } from "./last_news.ts";

/** What a CA's answer may hold at most: a leaf, its intermediates, a bundle of roots. */
const CHAIN_ELEMENTS_MAX = 16;
const CHAIN_CHARS_MAX = 1 << 20;

export interface CaRequest {
  readonly csrPem: string;
  readonly validitySeconds: number;
  /** Set where a node's proxy asks for one of its pods. */
  readonly impersonatedIdentity?: SpiffeId;
}

/** IstioCertificateService over whatever carries it; rejects with an Error whose message is the reason. */
export interface CaClient {
  /** PEM texts: leaf first, roots last (behaviour.md 9.1). */
  createCertificate(request: CaRequest): Promise<readonly string[]>;
}

export interface CaAuthorityOptions {
  readonly client: CaClient;
  readonly clock: Clock;
  readonly log: Log;
  /**
   * Shared mode: we ask for pods of our node by name, and the answer must be for that name. In dedicated mode the
   * token decides whose certificate it is (behaviour.md 9.1).
   */
  readonly impersonates: boolean;
}

/**
 * Certificates from the mesh's CA. What comes back is believed only as far as it proves itself: our key, the right
 * name, a path to the roots that came with it, valid now for both ends of TLS.
 */
export function createCaAuthority(options: CaAuthorityOptions): Authority {
  // Of roots that cannot be read, which every answer has again.
  const skipped = new LastNews();
  return {
    async sign(identity, lifetimeMs) {
      const request = await createSigningRequest(identity);
      const chain = await options.client.createCertificate({
        csrPem: request.csrPem,
        validitySeconds: Math.floor(lifetimeMs / 1_000),
        ...(options.impersonates ? { impersonatedIdentity: identity } : {}),
      });
      return bundleOf(identity, chain, request, options, skipped);
    },
  };
}

/** Throws an Error with the reason for an answer that cannot be used. */
function bundleOf(
  identity: SpiffeId,
  chain: readonly string[],
  request: SigningRequest,
  { clock, log, impersonates }: CaAuthorityOptions,
  skipped: LastNews,
): CertBundle {
  const { leafPem, intermediatesPem, rootsPem } = partsOf(chain);
  const leafDer = firstDer(leafPem, "the leaf");
  const leaf = parseCertificate(leafDer);
  if (!equal(leaf.spki, request.spki)) {
    throw new Error("the CA's answer is for another key than ours");
  }
  if (impersonates && leaf.uris[0] !== identity) {
    throw new Error(`did not find expected SAN: ${identity}`);
  }
  const intermediates = intermediatesPem.map((pem) => firstDer(pem, "an intermediate"));
  const usableRootsPem = readableRoots(rootsPem, log, skipped);
  const roots = trustRoots(usableRootsPem);
  for (const role of ["server", "client"] as const) {
    verifyPeer([leafDer, ...intermediates], roots, { role, nowMs: clock.nowMs() });
  }
  return {
    identity,
    chainPem: [leafDer, ...intermediates].map(pemOf).join(""),
    privateKeyPem: request.privateKeyPem,
    rootsPem: usableRootsPem,
    notBeforeMs: leaf.notBeforeMs,
    notAfterMs: leaf.notAfterMs,
  };
}

function partsOf(chain: readonly string[]) {
  const [leafPem, ...rest] = chain;
  if (leafPem === undefined) throw new Error("the CA's answer is empty");
  const rootsPem = rest.pop();
  if (rootsPem === undefined) throw new Error("invalid root certificate: the CA sent none");
  const charsCount = chain.reduce((sum, pem) => sum + pem.length, 0);
  if (chain.length > CHAIN_ELEMENTS_MAX || charsCount > CHAIN_CHARS_MAX) {
    throw new Error(`the CA's answer has ${chain.length} elements of ${charsCount} characters`);
  }
  return { leafPem, intermediatesPem: rest, rootsPem };
}

/** One certificate per element; further ones in it are ignored (behaviour.md 9.1). */
function firstDer(pem: string, what: string): Uint8Array {
  const der = derFromPem(pem)[0];
  if (der === undefined) throw new Error(`${what} in the CA's answer is no PEM certificate`);
  return der;
}

/** A root that we cannot read could never verify anybody; the others still can. */
function readableRoots(pem: string, log: Log, skipped: LastNews): string {
  const errors: string[] = [];
  const readable = derFromPem(pem).filter((der) => {
    try {
      parseCertificate(der, { root: true });
      return true;
    } catch (error) {
      if (!(error instanceof CertificateError)) throw error;
      errors.push(error.message);
      return false;
    }
  });
  const write = skipped.isNew(errors.join("\n")) ? log.warn : log.debug;
  for (const error of errors) write?.("a root certificate from the CA is skipped", { error });
  if (readable.length === 0) {
    throw new Error("invalid root certificate: none of the CA's can be read");
  }
  return readable.map(pemOf).join("");
}

function pemOf(der: Uint8Array): string {
  const lines = der.toBase64().match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}
