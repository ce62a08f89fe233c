/**
 * The mesh: who is in it, at which addresses, under which policies.
 *
 * Owns: workloads, services, endpoints, policies and their indexes; the one writer and the read view. Never:
 * await, certificates, sockets. Runs on: written by control, read by every thread.
 *
 * @module
 */
export type * from "./types.ts";
export type {
  AddressDump,
  EndpointDump,
  PolicyDump,
  ServiceDump,
  StringMatchDump,
  WorkloadDump,
} from "./dump.ts";
export {
  attachMesh,
  createMesh,
  identityOf,
  type Mesh,
  type MeshHandles,
  type MeshOptions,
} from "./mesh.ts";
export type { HeapUse, ReleasePages } from "./heap.ts";
export { bytesTag, Cursor, isBytesTag } from "./cursor.ts";
export { MeshDump } from "./dump.ts";
export { sameContent } from "./equal.ts";
export type { Decoded } from "./wire_shared.ts";
