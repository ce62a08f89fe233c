/**
 * What a CA's name constraints allow below it (RFC 5280 section 4.2.1.10), and how a host name fits a certificate
 * (RFC 6125 section 6.4). Texts are printable ASCII already.
 * @module
 */
import { Ip } from "#values";
import { parseCertificate } from "./certificate.ts";
import { CertificateError } from "./error.ts";
import type { GeneralName, NameConstraints } from "./extensions.ts";

interface Names {
  readonly uris: readonly string[];
  readonly dnsNames: readonly string[];
  readonly ips: readonly Uint8Array[];
}

/** The first name that `constraints` forbid, as text; undefined if all may be. */
export function forbiddenName(constraints: NameConstraints, names: Names): string | undefined {
  const all = [
    ...names.uris.map((text) => ({ kind: "uri" as const, text, bytes: new Uint8Array() })),
    ...names.dnsNames.map((text) => ({ kind: "dns" as const, text, bytes: new Uint8Array() })),
    ...names.ips.map((bytes) => ({ kind: "ip" as const, text: "an IP address", bytes })),
  ];
  return all.find((name) => !isAllowed(constraints, name))?.text;
}

function isAllowed(constraints: NameConstraints, name: GeneralName): boolean {
  const host = name.kind === "uri" ? hostOfUri(name.text) : name.text.toLowerCase();
  const sameKind = ({ kind }: GeneralName) => kind === name.kind;
  const permitted = constraints.permitted.filter(sameKind);
  const excluded = constraints.excluded.filter(sameKind);
  if (permitted.length + excluded.length === 0) return true;
  // A URI without a host cannot be shown to be inside or outside of anything.
  if (host === undefined) return false;
  return (permitted.length === 0 || permitted.some((base) => isWithin(host, name, base))) &&
    !excluded.some((base) => isWithin(host, name, base) || mayExpandInto(host, base));
}

function isWithin(host: string, name: GeneralName, base: GeneralName): boolean {
  const text = base.text.toLowerCase();
  switch (base.kind) {
    case "uri":
      // With a leading dot any host below it, otherwise exactly this host.
      return text.startsWith(".") ? host.endsWith(text) : host === text;
    case "dns":
      if (text === "" || host === text) return true;
      return host.endsWith(text.startsWith(".") ? text : `.${text}`);
    case "ip":
      return isInRange(name.bytes, base.bytes);
  }
}

/** A wildcard name may stand for one that lies in an excluded subtree. */
function mayExpandInto(host: string, base: GeneralName): boolean {
  return base.kind === "dns" && host.startsWith("*.") &&
    `.${base.text.toLowerCase()}`.endsWith(host.slice(1));
}

function isInRange(address: Uint8Array, range: Uint8Array): boolean {
  const size = range.length / 2;
  if (address.length !== size) return false;
  return address.every((byte, i) => ((byte ^ range[i]!) & range[size + i]!) === 0);
}

function hostOfUri(uri: string): string | undefined {
  const match = /^[A-Za-z][A-Za-z0-9+.-]*:\/\/(?:[^/?#@]*@)?([A-Za-z0-9._-]+)(?::\d*)?(?:[/?#]|$)/
    .exec(uri);
  return match?.[1]?.toLowerCase();
}

/** Whether one of `dnsNames` stands for `host`; a `*` stands for the whole left-most label and nothing else. */
export function matchesHost(dnsNames: readonly string[], host: string): boolean {
  const wanted = host.toLowerCase().replace(/\.$/, "");
  return dnsNames.some((pattern) => {
    const name = pattern.toLowerCase().replace(/\.$/, "");
    if (!name.startsWith("*.")) return name === wanted && name !== "";
    const parent = name.slice(1);
    const label = wanted.slice(0, -parent.length);
    // "*.com" is too wide to mean anything; a parent needs two labels.
    const usable = parent.indexOf(".", 1) > 0 && !parent.includes("*");
    return usable && wanted.endsWith(parent) && label !== "" && !label.includes(".");
  });
}

/** A certificate's names that a reason quotes, in characters. */
const NAMES_CHARS_MAX = 200;

/**
 * Throws a CertificateError unless the leaf is for one of `hostnames`, by the names of RFC 6125 in its DER; its subject
 * counts for nothing.
 */
export function assertNamed(leafDer: Uint8Array, hostnames: readonly string[]): void {
  const leaf = parseCertificate(leafDer);
  const isNamed = (host: string): boolean => {
    const ip = Ip.parse(host);
    if (ip === undefined) return matchesHost(leaf.dnsNames, host);
    const bytes = Ip.toBytes(ip);
    return leaf.ips.some((name) =>
      name.length === bytes.length && name.every((byte, at) => byte === bytes[at])
    );
  };
  if (hostnames.some(isNamed)) return;
  const names = leaf.dnsNames.join(", ").slice(0, NAMES_CHARS_MAX) || "no host name";
  throw new CertificateError(
    "untrusted",
    `the server's certificate is for ${names}, expected ${hostnames.join(" or ")}`,
  );
}
