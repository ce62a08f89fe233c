import { hashOf } from "./hash.ts";
import type { Heap } from "./heap.ts";
import type { Policy } from "./types.ts";
import { PART, retireTable, writeList, writeTable } from "./world.ts";

interface Entry {
  readonly id: number;
  readonly scope: Policy["scope"];
  readonly keyHash: number;
  readonly namespaceHash: number;
}

/** The ids of the parts of a root that lead to policies. */
export type PolicyParts = ReadonlyMap<number, number>;

/**
 * The policies in force, in the order of their writing. Their tables are written anew for each push that touches any:
 * a root then shows all of that push at once, and records of policies never change under an id.
 */
export class PolicyBook {
  readonly #entries = new Map<string, Entry>();
  #tableIds: readonly number[] = [];
  #globalId = 0;

  constructor(private readonly heap: Heap) {}

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
  put(policy: Policy, id: number): void {
    this.#entries.delete(policy.key);
    this.#entries.set(policy.key, {
      id,
      scope: policy.scope,
      keyHash: hashOf(policy.key),
      namespaceHash: hashOf(policy.namespace),
    });
  }

  remove(key: string): void {
    this.#entries.delete(key);
  }

  clear(): void {
    this.#entries.clear();
  }

  /** New tables, beside those of before. */
  build(): PolicyParts {
    const byKey = new Map<number, number[]>();
    const byNamespace = new Map<number, number[]>();
    const global: number[] = [];
    for (const { id, scope, keyHash, namespaceHash } of this.#entries.values()) {
      push(byKey, keyHash, id);
      if (scope === "Namespace") push(byNamespace, namespaceHash, id);
      if (scope === "Global") global.push(id);
    }
    const [keyTable, namespaceTable] = this.#tableIds = [
      writeTable(this.heap, byKey),
      writeTable(this.heap, byNamespace),
    ];
    this.#globalId = this.heap.newId();
    writeList(this.heap, this.#globalId, global, 0);
    return new Map([
      [PART.policy, keyTable!],
      [PART.policyNamespace, namespaceTable!],
      [PART.policyGlobal, this.#globalId],
    ]);
  }

  /** Takes the tables that `build` made last, to retire them once a root leads elsewhere. */
  detach(): () => void {
    const [tableIds, globalId] = [this.#tableIds, this.#globalId];
    return () => {
      for (const tableId of tableIds) retireTable(this.heap, tableId);
      if (globalId !== 0) this.heap.retire(globalId);
    };
  }
}

function push(idsByHash: Map<number, number[]>, hash: number, id: number): void {
  const ids = idsByHash.get(hash);
  if (ids === undefined) idsByHash.set(hash, [id]);
  else ids.push(id);
}
