/** resolv.conf(5), as far as a resolver without a search through hosts files needs it (behaviour.md 1.5). */
import { Ip } from "#values";
import type { ResolverConfig } from "./config.ts";
import type { Reader } from "./reader.ts";

export const RESOLV_CONF_PATH = "/etc/resolv.conf";
/** libc reads three; a file with more is a mistake or made by a machine, and each costs a timeout. */
const NAME_SERVERS_MAX = 16;
/** The bounds of resolv.conf(5) for ndots, timeout and attempts. */
const NDOTS_MAX = 15;
const TIMEOUT_SECONDS_MAX = 30;
const ATTEMPTS_MAX = 5;

const DEFAULTS: ResolverConfig = {
  nameServers: [],
  domain: undefined,
  search: [],
  ndots: 1,
  attempts: 2,
  timeoutMs: 5_000,
};

export function readResolver(
  reader: Reader,
  readFile: (path: string) => string | undefined,
): ResolverConfig {
  try {
    const text = readFile(RESOLV_CONF_PATH);
    if (text !== undefined) return parseResolvConf(text);
    reader.warn(
      `${RESOLV_CONF_PATH} does not exist: workloads that only have a name are out of reach`,
    );
  } catch (error) {
    const reason = `cannot be read: ${error instanceof Error ? error.message : String(error)}`;
    reader.refuseNamed({ variable: RESOLV_CONF_PATH, value: "(its content)", reason });
  }
  return DEFAULTS;
}

/** Total on any text: lines that say nothing to us are passed over, as libc does. */
export function parseResolvConf(text: string): ResolverConfig {
  const nameServers: Ip[] = [];
  let { domain, search, ndots, attempts, timeoutMs } = DEFAULTS;
  for (const line of text.split("\n")) {
    const [keyword, ...words] = line.replace(/[#;].*$/, "").trim().split(/\s+/);
    if (keyword === "nameserver" && words[0] !== undefined) {
      const ip = Ip.parse(words[0]);
      if (ip !== undefined && nameServers.length < NAME_SERVERS_MAX) nameServers.push(ip);
    } else if (keyword === "domain") {
      domain = words[0];
    } else if (keyword === "search") {
      search = words;
    } else if (keyword === "options") {
      ndots = optionOf(words, "ndots", 0, NDOTS_MAX) ?? ndots;
      attempts = optionOf(words, "attempts", 1, ATTEMPTS_MAX) ?? attempts;
      const seconds = optionOf(words, "timeout", 1, TIMEOUT_SECONDS_MAX);
      timeoutMs = seconds === undefined ? timeoutMs : seconds * 1_000;
    }
  }
  return { nameServers, domain, search, ndots, attempts, timeoutMs };
}

function optionOf(
  words: readonly string[],
  name: string,
  min: number,
  max: number,
): number | undefined {
  const word = words.findLast((word) => word.startsWith(`${name}:`));
  const digits = word?.slice(name.length + 1);
  if (digits === undefined || !/^\d+$/.test(digits)) return undefined;
  return Math.min(Math.max(Number(digits), min), max);
}
