/**
 * The pods of a node, as its CNI agent tells them (ZDS, behaviour.md 10).
 *
 * Owns: the connection to the agent, the network namespaces that came over it, which pods there are. Never: sockets of pods,
 * words of the mesh. Runs on: control.
 *
 * @module
 */
export { INPOD_LIMITS } from "./limits.ts";
export type { PodInfo } from "./messages.ts";
export type { PodView } from "./ledger.ts";
export { PodManager, type PodManagerOptions, type RunningPod } from "./pod_manager.ts";
