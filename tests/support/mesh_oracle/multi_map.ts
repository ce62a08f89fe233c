/** Several values under one key, in insertion order; a key without values is not kept. */
export class MultiMap<K, V> {
  readonly #lists = new Map<K, V[]>();

  /** Empty if nothing is there. The list changes with the map: read it in the same turn. */
  get(key: K): readonly V[] {
    return this.#lists.get(key) ?? NOTHING;
  }

  add(key: K, value: V): void {
    const list = this.#lists.get(key);
    if (list === undefined) this.#lists.set(key, [value]);
    else list.push(value);
  }

  remove(key: K, value: V): void {
    const list = this.#lists.get(key);
    const index = list?.indexOf(value) ?? -1;
    if (list === undefined || index < 0) return;
    if (list.length === 1) this.#lists.delete(key);
    else list.splice(index, 1);
  }

  /** `next` in the place of `previous`, or at the end if that is not there. */
  replace(key: K, previous: V, next: V): void {
    const list = this.#lists.get(key);
    const index = list?.indexOf(previous) ?? -1;
    if (list === undefined || index < 0) this.add(key, next);
    else list[index] = next;
  }

  get isEmpty(): boolean {
    return this.#lists.size === 0;
  }
}

const NOTHING: readonly never[] = [];

/** A MultiMap per network. Two look-ups by short keys are cheaper than one by a text glued together for each ask. */
export class NetworkMap<K, V> {
  readonly #networks = new Map<string, MultiMap<K, V>>();

  get(network: string, key: K): readonly V[] {
    return this.#networks.get(network)?.get(key) ?? NOTHING;
  }

  add(network: string, key: K, value: V): void {
    this.#in(network).add(key, value);
  }

  replace(network: string, key: K, previous: V, next: V): void {
    this.#in(network).replace(key, previous, next);
  }

  remove(network: string, key: K, value: V): void {
    const map = this.#networks.get(network);
    map?.remove(key, value);
    if (map?.isEmpty) this.#networks.delete(network);
  }

  #in(network: string): MultiMap<K, V> {
    let map = this.#networks.get(network);
    if (map === undefined) this.#networks.set(network, map = new MultiMap());
    return map;
  }
}
