import type { HeaderField } from "./hpack.ts";
import type { Headers } from "./types.ts";

export interface RequestHead {
  readonly method: string;
  /** `:authority`, or `host` without it; empty if neither came. */
  readonly authority: string;
  /** Undefined with a plain CONNECT, as is `path`. */
  readonly scheme: string | undefined;
  readonly path: string | undefined;
  /** `:protocol`: an extended CONNECT (RFC 8441), which nobody may send unless we offer it. */
  readonly protocol: string | undefined;
  /** Without pseudo headers. */
  readonly headers: Headers;
  /** What the DATA must add up to, if announced; never with a plain CONNECT, whose DATA is a tunnel. */
  readonly contentLength: number | undefined;
}

export interface ResponseHead {
  readonly status: number;
  /** Without pseudo headers. */
  readonly headers: Headers;
  /** As announced; it binds nobody after HEAD, with a 304, or with a 2xx to CONNECT (RFC 9110, 8.6 and 9.3.6). */
  readonly contentLength: number | undefined;
}

/** `reason`: the message is malformed, a stream error PROTOCOL_ERROR (RFC 9113, 8.1.1). */
export type Checked<T> = { readonly head: T; readonly reason?: never } | {
  readonly reason: string;
  readonly head?: never;
};

/** RFC 9110's token, in the lower case that RFC 9113, 8.2.1 asks for. */
const NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
const METHOD = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** Control characters other than a tab: beyond RFC 9113's least, none of them is legal in RFC 9110, 5.5. */
// deno-lint-ignore no-control-regex
const CONTROL = /[\x00-\x08\x0a-\x1f\x7f]/;
const SCHEME = /^[A-Za-z][A-Za-z0-9+.\-]*$/;
/** A host and a port as RFC 3986 writes them; "@" is absent, since user information is forbidden here. */
const AUTHORITY = /^[A-Za-z0-9\-._~!$&'()*+,;=:[\]%]*$/;
const PATH = /^[\x21-\x7e\x80-\xff]*$/;
const STATUS = /^[1-9][0-9]{2}$/;
/** Sixteen digits at most, so that the number is exact or refused as unsafe. */
const LENGTH = /^[0-9]{1,16}$/;

/** What a connection says to its next hop in HTTP/1.1 and nobody may in HTTP/2 (RFC 9113, 8.2.2). */
const CONNECTION_SPECIFIC: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);

type Pseudo = ":method" | ":scheme" | ":authority" | ":path" | ":protocol" | ":status";

const OF_REQUEST: ReadonlySet<string> = new Set(
  [":method", ":scheme", ":authority", ":path", ":protocol"] satisfies Pseudo[],
);
const OF_RESPONSE: ReadonlySet<string> = new Set([":status"] satisfies Pseudo[]);
const OF_TRAILERS: ReadonlySet<string> = new Set();

const DEFAULT_PORT: Readonly<Record<string, string>> = { http: ":80", https: ":443" };

/** Found somewhere below and turned into a `reason` at this file's three entries. */
class Malformed extends Error {}

interface Parts {
  readonly pseudo: ReadonlyMap<string, string>;
  readonly headers: Headers;
}

/** The head of a request (RFC 9113, 8.3.1; CONNECT: 8.5; extended CONNECT: RFC 8441). */
export function validateRequest(fields: readonly HeaderField[]): Checked<RequestHead> {
  return checked(() => {
    const { pseudo, headers } = partsOf(fields, OF_REQUEST);
    const method = pseudo.get(":method");
    if (method === undefined) throw new Malformed("no :method");
    if (!METHOD.test(method)) throw new Malformed(`illegal :method ${quote(method)}`);
    const target = targetOf(pseudo, method);
    const authority = authorityOf(pseudo, headers, target.scheme);
    const announced = contentLengthOf(headers);
    const isTunnel = target.path === undefined;
    return {
      method,
      authority,
      ...target,
      headers,
      contentLength: isTunnel ? undefined : announced,
    };
  });
}

/** The head of a response, final or interim (RFC 9113, 8.3.2). */
export function validateResponse(fields: readonly HeaderField[]): Checked<ResponseHead> {
  return checked(() => {
    const { pseudo, headers } = partsOf(fields, OF_RESPONSE);
    const text = pseudo.get(":status");
    if (text === undefined) throw new Malformed("no :status");
    if (!STATUS.test(text)) throw new Malformed(`illegal :status ${quote(text)}`);
    const status = Number(text);
    // RFC 9113, 8.6: there is no upgrade from HTTP/2.
    if (status === 101) throw new Malformed(":status 101");
    return { status, headers, contentLength: contentLengthOf(headers) };
  });
}

/** Trailers are headers without pseudo headers (RFC 9113, 8.1). */
export function validateTrailers(fields: readonly HeaderField[]): Checked<Headers> {
  return checked(() => partsOf(fields, OF_TRAILERS).headers);
}

function checked<T>(check: () => T): Checked<T> {
  try {
    return { head: check() };
  } catch (error) {
    if (error instanceof Malformed) return { reason: error.message };
    throw error;
  }
}

function partsOf(fields: readonly HeaderField[], allowed: ReadonlySet<string>): Parts {
  const pseudo = new Map<string, string>();
  const headers = new Map<string, string[]>();
  for (const [name, value] of fields) {
    checkValue(name, value);
    if (name.startsWith(":")) {
      if (!allowed.has(name)) throw new Malformed(`pseudo header ${quote(name)} out of place`);
      if (headers.size > 0) throw new Malformed(`${name} behind a regular header`);
      if (pseudo.has(name)) throw new Malformed(`${name} came twice`);
      pseudo.set(name, value);
      continue;
    }
    checkRegular(name, value);
    const values = headers.get(name);
    if (values === undefined) headers.set(name, [value]);
    else values.push(value);
  }
  return { pseudo, headers };
}

/** RFC 9113, 8.2.1. */
function checkValue(name: string, value: string): void {
  if (CONTROL.test(value)) throw new Malformed(`a control character in ${quote(name)}`);
  if (isBlank(value.charCodeAt(0)) || isBlank(value.charCodeAt(value.length - 1))) {
    throw new Malformed(`white space around ${quote(name)}`);
  }
}

function isBlank(char: number): boolean {
  return char === 0x20 || char === 0x09;
}

function checkRegular(name: string, value: string): void {
  if (!NAME.test(name)) throw new Malformed(`illegal header name ${quote(name)}`);
  if (CONNECTION_SPECIFIC.has(name)) throw new Malformed(`connection-specific header ${name}`);
  if (name === "te" && value.toLowerCase() !== "trailers") {
    throw new Malformed(`te is ${quote(value)}, not trailers`);
  }
}

function targetOf(
  pseudo: ReadonlyMap<string, string>,
  method: string,
): Pick<RequestHead, "scheme" | "path" | "protocol"> {
  const scheme = pseudo.get(":scheme");
  const path = pseudo.get(":path");
  const protocol = pseudo.get(":protocol");
  if (method === "CONNECT" && protocol === undefined) {
    // RFC 9113, 8.5.
    if (scheme !== undefined) throw new Malformed(":scheme with CONNECT");
    if (path !== undefined) throw new Malformed(":path with CONNECT");
    if (!pseudo.get(":authority")) throw new Malformed("no :authority with CONNECT");
    return { scheme, path, protocol };
  }
  if (protocol !== undefined) {
    // RFC 8441, 4.
    if (method !== "CONNECT") throw new Malformed(`:protocol with ${quote(method)}`);
    if (!METHOD.test(protocol)) throw new Malformed(`illegal :protocol ${quote(protocol)}`);
    if (!pseudo.get(":authority")) throw new Malformed("no :authority with CONNECT");
  }
  if (scheme === undefined) throw new Malformed("no :scheme");
  if (!SCHEME.test(scheme)) throw new Malformed(`illegal :scheme ${quote(scheme)}`);
  if (path === undefined) throw new Malformed("no :path");
  if (!isPath(path, scheme, method)) throw new Malformed(`illegal :path ${quote(path)}`);
  return { scheme, path, protocol };
}

function isPath(path: string, scheme: string, method: string): boolean {
  if (!PATH.test(path)) return false;
  if (!Object.hasOwn(DEFAULT_PORT, scheme.toLowerCase())) return true;
  return path.startsWith("/") || (path === "*" && method === "OPTIONS");
}

/** RFC 9113, 8.3.1: a `host` that differs would let two readers see two targets. */
function authorityOf(
  pseudo: ReadonlyMap<string, string>,
  headers: Headers,
  scheme: string | undefined,
): string {
  const authority = pseudo.get(":authority");
  const hosts = headers.get("host") ?? [];
  if (hosts.length > 1) throw new Malformed("host came twice");
  const host = hosts[0];
  for (const text of [authority, host]) {
    if (text !== undefined && !AUTHORITY.test(text)) {
      throw new Malformed(`illegal authority ${quote(text)}`);
    }
  }
  if (authority === undefined) return host ?? "";
  if (host !== undefined && normal(host, scheme) !== normal(authority, scheme)) {
    throw new Malformed(`host ${quote(host)} is not :authority ${quote(authority)}`);
  }
  return authority;
}

function normal(authority: string, scheme: string | undefined): string {
  const text = authority.toLowerCase();
  const port = Object.hasOwn(DEFAULT_PORT, scheme?.toLowerCase() ?? "")
    ? DEFAULT_PORT[scheme!.toLowerCase()]!
    : "";
  return port !== "" && text.endsWith(port) ? text.slice(0, -port.length) : text;
}

/** Equal copies are one (RFC 9110, 8.6), as lines or in a list. */
function contentLengthOf(headers: Headers): number | undefined {
  const lines = headers.get("content-length");
  if (lines === undefined) return undefined;
  const lengths = new Set(lines.join(",").split(",").map((length) => length.trim()));
  const [text = ""] = lengths;
  const length = Number(text);
  if (lengths.size > 1 || !LENGTH.test(text) || !Number.isSafeInteger(length)) {
    throw new Malformed(`illegal content-length ${quote(lines.join(", "))}`);
  }
  return length;
}

/** Characters of a peer's text that a reason quotes. */
const QUOTED_CHARS_MAX = 64;

/** A peer's text for a log line: cut and escaped. */
function quote(text: string): string {
  return JSON.stringify(text.slice(0, QUOTED_CHARS_MAX));
}
