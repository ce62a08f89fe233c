/**
 * Stand-ins for what surrounds a proxy: istiod and its CA, the CNI agent with its nodes and pods, and the demo services of
 * `dev`.
 *
 * Owns: programs that play the mesh's other parts, and play them wrong on demand. Never: being loaded by `proxy` (a
 * dynamic import from `dev`, and tests). Runs on: their own process, or dev's.
 *
 * @module
 */
export { type DemoService, startDemoService } from "./demo_service.ts";
export { ControlPlane, type ControlPlaneOptions } from "./control_plane.ts";
export { MeshAuthority } from "./authority.ts";
export {
  type ControlPlaneHost,
  hostControlPlane,
  type HostOptions,
  type MeshSource,
  type RootStep,
} from "./host.ts";
export { GeneratedMesh, type MeshSize } from "./generate.ts";
export { Tokens } from "./tokens.ts";
export type { Caller, TokenRequest } from "./tokens.ts";
export type { ControlPlaneEvent, EventOf, Records } from "./records.ts";
export type { CaFault, Faults, Poison, ServerFault } from "./faults.ts";
export {
  differencesBetween,
  type TypedMesh,
  type WireMesh,
  wireMeshOf,
  type WireResource,
} from "./wire_mesh.ts";
export type { AgentPod, Answer, Message, ZdsAgent } from "./cni_agent.ts";
export { Cni, type CniOptions, type Pod, type PodSpec } from "./cni.ts";
export type { RuleFlavour } from "./cni_rules.ts";
