/**
 * The whole program, put together: what starts in which order, and what ends in which.
 *
 * Owns: wiring. Never: logic. Runs on: both sides.
 *
 * @module
 */
export { runProxy } from "./run_proxy.ts";
