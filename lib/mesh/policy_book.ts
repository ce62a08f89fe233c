import type { PolicyWrite } from "./batch.ts";
import type { Heap } from "./heap.ts";
import { FrozenTable, PART, writeList } from "./world.ts";

/** The ids of the parts of a root that lead to policies. */
export type PolicyParts = ReadonlyMap<number, number>;

/**
 * The policies in force, in the order of their writing. What a push touches of their tables is written anew, beside what
 * was there: a root then shows all of that push at once, and records of policies never change under an id.
 */
export class PolicyBook {
  readonly #entries = new Map<string, PolicyWrite>();
  readonly #byKey: FrozenTable;
  readonly #byNamespace: FrozenTable;
  readonly #global = new Set<number>();
  #globalId = 0;

  constructor(private readonly heap: Heap) {
    this.#byKey = new FrozenTable(heap);
    this.#byNamespace = new FrozenTable(heap);
  }

  has(key: string): boolean {
    return this.#entries.has(key);
  }

  keys(): Iterable<string> {
    return this.#entries.keys();
  }

  idOf(key: string): number {
    return this.#entries.get(key)?.id ?? 0;
  }

  /** As the latest. */
  put(key: string, write: PolicyWrite): void {
    this.remove(key);
    const { id, scope, keyHash, namespaceHash } = write;
    this.#entries.set(key, write);
    this.#byKey.add(keyHash, id);
    if (scope === "Namespace") this.#byNamespace.add(namespaceHash, id);
    if (scope === "Global") this.#global.add(id);
  }

  remove(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    const { id, scope, keyHash, namespaceHash } = entry;
    this.#entries.delete(key);
    this.#byKey.remove(keyHash, id);
    if (scope === "Namespace") this.#byNamespace.remove(namespaceHash, id);
    this.#global.delete(id);
  }

  clear(): void {
    for (const key of [...this.#entries.keys()]) this.remove(key);
  }

  /** What leads to the policies now; `retire` what led to them before, once a root leads here. */
  build(): { readonly parts: PolicyParts; readonly retire: () => void } {
    const [byKey, byNamespace] = [this.#byKey.write(), this.#byNamespace.write()];
    const globalBefore = this.#globalId;
    this.#globalId = this.heap.newId();
    writeList(this.heap, this.#globalId, [...this.#global], 0);
    return {
      parts: new Map([
        [PART.policy, byKey.tableId],
        [PART.policyNamespace, byNamespace.tableId],
        [PART.policyGlobal, this.#globalId],
      ]),
      retire: () => {
        byKey.retire();
        byNamespace.retire();
        if (globalBefore !== 0) this.heap.retire(globalBefore);
      },
    };
  }
}
