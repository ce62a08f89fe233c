/**
 * Counters and gauges: cells that anybody adds to, and their exposition.
 *
 * Owns: the families (behaviour.md 13), series cells in a SharedArrayBuffer, eviction, the text. Never: HTTP.
 * Runs on: every thread; exposition on control.
 *
 * @module
 */
export type { Family, FamilyName } from "./families.ts";
export type { MetricsOptions, NewSeries, Series, SeriesChange, ThreadCells } from "./metrics.ts";
export type { Format } from "./text.ts";
export { FAMILIES } from "./families.ts";
export { METRICS_LIMITS } from "./limits.ts";
export { Metrics, newCells } from "./metrics.ts";
