import type { Policy, Workload } from "#mesh";

interface Applied {
  readonly policies: readonly Policy[];
  readonly missing: readonly string[];
}

/** Policies by key, by the namespace they rule, and those that rule everywhere (behaviour.md 4.11). */
export class PolicyIndex {
  readonly byKey = new Map<string, Policy>();
  readonly #namespaces = new Map<string, Map<string, Policy>>();
  readonly #global = new Map<string, Policy>();
  /** The answer per workload record; every connection asks. Forgotten whenever a policy changes. */
  #applied = new WeakMap<Workload, Applied>();

  /** In the place of a policy of the same key, whatever that one's scope was. */
  put(policy: Policy): void {
    this.remove(policy.key);
    this.byKey.set(policy.key, policy);
    if (policy.scope === "Global") this.#global.set(policy.key, policy);
    if (policy.scope !== "Namespace") return;
    const inNamespace = this.#namespaces.get(policy.namespace);
    if (inNamespace !== undefined) inNamespace.set(policy.key, policy);
    else this.#namespaces.set(policy.namespace, new Map([[policy.key, policy]]));
  }

  remove(key: string): void {
    this.#applied = new WeakMap();
    const policy = this.byKey.get(key);
    if (policy === undefined) return;
    this.byKey.delete(key);
    this.#global.delete(key);
    const inNamespace = this.#namespaces.get(policy.namespace);
    inNamespace?.delete(key);
    if (inNamespace?.size === 0) this.#namespaces.delete(policy.namespace);
  }

  for(workload: Workload): Applied {
    let applied = this.#applied.get(workload);
    if (applied === undefined) this.#applied.set(workload, applied = this.#collect(workload));
    return applied;
  }

  /** A Set, because a workload may also list a policy that rules its namespace anyway. */
  #collect(workload: Workload): Applied {
    const policies = new Set<Policy>(this.#namespaces.get(workload.namespace)?.values());
    for (const policy of this.#global.values()) policies.add(policy);
    const missing: string[] = [];
    for (const key of workload.authorizationPolicies) {
      const policy = this.byKey.get(key);
      if (policy === undefined) missing.push(key);
      else policies.add(policy);
    }
    return { policies: [...policies], missing };
  }
}
