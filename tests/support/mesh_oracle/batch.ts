import { sameContent } from "#mesh";
import { serviceKeyOf, type Tables } from "./tables.ts";
import type { Policy, Service, ServiceKey, Workload } from "#mesh";

/** What came of one commit, before it has an epoch. */
export interface Effect {
  readonly policiesChanged: boolean;
  readonly touched: readonly string[];
}

/** Per key the value that it shall have; undefined for one that goes. */
type Writes<K, V> = Map<K, V | undefined>;

/** What the writes of one kind amount to, compared with what was committed last. */
interface Outcome<K, V> {
  readonly removed: readonly K[];
  readonly written: readonly V[];
  /** Keys that came, went or now say something else. */
  readonly changed: readonly K[];
}

/** What was written since the last commit. Nothing of it is in the tables until `applyTo`. */
export class Batch {
  readonly #workloads: Writes<string, Workload> = new Map();
  readonly #services: Writes<ServiceKey, Service> = new Map();
  readonly #policies: Writes<string, Policy> = new Map();
  #isCleared = false;

  /** `before`: what was committed last. */
  constructor(private readonly before: Tables) {}

  /** Whether everything that is not in this batch goes. */
  get isCleared(): boolean {
    return this.#isCleared;
  }

  upsertWorkload(workload: Workload): void {
    write(this.#workloads, workload.uid, workload);
  }

  upsertService(service: Service): void {
    write(this.#services, serviceKeyOf(service), service);
  }

  upsertPolicy(policy: Policy): void {
    write(this.#policies, policy.key, policy);
  }

  removeAddress(name: string): boolean {
    if (this.#has(this.#workloads, name, this.before.workload(name))) {
      write(this.#workloads, name, undefined);
      return true;
    }
    const slash = name.indexOf("/");
    if (slash < 0) return false;
    const key: ServiceKey = `${name.slice(0, slash)}/${name.slice(slash + 1)}`;
    if (!this.#has(this.#services, key, this.before.service(key))) return false;
    write(this.#services, key, undefined);
    return true;
  }

  removePolicy(key: string): boolean {
    if (!this.#has(this.#policies, key, this.before.policy(key))) return false;
    write(this.#policies, key, undefined);
    return true;
  }

  clear(): void {
    this.#isCleared = true;
    for (const writes of [this.#workloads, this.#services, this.#policies]) writes.clear();
  }

  /**
   * Writes it all into `tables`: those committed last or, if the batch is cleared, empty ones. Removals come first, then
   * what came, in the order it came.
   */
  applyTo(tables: Tables): Effect {
    const { before } = this;
    const workloads = this.#outcome(this.#workloads, (uid) => before.workload(uid), before.uids());
    const services = this.#outcome(this.#services, (key) => before.service(key), []);
    const policies = this.#outcome(
      this.#policies,
      (key) => before.policy(key),
      before.policyKeys(),
    );
    const moved = workloads.changed.some((uid) =>
      isRuledOtherwise(before.workload(uid), this.#workloads.get(uid))
    );
    for (const uid of workloads.removed) tables.removeWorkload(uid);
    for (const key of services.removed) tables.removeService(key);
    for (const key of policies.removed) tables.removePolicy(key);
    for (const workload of workloads.written) tables.putWorkload(workload);
    for (const service of services.written) tables.putService(service);
    for (const policy of policies.written) {
      // Of policies, what says the same keeps its place.
      if (this.#isCleared || policies.changed.includes(policy.key)) tables.putPolicy(policy);
    }
    return {
      touched: workloads.changed,
      policiesChanged: policies.changed.length > 0 || moved,
    };
  }

  #has<K, V>(writes: Writes<K, V>, key: K, before: V | undefined): boolean {
    if (writes.has(key)) return writes.get(key) !== undefined;
    return !this.#isCleared && before !== undefined;
  }

  /**
   * A value that says what is already known is written as the object that is already known: whoever kept that object (a
   * connection's row, a cache) still holds the current one.
   */
  #outcome<K, V>(
    writes: Writes<K, V>,
    beforeOf: (key: K) => V | undefined,
    keysBefore: Iterable<K>,
  ): Outcome<K, V> {
    const removed: K[] = [];
    const written: V[] = [];
    const changed: K[] = [];
    for (const [key, value] of writes) {
      const before = beforeOf(key);
      const isSame = sameContent(before, value);
      if (!isSame) changed.push(key);
      if (value === undefined) removed.push(key);
      else written.push(isSame ? before! : value);
    }
    if (this.#isCleared) {
      for (const key of keysBefore) if (!writes.has(key)) changed.push(key);
    }
    return { removed, written, changed };
  }
}

function write<K, V>(writes: Writes<K, V>, key: K, value: V | undefined): void {
  // The latest write is also the latest in order, by which ties are broken.
  writes.delete(key);
  writes.set(key, value);
}

/** Whether other policies may apply to a workload than before. Whom nobody knew, no connection was judged for. */
function isRuledOtherwise(before: Workload | undefined, after: Workload | undefined): boolean {
  return before !== undefined && after !== undefined &&
    (before.namespace !== after.namespace ||
      !sameContent(before.authorizationPolicies, after.authorizationPolicies));
}
