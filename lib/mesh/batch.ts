import { serviceKeyOf } from "./keys.ts";
import type { Policy, Service, ServiceKey, Workload } from "./types.ts";

/** A value that shall be, and its bytes if it came in bytes. */
export interface Written<V> {
  readonly value: V;
  readonly bytes?: Uint8Array;
}

/** Per key what shall be there; undefined for what goes. */
export type Writes<K, V> = ReadonlyMap<K, Written<V> | undefined>;

/** What is there already. */
export interface Known {
  workload(uid: string): Workload | undefined;
  service(key: ServiceKey): Service | undefined;
  hasPolicy(key: string): boolean;
}

/** What was written since the last commit. Nothing of it is in the arena. */
export class Batch {
  readonly workloads = new Map<string, Written<Workload> | undefined>();
  readonly services = new Map<ServiceKey, Written<Service> | undefined>();
  readonly policies = new Map<string, Written<Policy> | undefined>();
  #isCleared = false;
  /** Of the bytes that came; what is given typed is small. */
  #bytes = 0;

  constructor(private readonly known: Known) {}

  /** Whether everything that is not in this batch goes. */
  get isCleared(): boolean {
    return this.#isCleared;
  }

  get bytes(): number {
    return this.#bytes;
  }

  upsertWorkload(value: Workload, bytes?: Uint8Array): void {
    this.#write(this.workloads, value.uid, value, bytes);
  }

  upsertService(value: Service, bytes?: Uint8Array): void {
    this.#write(this.services, serviceKeyOf(value), value, bytes);
  }

  upsertPolicy(value: Policy, bytes?: Uint8Array): void {
    this.#write(this.policies, value.key, value, bytes);
  }

  removeAddress(name: string): boolean {
    if (this.#has(this.workloads, name, () => this.known.workload(name) !== undefined)) {
      remove(this.workloads, name);
      return true;
    }
    const slash = name.indexOf("/");
    if (slash < 0) return false;
    const key = name as ServiceKey;
    if (!this.#has(this.services, key, () => this.known.service(key) !== undefined)) return false;
    remove(this.services, key);
    return true;
  }

  removePolicy(key: string): boolean {
    if (!this.#has(this.policies, key, () => this.known.hasPolicy(key))) return false;
    remove(this.policies, key);
    return true;
  }

  clear(): void {
    this.#isCleared = true;
    this.#bytes = 0;
    for (const writes of [this.workloads, this.services, this.policies]) writes.clear();
  }

  #has<K>(writes: Writes<K, unknown>, key: K, isKnown: () => boolean): boolean {
    if (writes.has(key)) return writes.get(key) !== undefined;
    return !this.#isCleared && isKnown();
  }

  #write<K, V>(
    writes: Map<K, Written<V> | undefined>,
    key: K,
    value: V,
    bytes: Uint8Array | undefined,
  ): void {
    // The latest write is also the latest in order, by which ties are broken.
    writes.delete(key);
    writes.set(key, bytes === undefined ? { value } : { value, bytes });
    this.#bytes += bytes?.length ?? 0;
  }
}

function remove<K, V>(writes: Map<K, V | undefined>, key: K): void {
  writes.delete(key);
  writes.set(key, undefined);
}
