import { hashOf } from "./hash.ts";
import type { Heap } from "./heap.ts";
import type { Policy } from "./types.ts";
import { Index, PART, writeList } from "./world.ts";

interface Entry {
  readonly id: number;
  readonly scope: Policy["scope"];
  readonly namespaceHash: number;
}

/** The ids of the parts of a root that lead to policies. */
export type PolicyParts = ReadonlyMap<number, number>;

/**
 * The policies in force, in the order of their writing. Their tables are written anew for each push that touches any:
 * a root then shows all of that push at once, and records of policies never change under an id.
 */
export class PolicyBook {
  readonly #entries: Map<string, Entry>;
  #tables: readonly Index[] = [];
  #globalId = 0;

  constructor(private readonly heap: Heap, entries: Iterable<readonly [string, Entry]> = []) {
    this.#entries = new Map(entries);
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
  put(policy: Policy, id: number): void {
    this.#entries.delete(policy.key);
    this.#entries.set(policy.key, {
      id,
      scope: policy.scope,
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
    const [byKey, byNamespace] = this.#tables = [new Index(this.heap), new Index(this.heap)];
    const global: number[] = [];
    for (const [key, { id, scope, namespaceHash }] of this.#entries) {
      byKey!.add(hashOf(key), id);
      if (scope === "Namespace") byNamespace!.add(namespaceHash, id);
      if (scope === "Global") global.push(id);
    }
    for (const index of this.#tables) index.applyAdded();
    for (const index of this.#tables) index.applyDropped();
    this.#globalId = this.heap.newId();
    writeList(this.heap, this.#globalId, global, 0);
    return new Map([
      [PART.policy, byKey!.table.id],
      [PART.policyNamespace, byNamespace!.table.id],
      [PART.policyGlobal, this.#globalId],
    ]);
  }

  /** Takes the tables that `build` made last, to retire them once a root leads elsewhere. */
  detach(): () => void {
    const [tables, globalId] = [this.#tables, this.#globalId];
    return () => {
      for (const { table } of tables) table.retire();
      if (globalId !== 0) this.heap.retire(globalId);
    };
  }
}
