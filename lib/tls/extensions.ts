/**
 * The extensions of a certificate that decide anything (RFC 5280 section 4.2.1).
 * @module
 */
import {
  assertStrict,
  bodyOf,
  childrenOf,
  expectTag,
  readBoolean,
  readOid,
  readPrintable,
  readSmallInteger,
  readTlv,
  Tag,
  type Tlv,
} from "./der.ts";
import { CertificateError } from "./error.ts";

export interface Extensions {
  /** Subject alternative names, in their order; printable ASCII. */
  readonly uris: readonly string[];
  readonly dnsNames: readonly string[];
  /** 4 or 16 network-order bytes each. */
  readonly ips: readonly Uint8Array[];
  readonly ca: boolean;
  /** How many CAs may follow below this one. */
  readonly pathLengthMax: number | undefined;
  /** undefined: not restricted. */
  readonly keyUsage: ReadonlySet<KeyUsage> | undefined;
  /** Hex of OBJECT IDENTIFIERs; undefined: not restricted. */
  readonly extKeyUsage: readonly string[] | undefined;
  readonly nameConstraints: NameConstraints | undefined;
}

export type KeyUsage = "digitalSignature" | "keyCertSign";

/** A name that a CA's subtree may or must have. */
export interface GeneralName {
  readonly kind: "uri" | "dns" | "ip";
  /** Text of a URI or DNS constraint; empty for `ip`. */
  readonly text: string;
  /** Address and mask of an IP constraint; empty otherwise. */
  readonly bytes: Uint8Array;
}

export interface NameConstraints {
  readonly permitted: readonly GeneralName[];
  readonly excluded: readonly GeneralName[];
}

const KEY_USAGE = "551d0f";
const SUBJECT_ALT_NAME = "551d11";
const BASIC_CONSTRAINTS = "551d13";
const NAME_CONSTRAINTS = "551d1e";
const EXT_KEY_USAGE = "551d25";
const KNOWN = [KEY_USAGE, SUBJECT_ALT_NAME, BASIC_CONSTRAINTS, NAME_CONSTRAINTS, EXT_KEY_USAGE];

/** Tags of a GeneralName, and the forms of it that we read. */
const NAME_DNS = 0x82;
const NAME_URI = 0x86;
const NAME_IP = 0x87;

/** More names than any certificate of a mesh has; checks against constraints are a product of two such lists. */
const NAMES_MAX = 1_000;

/** `field` is the whole `[3]`, or undefined for a certificate without extensions. */
export function readExtensions(der: Uint8Array, field: Tlv | undefined): Extensions {
  const values = field === undefined ? new Map<string, Tlv>() : valuesOf(der, field);
  return {
    ...readAltNames(der, values.get(SUBJECT_ALT_NAME)),
    ...readBasicConstraints(der, values.get(BASIC_CONSTRAINTS)),
    keyUsage: readKeyUsage(der, values.get(KEY_USAGE)),
    extKeyUsage: readExtKeyUsage(der, values.get(EXT_KEY_USAGE)),
    nameConstraints: readNameConstraints(der, values.get(NAME_CONSTRAINTS)),
  };
}

/** The one value inside each extension that we know. */
function valuesOf(der: Uint8Array, field: Tlv): Map<string, Tlv> {
  const [list, ...more] = childrenOf(der, field);
  if (more.length > 0) throw new CertificateError("malformed", "extensions come twice");
  const values = new Map<string, Tlv>();
  const seen = new Set<string>();
  for (const item of childrenOf(der, expectTag(list, Tag.sequence, "the extensions"))) {
    const parts = childrenOf(der, expectTag(item, Tag.sequence, "an extension"));
    const id = readOid(der, parts[0]);
    const flag = parts.length === 3 ? parts[1] : undefined;
    const critical = flag !== undefined && readBoolean(der, flag);
    const octets = expectTag(parts[flag === undefined ? 1 : 2], Tag.octetString, "an extension");
    if (parts.length > 3 || octets !== parts[parts.length - 1]) {
      throw new CertificateError("malformed", `extension ${id} has too many parts`);
    }
    if (seen.has(id)) {
      throw new CertificateError("duplicate_extension", `extension ${id} comes twice`);
    }
    seen.add(id);
    if (KNOWN.includes(id)) values.set(id, onlyValue(der, octets, id));
    else if (critical) {
      throw new CertificateError("unknown_critical_extension", `extension ${id} is critical`);
    }
  }
  return values;
}

function onlyValue(der: Uint8Array, octets: Tlv, id: string): Tlv {
  const value = readTlv(der, octets.body, octets.end);
  if (value.end !== octets.end) {
    throw new CertificateError("malformed", `extension ${id} has bytes after its value`);
  }
  assertStrict(der, value);
  return value;
}

function readAltNames(der: Uint8Array, value: Tlv | undefined) {
  const uris: string[] = [];
  const dnsNames: string[] = [];
  const ips: Uint8Array[] = [];
  if (value === undefined) return { uris, dnsNames, ips };
  const names = childrenOf(der, expectTag(value, Tag.sequence, "the alternative names"));
  if (names.length === 0 || names.length > NAMES_MAX) {
    throw new CertificateError("malformed", `certificate has ${names.length} alternative names`);
  }
  for (const name of names) {
    // Read from the DER, never from a joined text, in which one name can pretend to be two (runtime.md S5).
    if (name.tag === NAME_URI) uris.push(readPrintable(der, name, "URI name"));
    else if (name.tag === NAME_DNS) dnsNames.push(readPrintable(der, name, "DNS name"));
    else if (name.tag === NAME_IP) ips.push(bodyOf(der, name));
  }
  if (!ips.every(({ length }) => length === 4 || length === 16)) {
    throw new CertificateError("malformed", "certificate has an IP name of unusable length");
  }
  return { uris, dnsNames, ips };
}

function readBasicConstraints(der: Uint8Array, value: Tlv | undefined) {
  if (value === undefined) return { ca: false, pathLengthMax: undefined };
  const parts = childrenOf(der, expectTag(value, Tag.sequence, "the basic constraints"));
  const flag = parts[0]?.tag === Tag.boolean ? parts.shift() : undefined;
  const ca = flag !== undefined && readBoolean(der, flag);
  const limit = parts.shift();
  const unusable = parts.length > 0 || (limit !== undefined && !ca);
  if (unusable) throw new CertificateError("malformed", "certificate has odd basic constraints");
  return { ca, pathLengthMax: limit && readSmallInteger(der, limit, "path length") };
}

function readKeyUsage(der: Uint8Array, value: Tlv | undefined): Set<KeyUsage> | undefined {
  if (value === undefined) return undefined;
  const [, first = 0] = bodyOf(der, expectTag(value, Tag.bitString, "the key usage"));
  const usages = new Set<KeyUsage>();
  if (first & 0x80) usages.add("digitalSignature");
  if (first & 0x04) usages.add("keyCertSign");
  return usages;
}

function readExtKeyUsage(der: Uint8Array, value: Tlv | undefined): string[] | undefined {
  if (value === undefined) return undefined;
  const oids = childrenOf(der, expectTag(value, Tag.sequence, "the extended key usage"));
  if (oids.length === 0) throw new CertificateError("malformed", "extended key usage is empty");
  return oids.map((oid) => readOid(der, oid));
}

function readNameConstraints(der: Uint8Array, value: Tlv | undefined): NameConstraints | undefined {
  if (value === undefined) return undefined;
  const lists = childrenOf(der, expectTag(value, Tag.sequence, "the name constraints"));
  const permitted = lists[0]?.tag === 0xa0 ? readSubtrees(der, lists.shift()!) : [];
  const excluded = lists[0]?.tag === 0xa1 ? readSubtrees(der, lists.shift()!) : [];
  if (lists.length > 0 || permitted.length + excluded.length === 0) {
    throw new CertificateError("malformed", "certificate has odd name constraints");
  }
  return { permitted, excluded };
}

function readSubtrees(der: Uint8Array, list: Tlv): GeneralName[] {
  const subtrees = childrenOf(der, list);
  if (subtrees.length > NAMES_MAX) {
    throw new CertificateError("malformed", `certificate has ${subtrees.length} name constraints`);
  }
  return subtrees.map((subtree) => {
    const [base, ...more] = childrenOf(der, expectTag(subtree, Tag.sequence, "a name constraint"));
    // Minimum and maximum may not be used (RFC 5280 4.2.1.10).
    if (base === undefined || more.length > 0) {
      throw new CertificateError("malformed", "certificate has an odd name constraint");
    }
    return readConstraint(der, base);
  });
}

function readConstraint(der: Uint8Array, base: Tlv): GeneralName {
  const none = new Uint8Array();
  switch (base.tag) {
    case NAME_URI:
      return { kind: "uri", text: readPrintable(der, base, "URI constraint"), bytes: none };
    case NAME_DNS:
      return { kind: "dns", text: readPrintable(der, base, "DNS constraint"), bytes: none };
    case NAME_IP: {
      const bytes = bodyOf(der, base);
      if (bytes.length === 8 || bytes.length === 32) return { kind: "ip", text: "", bytes };
      throw new CertificateError("malformed", "certificate has an odd IP constraint");
    }
    default:
      // To overlook a constraint is to lift it.
      throw new CertificateError(
        "unknown_critical_extension",
        `name constraint of kind 0x${base.tag.toString(16)} is not supported`,
      );
  }
}
