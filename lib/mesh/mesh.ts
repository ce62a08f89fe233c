import { SpiffeId } from "#values";
import type { MeshView, MeshWriter, Workload } from "./types.ts";

export interface Mesh {
  readonly view: MeshView;
  readonly writer: MeshWriter;
}
/** An empty mesh. `localNode` undefined makes every workload local (behaviour.md 4.1). */
export function createMesh(_options: { readonly localNode?: string }): Mesh {
  throw new Error("not written");
}
export function identityOf(workload: Workload): SpiffeId {
  return SpiffeId.of(workload.trustDomain, workload.namespace, workload.serviceAccount);
}
