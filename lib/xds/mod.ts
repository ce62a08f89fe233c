/**
 * Where the mesh comes from.
 *
 * Owns: reading a mesh from local YAML and keeping up with its file. Never: applying it to sockets. Runs on: control.
 *
 * @module
 */
export { loadLocal, type LocalMesh, type LocalParse } from "./local.ts";
export { formatProblem, type LocalProblem } from "./problems.ts";
export { LOCAL_LIMITS } from "./limits.ts";
export { LocalLoadError, type LocalWatch, type LocalWatchOptions, watchLocal } from "./watch.ts";
export type { LocalChanges } from "./changes.ts";
