/**
 * The whole program, put together: what starts in which order, and what ends in which.
 *
 * Owns: wiring. Never: logic. Runs on: both sides.
 *
 * @module
 */
export { DataThreads, type DataThreadsDeps, type OpenInstance } from "./data_threads.ts";
export { runProxy } from "./run_proxy.ts";
export { type SpawnedThread, type ThreadSpawner, workerSpawner } from "./spawn.ts";
