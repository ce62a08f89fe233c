import type { WireMesh, WireResource, WireType } from "./wire_mesh.ts";

/** A mesh, and who is found in it by what. The indexes are made when somebody first looks. */
export class Directory {
  #byAlias: Map<string, WireResource[]> | undefined;
  #byService: Map<string, WireResource[]> | undefined;
  #byNode: Map<string, WireResource[]> | undefined;

  constructor(readonly mesh: WireMesh) {}

  /** What istiod sends for a key: the resource of that name or address; with a service its workloads. */
  lookUp(type: WireType, key: string): readonly WireResource[] {
    const named = this.mesh[type].get(key);
    if (type === "authorization") return named === undefined ? [] : [named];
    this.#byAlias ??= indexed(this.mesh, ({ aliases }) => aliases);
    this.#byService ??= indexed(this.mesh, ({ services }) => services);
    const found = named === undefined ? this.#byAlias.get(key) ?? [] : [named];
    return found.flatMap((each) => [each, ...this.#byService!.get(each.name) ?? []]);
  }

  /** Workloads of a node; none for the nameless one. */
  onNode(type: WireType, node: string): readonly WireResource[] {
    if (type === "authorization" || node === "") return [];
    this.#byNode ??= indexed(this.mesh, (each) => each.node === "" ? [] : [each.node]);
    return this.#byNode.get(node) ?? [];
  }
}

function indexed(
  { address }: WireMesh,
  keysOf: (resource: WireResource) => readonly string[],
): Map<string, WireResource[]> {
  const index = new Map<string, WireResource[]>();
  for (const resource of address.values()) {
    for (const key of keysOf(resource)) {
      const others = index.get(key);
      if (others === undefined) index.set(key, [resource]);
      else others.push(resource);
    }
  }
  return index;
}
