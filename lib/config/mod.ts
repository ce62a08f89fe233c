/**
 * The environment and the files, once, into a frozen Config.
 *
 * Owns: every variable's name, type, default and meaning (one declaration), the mesh config file, PROXY_CONFIG.
 * Never: being read lazily. Runs on: control.
 *
 * @module
 */
export type { Config, ConfigProblem, LocalSource, ParsedConfig, RootSource } from "./config.ts";
export { parseConfig } from "./parse.ts";
export { variableTable } from "./help.ts";
