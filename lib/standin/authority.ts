import { Buffer } from "node:buffer";
import type { X509Certificate, X509CertificateCreateParams } from "@peculiar/x509";
import type { Clock } from "#system";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const DAY_MS = 86_400_000;
const ROOT_LIFETIME_MS = 3650 * DAY_MS;
/** istiod's own certificate. */
const SERVER_LIFETIME_MS = 365 * DAY_MS;
/** Peers' clocks may be behind ours. */
const BACKDATE_MS = 60_000;

interface Signer {
  readonly certificate: X509Certificate;
  readonly keys: CryptoKeyPair;
  /** From the one below the root to this one; empty for a root. */
  readonly chain: readonly X509Certificate[];
}

export interface LeafRequest {
  readonly publicKey: CryptoKey;
  readonly uris?: readonly string[];
  readonly dns?: readonly string[];
  readonly ips?: readonly string[];
  readonly lifetimeMs: number;
  /** `expired` has been over for a minute; `foreign` comes from a root that nobody knows. */
  readonly flaw?: "expired" | "foreign" | undefined;
}

/** A certificate with its key, as a server needs them. */
export interface ServerCertificate {
  readonly chainPem: string;
  readonly keyPem: string;
}

export interface AuthorityOptions {
  readonly clock: Clock;
  /** Leafs are signed by an intermediate, as with a plugged-in CA. */
  readonly hasIntermediate?: boolean;
}

/**
 * The mesh's certificate authority, with a key that dies with it. Its root is replaced in the three steps that a mesh
 * survives: everybody learns of the new one, then it signs, then the old one is forgotten.
 */
export class MeshAuthority {
  #roots: Signer[];
  #signer: Signer;
  #next: Signer | undefined;
  #foreign: Signer | undefined;

  private constructor(private readonly options: AuthorityOptions, root: Signer, signer: Signer) {
    this.#roots = [root];
    this.#signer = signer;
  }

  static async create(options: AuthorityOptions): Promise<MeshAuthority> {
    const root = await newRoot(options.clock, 1);
    return new MeshAuthority(options, root, await signerBelow(root, options));
  }

  /** What peers are to trust now. */
  get rootsPem(): string {
    return this.#roots.map(({ certificate }) => pemOf(certificate)).join("");
  }

  /** Step 1: a second root is handed out with every certificate; it signs nothing yet. */
  async announceRoot(): Promise<void> {
    this.#next = await newRoot(this.options.clock, this.#roots.length + 1);
    this.#roots = [...this.#roots, this.#next];
  }

  /** Step 2: the announced root signs. */
  async useAnnouncedRoot(): Promise<void> {
    const next = this.#next;
    if (next === undefined) throw new Error("no root was announced");
    this.#next = undefined;
    this.#signer = await signerBelow(next, this.options);
  }

  /** Step 3: only the last root is handed out. */
  forgetOldRoots(): void {
    this.#roots = this.#roots.slice(-1);
  }

  /** A leaf and what stands between it and its root. */
  async sign(request: LeafRequest): Promise<readonly X509Certificate[]> {
    const signer = request.flaw === "foreign"
      ? this.#foreign ??= await newRoot(this.options.clock, 0)
      : this.#signer;
    return [await leafBelow(signer, request, this.options.clock), ...signer.chain.toReversed()];
  }

  /** For a server of these names. */
  async serverCertificate(
    names: Pick<LeafRequest, "dns" | "ips" | "flaw">,
  ): Promise<ServerCertificate> {
    const keys = await newKeys();
    const chain = await this.sign({
      ...names,
      publicKey: keys.publicKey,
      lifetimeMs: SERVER_LIFETIME_MS,
    });
    const pkcs8 = Buffer.from(await crypto.subtle.exportKey("pkcs8", keys.privateKey));
    const lines = pkcs8.toString("base64").match(/.{1,64}/g)!.join("\n");
    return {
      chainPem: chain.map(pemOf).join(""),
      keyPem: `-----BEGIN PRIVATE KEY-----\n${lines}\n-----END PRIVATE KEY-----\n`,
    };
  }
}

export function pemOf(certificate: X509Certificate): string {
  return `${certificate.toString("pem").trim()}\n`;
}

async function library() {
  // The library needs this metadata polyfill in place before it is evaluated.
  await import("reflect-metadata");
  return await import("@peculiar/x509");
}

export async function newKeys(): Promise<CryptoKeyPair> {
  return await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
}

async function newRoot(clock: Clock, number: number): Promise<Signer> {
  const keys = await newKeys();
  const certificate = await caCertificate(clock, keys, {
    subject: `O=test mesh, CN=root ${number}`,
  });
  return { certificate, keys, chain: [] };
}

async function signerBelow(root: Signer, options: AuthorityOptions): Promise<Signer> {
  if (!options.hasIntermediate) return root;
  const keys = await newKeys();
  const certificate = await caCertificate(options.clock, keys, {
    subject: "O=test mesh, CN=intermediate",
    below: root,
  });
  return { certificate, keys, chain: [certificate] };
}

async function caCertificate(
  clock: Clock,
  keys: CryptoKeyPair,
  { subject, below }: { readonly subject: string; readonly below?: Signer },
): Promise<X509Certificate> {
  const x509 = await library();
  const { keyCertSign, cRLSign } = x509.KeyUsageFlags;
  return await x509.X509CertificateGenerator.create({
    subject,
    issuer: below?.certificate.subjectName ?? subject,
    publicKey: keys.publicKey,
    signingKey: (below?.keys ?? keys).privateKey,
    ...validity(clock, ROOT_LIFETIME_MS),
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(keyCertSign | cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
}

async function leafBelow(
  signer: Signer,
  { publicKey, uris = [], dns = [], ips = [], lifetimeMs, flaw }: LeafRequest,
  clock: Clock,
): Promise<X509Certificate> {
  const x509 = await library();
  const { digitalSignature } = x509.KeyUsageFlags;
  const { serverAuth, clientAuth } = x509.ExtendedKeyUsage;
  const names = [
    ...uris.map((value) => ({ type: "url" as const, value })),
    ...dns.map((value) => ({ type: "dns" as const, value })),
    ...ips.map((value) => ({ type: "ip" as const, value })),
  ];
  return await x509.X509CertificateGenerator.create({
    subject: "",
    issuer: signer.certificate.subjectName,
    publicKey,
    signingKey: signer.keys.privateKey,
    ...validity(clock, flaw === "expired" ? -BACKDATE_MS : lifetimeMs),
    extensions: [
      // RFC 5280 section 4.2.1.6: critical, because the subject is empty.
      new x509.SubjectAlternativeNameExtension(names, true),
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([serverAuth, clientAuth]),
      await x509.AuthorityKeyIdentifierExtension.create(signer.keys.publicKey),
    ],
  });
}

/** Whole seconds. Half a short lifetime at most lies in the past, or it would be renewed at once. */
function validity(
  clock: Clock,
  lifetimeMs: number,
): Pick<X509CertificateCreateParams, "notBefore" | "notAfter" | "signingAlgorithm"> {
  const nowMs = clock.nowMs();
  const backdateMs = lifetimeMs < 0 ? DAY_MS : Math.min(BACKDATE_MS, lifetimeMs / 2);
  return {
    notBefore: atSecond(nowMs - backdateMs),
    notAfter: atSecond(nowMs + lifetimeMs),
    signingAlgorithm: ALGORITHM,
  };
}

const atSecond = (ms: number): Date => new Date(Math.floor(ms / 1_000) * 1_000);
