/**
 * Where the mesh comes from.
 *
 * Owns: reading a mesh from local YAML and keeping up with its file; delta ADS with a control plane. Never: applying it
 * to sockets. Runs on: control.
 *
 * @module
 */
export { loadLocal, type LocalMesh, type LocalParse } from "./local.ts";
export { formatProblem, type LocalProblem } from "./problems.ts";
export { LOCAL_LIMITS } from "./limits.ts";
export { LocalLoadError, type LocalWatch, type LocalWatchOptions, watchLocal } from "./watch.ts";
export type { LocalChanges } from "./changes.ts";
export { watchXds, type XdsOptions, type XdsWatch } from "./watch_xds.ts";
export type { NodeFacts } from "./node.ts";
export type { TypeStatus, XdsStatus } from "./status.ts";
export { type ResourceType, TYPE_URLS } from "./session.ts";
export { DEMAND_TIMEOUT_MS } from "./demands.ts";
