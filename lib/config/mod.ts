/**
 * The environment and the files, once, into a frozen Config.
 *
 * Owns: every variable's name, type, default and meaning (one declaration), the mesh config file, PROXY_CONFIG.
 * Never: being read lazily. Runs on: control.
 *
 * @module
 */
export type {
  Config,
  ConfigAddress,
  ConfigProblem,
  LocalSource,
  ParsedConfig,
  ResolverConfig,
  RootSource,
  WorkloadNames,
} from "./config.ts";
export type { BuildInfo } from "./build.ts";
export type { ConfigInput } from "./parse.ts";
export { parseConfig } from "./parse.ts";
export { buildInfo } from "./build.ts";
export { readEnvironment } from "./environment.ts";
export { describeProblem } from "./reader.ts";
export { configDump } from "./dump.ts";
export { variableTable } from "./help.ts";
