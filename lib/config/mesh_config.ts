/**
 * The mesh config file and PROXY_CONFIG (behaviour.md 1.3).
 * @module
 */
import { parse } from "yaml";
import type { Reader } from "./reader.ts";
import { CONTROL, FAMILIES } from "./variables.ts";
import { WORKER_THREADS_MAX } from "./kinds.ts";

export const MESH_CONFIG_PATH = "./etc/istio/config/mesh";
const PORT_MAX = 0xffff;
/** A mesh config is a page or two. The library compares every key with every other: a megabyte of keys takes minutes. */
const TEXT_CHARS_MAX = 128 * 1024;

/** The part of Istio's ProxyConfig that matters to us; what is absent was not said. */
export interface ProxyConfig {
  readonly discoveryAddress?: string;
  readonly proxyAdminPort?: number;
  readonly statsPort?: number;
  readonly concurrency?: number;
  readonly proxyMetadata: Readonly<Record<string, string>>;
}

/** The file, PROXY_CONFIG over it, and `ISTIO_META_*` over the metadata of both. */
export function readProxyConfig(
  reader: Reader,
  readFile: (path: string) => string | undefined,
): ProxyConfig {
  const below = fromFile(reader, readFile);
  const above = fromVariable(reader);
  const fromEnv = reader.family(FAMILIES.meta).filter(([key]) => key !== "");
  return {
    ...below,
    ...above,
    proxyMetadata: Object.fromEntries([
      ...Object.entries(below.proxyMetadata),
      ...Object.entries(above.proxyMetadata),
      ...fromEnv,
    ]),
  };
}

const NOTHING: ProxyConfig = { proxyMetadata: {} };

function fromFile(reader: Reader, readFile: (path: string) => string | undefined): ProxyConfig {
  try {
    const text = readFile(MESH_CONFIG_PATH);
    if (text === undefined) return NOTHING;
    const mesh = mapping(parsed(text), "the file");
    return proxyConfigOf(mapping(mesh["defaultConfig"], "defaultConfig"));
  } catch (error) {
    const reason = firstLine(error);
    reader.refuseNamed({ variable: MESH_CONFIG_PATH, value: "(its content)", reason });
    return NOTHING;
  }
}

function fromVariable(reader: Reader): ProxyConfig {
  const text = reader.text(CONTROL.proxyConfig);
  if (text === undefined || text === "") return NOTHING;
  try {
    return proxyConfigOf(mapping(parsed(text), "PROXY_CONFIG"));
  } catch (error) {
    reader.refuse(CONTROL.proxyConfig, firstLine(error));
    return NOTHING;
  }
}

function parsed(text: string): unknown {
  if (text.length > TEXT_CHARS_MAX) {
    throw new Error(`Cannot parse more than ${TEXT_CHARS_MAX} characters of YAML`);
  }
  try {
    // Pretty errors would quote the source, where secrets may be; the position is enough.
    return parse(text, { logLevel: "error", prettyErrors: false });
  } catch (error) {
    // Duplicate keys, too many aliases, nesting deeper than the stack: all of them are the file's fault.
    const where = positionOf(error, text);
    throw new Error(`Cannot parse the YAML${where}: ${firstLine(error)}`);
  }
}

function positionOf(error: unknown, text: string): string {
  const pos = (error as { readonly pos?: unknown }).pos;
  if (!Array.isArray(pos) || typeof pos[0] !== "number") return "";
  return ` at line ${text.slice(0, pos[0]).split("\n").length}`;
}

function proxyConfigOf(fields: Readonly<Record<string, unknown>>): ProxyConfig {
  const discoveryAddress = fields["discoveryAddress"] ?? undefined;
  if (discoveryAddress !== undefined && typeof discoveryAddress !== "string") {
    throw new Error("discoveryAddress must be text");
  }
  const proxyAdminPort = numberOf(fields, "proxyAdminPort", PORT_MAX);
  const statsPort = numberOf(fields, "statsPort", PORT_MAX);
  const concurrency = numberOf(fields, "concurrency", WORKER_THREADS_MAX);
  return {
    ...(discoveryAddress === undefined ? {} : { discoveryAddress }),
    ...(proxyAdminPort === undefined ? {} : { proxyAdminPort }),
    ...(statsPort === undefined ? {} : { statsPort }),
    ...(concurrency === undefined ? {} : { concurrency }),
    proxyMetadata: metadataOf(fields["proxyMetadata"]),
  };
}

function numberOf(
  fields: Readonly<Record<string, unknown>>,
  name: string,
  max: number,
): number | undefined {
  const value = fields[name] ?? undefined;
  if (value === undefined) return undefined;
  if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= max) {
    return value;
  }
  throw new Error(`${name} must be a whole number from 0 to ${max}`);
}

function metadataOf(value: unknown): Record<string, string> {
  const pairs = Object.entries(mapping(value, "proxyMetadata"));
  return Object.fromEntries(pairs.map(([key, item]) => {
    if (typeof item !== "string") throw new Error(`proxyMetadata.${key} must be text: quote it`);
    const { prefix } = FAMILIES.meta;
    return [key.startsWith(prefix) ? key.slice(prefix.length) : key, item];
  }));
}

/** Absent and empty count as a mapping without keys. */
function mapping(value: unknown, what: string): Readonly<Record<string, unknown>> {
  if (value === undefined || value === null) return {};
  if (typeof value !== "object" || Array.isArray(value)) {
    throw new Error(`${what} must be a mapping`);
  }
  return value as Readonly<Record<string, unknown>>;
}

function firstLine(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.split("\n", 1)[0]!;
}
