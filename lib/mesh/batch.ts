import { serviceKeyOf } from "./keys.ts";
import type { Policy, Service, ServiceKey, Workload } from "./types.ts";

/** A value that shall be, and its record. */
export interface Written<V> {
  readonly value: V;
  readonly bytes: Uint8Array;
  /** Given typed, so that the bytes are our own. */
  readonly isLocal: boolean;
}

/**
 * What a key may cost beside the record, in bytes: its slot at half load, twice while a table grows, and its share of a
 * list.
 */
const KEY_BYTES = 64;

/** A policy that shall be; its record is in the memory already, where nothing leads to it yet. */
export interface PolicyWrite {
  readonly scope: Policy["scope"];
  readonly keyHash: number;
  readonly namespaceHash: number;
  readonly id: number;
  /** What is there already says the same, and `id` is its. */
  readonly isSame: boolean;
}

/** What is there already. */
export interface Known {
  workload(uid: string): Workload | undefined;
  service(key: ServiceKey): Service | undefined;
  hasPolicy(key: string): boolean;
}

/** What was written since the last commit. Nothing of it can be seen. */
export class Batch {
  readonly workloads = new Map<string, Written<Workload> | undefined>();
  readonly services = new Map<ServiceKey, Written<Service> | undefined>();
  readonly policies = new Map<string, PolicyWrite | undefined>();
  #isCleared = false;
  #weightBytes = 0;

  constructor(private readonly known: Known) {}

  /** Whether everything that is not in this batch goes. */
  get isCleared(): boolean {
    return this.#isCleared;
  }

  /** What all of it may need in the arena, in bytes. */
  get weightBytes(): number {
    return this.#weightBytes;
  }

  upsertWorkload(written: Written<Workload>): void {
    const { uid, workloadIps, services } = written.value;
    this.#write(this.workloads, uid, written, 3 + workloadIps.length + services.size);
  }

  upsertService(written: Written<Service>): void {
    const { vips, cidrVips } = written.value;
    const key = serviceKeyOf(written.value);
    this.#write(this.services, key, written, 2 + vips.length + cidrVips.length);
  }

  upsertPolicy(key: string, written: PolicyWrite, bytesCount: number): void {
    put(this.policies, key, written);
    this.#weightBytes += bytesCount + 2 * KEY_BYTES;
  }

  removeAddress(name: string): boolean {
    if (this.#has(this.workloads, name, () => this.known.workload(name) !== undefined)) {
      put(this.workloads, name, undefined);
      return true;
    }
    const slash = name.indexOf("/");
    if (slash < 0) return false;
    const key = name as ServiceKey;
    if (!this.#has(this.services, key, () => this.known.service(key) !== undefined)) return false;
    put(this.services, key, undefined);
    return true;
  }

  removePolicy(key: string): boolean {
    if (!this.#has(this.policies, key, () => this.known.hasPolicy(key))) return false;
    put(this.policies, key, undefined);
    return true;
  }

  clear(): void {
    this.#isCleared = true;
    this.#weightBytes = 0;
    for (const writes of [this.workloads, this.services, this.policies]) writes.clear();
  }

  #has<K>(writes: ReadonlyMap<K, unknown>, key: K, isKnown: () => boolean): boolean {
    if (writes.has(key)) return writes.get(key) !== undefined;
    return !this.#isCleared && isKnown();
  }

  #write<K, V>(
    writes: Map<K, Written<V> | undefined>,
    key: K,
    written: Written<V>,
    keysCount: number,
  ): void {
    put(writes, key, written);
    this.#weightBytes += written.bytes.length + keysCount * KEY_BYTES;
  }
}

/** The latest write is also the latest in order, by which ties are broken. */
function put<K, V>(writes: Map<K, V | undefined>, key: K, written: V | undefined): void {
  writes.delete(key);
  writes.set(key, written);
}
