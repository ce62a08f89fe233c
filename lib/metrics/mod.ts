/**
 * Counters and gauges: cells that anybody adds to, and their exposition.
 *
 * Owns: the families (behaviour.md 13), series cells in a SharedArrayBuffer, eviction, the text. Never: HTTP.
 * Runs on: every thread; exposition on control.
 *
 * @module
 */
export type { FamilyName, Series } from "./metrics.ts";
export { FAMILIES, Metrics } from "./metrics.ts";
