import { Refusal } from "#values";

/** Who may sign for a server: a bundle that is read again for every connection, or its text. */
export type RootsSource =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "system" }
  | { readonly kind: "inline"; readonly pem: string };

/** A file is read again for every call, because kubelet replaces it. */
export interface TokenSource {
  readonly kind: "file" | "literal";
  readonly value: string;
}

/** A server of the control plane, and how we present ourselves to it (behaviour.md 1.2, 3.1, 9.1). */
export interface Endpoint {
  /** `https://host:port`; 443 without a port. */
  readonly url: string;
  readonly roots: RootsSource;
  /** Also accepted in the server's certificate. */
  readonly altHostname?: string | undefined;
  readonly token?: TokenSource | undefined;
  /** Sent beside the token. */
  readonly clusterId: string;
  /** More metadata, after the token's. */
  readonly headers: readonly (readonly [string, string])[];
  readonly allowTls12?: boolean;
}

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

const HTTPS_PORT = 443;

/** Throws a Refusal (`tls_config`) for anything but an https URL with a host. */
export function hostPortOf(url: string): HostPort {
  const refuse = (why: string): never => {
    throw new Refusal({ kind: "tls_config", cause: `cannot use the address "${url}": ${why}` });
  };
  const parsed = URL.canParse(url) ? new URL(url) : refuse("it is no URL");
  if (parsed.protocol !== "https:") refuse("only https is spoken with a control plane");
  const host = parsed.hostname.replace(/^\[(.*)\]$/, "$1");
  if (host === "") refuse("it names no host");
  return { host, port: parsed.port === "" ? HTTPS_PORT : Number(parsed.port) };
}

/** Where distributions keep the roots of the operating system, first one that is there. */
const SYSTEM_BUNDLES = [
  "/etc/ssl/certs/ca-certificates.crt",
  "/etc/pki/tls/certs/ca-bundle.crt",
  "/etc/ssl/ca-bundle.pem",
  "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
  "/etc/ssl/cert.pem",
];

/** The roots' PEM as it is now. Throws a Refusal (`tls_config`) that names the file. */
export async function readRoots(source: RootsSource): Promise<string> {
  switch (source.kind) {
    case "inline":
      return source.pem;
    case "file":
      return await readText(source.path, "root certificates", ROOTS_BYTES_MAX);
    case "system":
      for (const path of SYSTEM_BUNDLES) {
        if (await isFile(path)) return await readText(path, "root certificates", ROOTS_BYTES_MAX);
      }
      throw new Refusal({
        kind: "tls_config",
        cause: `cannot find the system's root certificates in ${SYSTEM_BUNDLES.join(", ")}`,
      });
  }
}

/** Names and values of a call's metadata; `authorization` and `clusterid` only where there is a token. */
export async function readMetadata(endpoint: Endpoint): Promise<(readonly [string, string])[]> {
  const { token, clusterId, headers } = endpoint;
  if (token === undefined) return [...headers];
  return [
    ["authorization", `Bearer ${await readToken(token)}`],
    ["clusterid", clusterId],
    ...headers,
  ];
}

/** System bundles are some 250 KB. */
const ROOTS_BYTES_MAX = 4 * 1024 * 1024;
/** Tokens are some 1 KB; servers refuse headers of 8 to 64 KB. */
const TOKEN_BYTES_MAX = 64 * 1024;

async function readToken({ kind, value }: TokenSource): Promise<string> {
  if (kind === "literal") return value;
  // Verbatim, except for the line end of a file written by hand: no header may have one.
  const token = (await readText(value, "the token", TOKEN_BYTES_MAX)).replace(/[\r\n]+$/, "");
  const why = token === ""
    ? "it is empty"
    : LEGAL.test(token)
    ? undefined
    : "it has a character that no header may have";
  if (why === undefined) return token;
  throw new Refusal({ kind: "identity", cause: `cannot use the token in ${value}: ${why}` });
}

/** What a header value may be, without what would have to be quoted to be seen (RFC 9110 section 5.5). */
const LEGAL = /^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/;

async function readText(path: string, what: string, bytesMax: number): Promise<string> {
  const refuse = (why: string): never => {
    throw new Refusal({ kind: "tls_config", cause: `cannot read ${what} in ${path}: ${why}` });
  };
  try {
    const { isFile, size } = await Deno.stat(path);
    if (!isFile) refuse("not a regular file");
    if (size > bytesMax) refuse(`${size} bytes, at most ${bytesMax}`);
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Refusal) throw error;
    return refuse(error instanceof Error ? error.message : String(error));
  }
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isFile;
  } catch {
    return false;
  }
}
