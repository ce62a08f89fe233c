/**
 * Mints certificates for tests: honest ones, and every kind of bad one that a peer may present.
 *
 *     const root = mintRoot();
 *     const web = mintWorkload("spiffe://cluster.local/ns/shop/sa/web", root); // a CertBundle
 *
 * Own DER on purpose: the reader under test is checked against node:crypto and openssl, not against itself.
 * @module
 */
import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { Buffer } from "node:buffer";
import type { CertBundle } from "#tls";
import type { SpiffeId } from "#values";
import * as der from "./der_writer.ts";

export type KeyKind = "p256" | "p384" | "p521" | "rsa1024" | "rsa2048" | "ed25519" | "secp256k1";
export type KeyUsage = keyof typeof KEY_USAGE_BITS;

export interface Subtrees {
  readonly uris?: readonly string[];
  readonly dns?: readonly string[];
  readonly ips?: readonly Uint8Array[];
  /** A kind that nobody here supports. */
  readonly emails?: readonly string[];
}

/** What is left out gets what an honest certificate has. */
export interface CertOptions {
  /** Subject CN; an empty one gives an empty subject. */
  readonly commonName?: string;
  readonly uris?: readonly string[];
  readonly dns?: readonly string[];
  /** Network-order bytes. */
  readonly ips?: readonly Uint8Array[];
  /** GeneralNames as they are, before the others. */
  readonly rawNames?: readonly Uint8Array[];
  readonly notBeforeMs?: number;
  readonly notAfterMs?: number;
  /** The cA flag; null leaves basicConstraints out. */
  readonly ca?: boolean | null;
  readonly pathLength?: number;
  /** null leaves the extension out. */
  readonly keyUsage?: readonly KeyUsage[] | null;
  /** null leaves the extension out; a dotted text is taken as it is. */
  readonly extKeyUsage?: readonly (keyof typeof EXT_KEY_USAGES | string)[] | null;
  readonly permitted?: Subtrees;
  readonly excluded?: Subtrees;
  /** Extensions as they are, behind the others. */
  readonly rawExtensions?: readonly Uint8Array[];
  /** 1 writes no version field (extensions stay), as a forger does. */
  readonly version?: 1 | 3;
  readonly serial?: number;
  readonly keyKind?: KeyKind;
  /** Instead of a new key. */
  readonly keys?: KeyPair;
  /** `forged` puts zeros where the signature should be. */
  readonly signature?: "good" | "forged";
  readonly hash?: "sha1" | "sha256" | "sha384" | "sha512";
}

export interface KeyPair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

export interface Minted {
  readonly der: Uint8Array;
  readonly pem: string;
  readonly keys: KeyPair;
  readonly keyPem: string;
  /** DER of its subject, which becomes its children's issuer. */
  readonly subject: Uint8Array;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

const DAY_MS = 86_400_000;

const KEY_USAGE_BITS = {
  digitalSignature: 0,
  nonRepudiation: 1,
  keyEncipherment: 2,
  keyAgreement: 4,
  keyCertSign: 5,
  cRLSign: 6,
} as const;

const EXT_KEY_USAGES = {
  server: "1.3.6.1.5.5.7.3.1",
  client: "1.3.6.1.5.5.7.3.2",
  codeSigning: "1.3.6.1.5.5.7.3.3",
  any: "2.5.29.37.0",
} as const;

let serials = 1;

/** A self-signed CA. */
export function mintRoot(options: CertOptions = {}): Minted {
  return mint({
    commonName: "mesh root",
    notAfterMs: Date.now() + 3650 * DAY_MS,
    ...caDefaults,
    ...options,
  });
}

/** A CA below `issuer`. */
export function mintIntermediate(issuer: Minted, options: CertOptions = {}): Minted {
  return mint({ commonName: "mesh intermediate", ...caDefaults, ...options }, issuer);
}

/** A leaf below `issuer`, as istiod issues them: no subject, both TLS roles. */
export function mintLeaf(issuer: Minted, options: CertOptions = {}): Minted {
  return mint({
    commonName: "",
    ca: false,
    keyUsage: ["digitalSignature", "keyEncipherment"],
    extKeyUsage: ["server", "client"],
    ...options,
  }, issuer);
}

/** The usual workload: a leaf of `root` with this SPIFFE id, ready to be given to a Tls. */
export function mintWorkload(
  identity: string,
  root: Minted,
  options: CertOptions = {},
): CertBundle {
  return bundleOf(identity, [mintLeaf(root, { uris: [identity], ...options })], [root]);
}

/** `chain` is leaf first, without the root. */
export function bundleOf(
  identity: string,
  chain: readonly Minted[],
  roots: readonly Minted[],
): CertBundle {
  const leaf = chain[0]!;
  return {
    identity: identity as SpiffeId,
    chainPem: chain.map(({ pem }) => pem).join(""),
    privateKeyPem: leaf.keyPem,
    rootsPem: roots.map(({ pem }) => pem).join(""),
    notBeforeMs: leaf.notBeforeMs,
    notAfterMs: leaf.notAfterMs,
  };
}

const caDefaults: CertOptions = {
  ca: true,
  keyUsage: ["keyCertSign", "cRLSign"],
  extKeyUsage: null,
};

export function mint(options: CertOptions, issuer?: Minted): Minted {
  const keys = options.keys ?? newKeys(options.keyKind ?? "p256");
  const notBeforeMs = seconds(options.notBeforeMs ?? Date.now() - DAY_MS);
  const notAfterMs = seconds(options.notAfterMs ?? Date.now() + DAY_MS);
  const subject = nameOf(options.commonName ?? "leaf");
  const signer = issuer?.keys.privateKey ?? keys.privateKey;
  const algorithm = algorithmOf(signer, options.hash ?? "sha256");
  const tbs = der.sequence(
    ...(options.version === 1 ? [] : [der.tlv(0xa0, der.integer(2))]),
    der.integer(options.serial ?? serials++),
    algorithm,
    issuer?.subject ?? subject,
    der.sequence(der.time(notBeforeMs), der.time(notAfterMs)),
    subject,
    keys.publicKey.export({ type: "spki", format: "der" }),
    der.tlv(0xa3, der.sequence(...extensionsOf(options))),
  );
  const signature = options.signature === "forged"
    ? new Uint8Array(64)
    : signatureOf(tbs, signer, options.hash ?? "sha256");
  const bytes = der.sequence(tbs, algorithm, der.bits(0, signature));
  const keyPem = keys.privateKey.export({ type: "pkcs8", format: "pem" }) as string;
  return { der: bytes, pem: pemOf(bytes), keys, keyPem, subject, notBeforeMs, notAfterMs };
}

/** The same certificate with other bytes around it, for instance one that was re-encoded. */
export function withDer(minted: Minted, bytes: Uint8Array, keys: KeyPair = minted.keys): Minted {
  const keyPem = keys.privateKey.export({ type: "pkcs8", format: "pem" }) as string;
  return { ...minted, der: bytes, pem: pemOf(bytes), keys, keyPem };
}

export function newKeys(kind: KeyKind): KeyPair {
  switch (kind) {
    case "p256":
      return generateKeyPairSync("ec", { namedCurve: "prime256v1" });
    case "p384":
      return generateKeyPairSync("ec", { namedCurve: "secp384r1" });
    case "p521":
      return generateKeyPairSync("ec", { namedCurve: "secp521r1" });
    case "secp256k1":
      return generateKeyPairSync("ec", { namedCurve: "secp256k1" });
    case "rsa1024":
      return generateKeyPairSync("rsa", { modulusLength: 1024 });
    case "rsa2048":
      return generateKeyPairSync("rsa", { modulusLength: 2048 });
    case "ed25519":
      return generateKeyPairSync("ed25519");
  }
}

export function pemOf(bytes: Uint8Array, label = "CERTIFICATE"): string {
  const lines = Buffer.from(bytes).toString("base64").match(/.{1,64}/g)!.join("\n");
  return `-----BEGIN ${label}-----\n${lines}\n-----END ${label}-----\n`;
}

/** One Extension. */
export function extension(dotted: string, critical: boolean, value: Uint8Array): Uint8Array {
  return der.sequence(
    der.oid(dotted),
    ...(critical ? [der.boolean(true)] : []),
    der.octets(value),
  );
}

function extensionsOf(options: CertOptions): Uint8Array[] {
  const list: Uint8Array[] = [];
  if (options.ca !== undefined && options.ca !== null) {
    const parts = options.ca ? [der.boolean(true)] : [];
    if (options.pathLength !== undefined) parts.push(der.integer(options.pathLength));
    list.push(extension("2.5.29.19", true, der.sequence(...parts)));
  }
  if (options.keyUsage) list.push(extension("2.5.29.15", true, usageBits(options.keyUsage)));
  if (options.extKeyUsage) {
    const names: Readonly<Record<string, string>> = EXT_KEY_USAGES;
    const oids = options.extKeyUsage.map((name) => der.oid(names[name] ?? name));
    list.push(extension("2.5.29.37", false, der.sequence(...oids)));
  }
  if (options.permitted !== undefined || options.excluded !== undefined) {
    const value = der.sequence(
      ...(options.permitted ? [der.tlv(0xa0, ...subtrees(options.permitted))] : []),
      ...(options.excluded ? [der.tlv(0xa1, ...subtrees(options.excluded))] : []),
    );
    list.push(extension("2.5.29.30", true, value));
  }
  const names = [
    ...(options.rawNames ?? []),
    ...generalNames(options),
  ];
  const unnamed = (options.commonName ?? "leaf") === "";
  if (names.length > 0) list.push(extension("2.5.29.17", unnamed, der.sequence(...names)));
  return [...list, ...(options.rawExtensions ?? [])];
}

function generalNames({ uris = [], dns = [], ips = [], emails = [] }: Subtrees): Uint8Array[] {
  return [
    ...emails.map((email) => der.text(0x81, email)),
    ...dns.map((name) => der.text(0x82, name)),
    ...uris.map((uri) => der.text(0x86, uri)),
    ...ips.map((ip) => der.tlv(0x87, ip)),
  ];
}

function subtrees(names: Subtrees): Uint8Array[] {
  return generalNames(names).map((name) => der.sequence(name));
}

function usageBits(usages: readonly KeyUsage[]): Uint8Array {
  const numbers = usages.map((usage) => KEY_USAGE_BITS[usage]);
  const byte = numbers.reduce<number>((sum, bit) => sum | (0x80 >> bit), 0);
  return der.bits(7 - Math.max(...numbers), Uint8Array.of(byte));
}

function nameOf(commonName: string): Uint8Array {
  if (commonName === "") return der.sequence();
  return der.sequence(
    der.tlv(0x31, der.sequence(der.oid("2.5.4.3"), der.text(0x0c, commonName))),
  );
}

function algorithmOf(signer: KeyObject, hash: string): Uint8Array {
  const null_ = der.tlv(0x05);
  switch (signer.asymmetricKeyType) {
    case "ed25519":
      return der.sequence(der.oid("1.3.101.112"));
    case "rsa": {
      const last = { sha1: 5, sha256: 11, sha384: 12, sha512: 13 }[hash];
      return der.sequence(der.oid(`1.2.840.113549.1.1.${last}`), null_);
    }
    default: {
      if (hash === "sha1") return der.sequence(der.oid("1.2.840.10045.4.1"));
      const last = { sha256: 2, sha384: 3, sha512: 4 }[hash];
      return der.sequence(der.oid(`1.2.840.10045.4.3.${last}`));
    }
  }
}

function signatureOf(tbs: Uint8Array, signer: KeyObject, hash: string): Uint8Array {
  return sign(signer.asymmetricKeyType === "ed25519" ? null : hash, tbs, signer);
}

/** Certificates count in whole seconds. */
const seconds = (atMs: number): number => Math.floor(atMs / 1000) * 1000;

/** A revocation list of `issuer`, as PEM; `signer` may be somebody else, and `entriesDer` is added as it is. */
export function mintCrl(
  issuer: Minted,
  serials: readonly number[],
  options: {
    readonly signer?: Minted;
    readonly nextUpdateMs?: number;
    readonly entriesDer?: Buffer;
  } = {},
): string {
  const signer = (options.signer ?? issuer).keys.privateKey;
  const algorithm = algorithmOf(signer, "sha256");
  const entries = serials.map((serial) =>
    der.sequence(der.integer(serial), der.time(seconds(Date.now() - DAY_MS)))
  );
  if (options.entriesDer !== undefined) entries.push(options.entriesDer);
  const tbs = der.sequence(
    der.integer(1),
    algorithm,
    issuer.subject,
    der.time(seconds(Date.now() - DAY_MS)),
    der.time(seconds(options.nextUpdateMs ?? Date.now() + DAY_MS)),
    // As one part: a hundred thousand arguments are more than a stack takes.
    ...(entries.length === 0 ? [] : [der.sequence(Buffer.concat(entries))]),
  );
  const signature = signatureOf(tbs, signer, "sha256");
  return pemOf(der.sequence(tbs, algorithm, der.bits(0, signature)), "X509 CRL");
}
