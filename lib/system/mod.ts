/**
 * Time and chance, as arguments: everyone else receives a Clock and an Rng, so that a test owns both.
 *
 * Owns: the only uses of the real clock, timers and random source. Never: business. Runs on: every thread.
 *
 * @module
 */
export { atEndOfTurn, type Clock, realClock, type Timer } from "./clock.ts";
export { realRng, type Rng, seededRng } from "./rng.ts";
export { Stop, type StopSignal } from "./stop.ts";
export { Backoff, type BackoffOptions } from "./backoff.ts";
export { type Pace, SLICE_MS, Slices } from "./slices.ts";
