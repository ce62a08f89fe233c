/**
 * Lines for people and their tools: levels per scope, changeable at run time.
 *
 * Owns: filter grammar, formats, the bounded queue to stdout. Never: deciding what matters. Runs on: every thread
 * (only control writes stdout).
 *
 * @module
 */
export type { Fields, FieldValue, Level, Log, Span, Write } from "./log.ts";
export type { LogHub, LogHubOptions, RelayedLogHub, RelayedLogOptions } from "./hub.ts";
export type { SyncSink } from "./writer.ts";
export { display, silentLog } from "./log.ts";
export { createLogHub, createRelayedLogHub } from "./hub.ts";
export { terminalSafe } from "./format.ts";
export { blockingWriter } from "./writer.ts";
export { InvalidFilter } from "./filter.ts";
export { LOG_LIMITS } from "./limits.ts";
