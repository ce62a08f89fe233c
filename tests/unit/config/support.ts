import { type Config, describeProblem, parseConfig, type ParsedConfig } from "#config";
import { ok } from "node:assert/strict";

/** The least that this version starts with. */
export const STARTS: Readonly<Record<string, string>> = {
  PROXY_MODE: "dedicated",
  PROXY_WORKLOAD_INFO: "shop/web-1/web",
  XDS_ADDRESS: "",
  LOCAL_XDS: "workloads: []",
  FAKE_CA: "true",
};

const FILES: Readonly<Record<string, string>> = { "/etc/resolv.conf": "nameserver 10.96.0.10\n" };

export interface Given {
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly files?: Readonly<Record<string, string | Error>>;
  readonly cpuCount?: number;
  readonly args?: readonly string[];
}

/** STARTS with `env` over it; `undefined` unsets. */
export function parsed({ env = {}, files = {}, cpuCount = 8, args = [] }: Given): ParsedConfig {
  const all = Object.entries({ ...STARTS, ...env })
    .filter((pair): pair is [string, string] => pair[1] !== undefined);
  return parseConfig({
    env: Object.fromEntries(all),
    readFile(path) {
      const content = { ...FILES, ...files }[path];
      if (content instanceof Error) throw content;
      return content;
    },
    cpuCount,
    args,
  });
}

export function configOf(given: Given): Config {
  const { config, problems } = parsed(given);
  ok(config !== undefined, problems.map(describeProblem).join("\n"));
  return config;
}

/** All problems as the lines that people see. */
export function problemsOf(given: Given): readonly string[] {
  const { config, problems } = parsed(given);
  ok((config === undefined) === (problems.length > 0));
  return problems.map(describeProblem);
}
