import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { Batch, type PolicyWrite, type Written } from "./batch.ts";
import { sameContent } from "./equal.ts";
import type { Heap } from "./heap.ts";
import {
  hashOfKey,
  type IndexKey,
  partOfKey,
  serviceKeyOf,
  serviceKeys,
  stratumOf,
  workloadKeys,
} from "./keys.ts";
import { FLAG_LOCAL, HEADER_WORDS, KIND, type Kind, ROOT_SLOT } from "./memory.ts";
import { PolicyBook } from "./policy_book.ts";
import type { ArenaView } from "./reader.ts";
import type { Commit, Policy, Service, Workload } from "./types.ts";
import { Index, PART, PARTS_COUNT, writeList } from "./world.ts";

/** The parts that are indexes of workloads and services: the first of all, in this order. */
const INDEX_PARTS = [
  PART.uid,
  PART.address,
  PART.info,
  PART.workloadHostname,
  PART.service,
  PART.serviceHostname,
  PART.vip,
  PART.range,
  PART.endpoints,
] as const;
/** Where a workload that is written again counts as the latest; elsewhere it keeps its place. */
const RANKED_PARTS: readonly number[] = [PART.address, PART.info, PART.workloadHostname];
/** How much of the memory may be filled; the rest is for tables that grow and for what is still being read. */
const FILLED_RATIO_MAX = 0.75;

/** Indexes of workloads and services, and which kinds of range there are. */
class World {
  /** By part; INDEX_PARTS are the first. */
  readonly indexes: readonly Index[];
  readonly strata = new Map<number, number>();
  readonly strataId: number;
  #strataChanged = true;

  constructor(private readonly heap: Heap) {
    this.indexes = INDEX_PARTS.map(() => new Index(heap));
    this.strataId = heap.newId();
  }

  /** A record that is new here. */
  insert(keys: readonly IndexKey[], id: number): void {
    for (const key of keys) this.#index(key).insert(hashOfKey(key), id);
  }

  /** A record that was under `before` is now, or stays, under `after`. */
  move(before: ReadonlySet<IndexKey>, after: ReadonlySet<IndexKey>, id: number): void {
    for (const key of after) {
      if (before.has(key) && !RANKED_PARTS.includes(partOfKey(key))) continue;
      this.#index(key).add(hashOfKey(key), id);
    }
    for (const key of before) if (!after.has(key)) this.#index(key).drop(hashOfKey(key), id);
  }

  #index(key: IndexKey): Index {
    return this.indexes[partOfKey(key)]!;
  }

  countStrata(service: Service | undefined, by: 1 | -1): void {
    for (const { cidr } of service?.cidrVips ?? []) {
      const stratum = stratumOf(cidr);
      const count = (this.strata.get(stratum) ?? 0) + by;
      if (count <= 0) this.strata.delete(stratum);
      else this.strata.set(stratum, count);
      if (count === 0 || (count === 1 && by === 1)) this.#strataChanged = true;
    }
  }

  applyAdded(): void {
    for (const index of this.indexes) index.applyAdded();
    if (!this.#strataChanged) return;
    this.#strataChanged = false;
    writeList(this.heap, this.strataId, [...this.strata.keys()], 0);
  }

  applyDropped(): void {
    for (const index of this.indexes) index.applyDropped();
  }

  retire(): void {
    for (const { table } of this.indexes) table.retire();
    this.heap.retire(this.strataId);
  }
}

/** What a commit will do once readers can already find everything that it adds. */
interface Plan {
  readonly world: World;
  readonly flips: (readonly [number, number])[];
  readonly retired: number[];
}

/** The one who writes: batches become records, records become findable, in an order that never misleads a reader. */
export class ArenaWriter {
  /** Of what was touched since somebody took them, those that are or were this node's. */
  readonly touchedLocal: string[] = [];
  #world: World;
  #rootId = 0;
  readonly #book: PolicyBook;
  #batch: Batch;

  constructor(private readonly heap: Heap, private readonly view: ArenaView) {
    this.#book = new PolicyBook(heap);
    this.#world = new World(heap);
    this.#batch = this.#newBatch();
    this.#world.applyAdded();
    this.#flipRoot(this.#world, true);
    heap.settle();
  }

  get batch(): Batch {
    return this.#batch;
  }

  /** Whether what is written since the last commit, and one resource of so many bytes more, has room. */
  hasRoom(bytes: number): boolean {
    const { heap } = this;
    return heap.use.pageBytes + this.#batch.weightBytes + bytes <= heap.bytesMax * FILLED_RATIO_MAX;
  }

  commit(): Commit {
    const batch = this.#batch;
    const before = this.#world;
    const world = batch.isCleared ? new World(this.heap) : before;
    const plan: Plan = { world, flips: [], retired: [] };
    const touched: string[] = [];
    const moved = this.#planWorkloads(plan, touched);
    this.#planServices(plan);
    const policies = this.#planPolicies(plan);
    world.applyAdded();
    for (const [id, at] of plan.flips) this.heap.publish(id, at);
    if (world !== before || policies.isWritten) {
      this.#flipRoot(world, policies.isWritten);
      this.view.rootChanged();
    }
    world.applyDropped();
    if (world !== before) before.retire();
    for (const id of plan.retired) this.heap.retire(id);
    this.#world = world;
    this.#batch = this.#newBatch();
    const { memory } = this.heap;
    memory.epoch++;
    this.heap.settle();
    return {
      epoch: memory.epoch,
      policiesChanged: policies.isChanged || moved,
      touched,
    };
  }

  #newBatch(): Batch {
    return new Batch({
      workload: (uid) => this.view.findWorkload(uid).value,
      service: (key) => this.view.findService(key).value,
      hasPolicy: (key) => this.#book.has(key),
    });
  }

  /** Whether policies may apply otherwise than before to somebody who was known. */
  #planWorkloads(plan: Plan, touched: string[]): boolean {
    let isRuledOtherwise = false;
    for (const [uid, written] of this.#batch.workloads) {
      const { id, value: before } = this.view.findWorkload(uid);
      const after = written?.value;
      const isSame = sameContent(before, after);
      if (!isSame) this.#touch(touched, uid, before, after);
      if (!isSame && before !== undefined && after !== undefined) {
        isRuledOtherwise ||= before.namespace !== after.namespace ||
          !sameContent(before.authorizationPolicies, after.authorizationPolicies);
      }
      this.#planRecord(plan, KIND.workload, { id, before, isSame, written }, this.#workloadKeys);
    }
    if (this.#batch.isCleared) {
      for (const workload of this.view.workloads()) {
        if (this.#batch.workloads.has(workload.uid)) continue;
        this.#touch(touched, workload.uid, workload);
        plan.retired.push(this.view.findWorkload(workload.uid).id);
      }
    }
    return isRuledOtherwise;
  }

  readonly #workloadKeys = (workload: Workload) =>
    workloadKeys(this.heap.memory.hashes, workload, this.view.isLocal(workload));

  readonly #serviceKeys = (service: Service) => serviceKeys(this.heap.memory.hashes, service);

  #touch(touched: string[], uid: string, ...records: (Workload | undefined)[]): void {
    touched.push(uid);
    if (records.some((each) => each !== undefined && this.view.isLocal(each))) {
      this.touchedLocal.push(uid);
    }
  }

  #planServices(plan: Plan): void {
    const isFresh = plan.world !== this.#world;
    for (const [key, written] of this.#batch.services) {
      const { id, value: before } = this.view.findService(key);
      if (!isFresh) plan.world.countStrata(before, -1);
      plan.world.countStrata(written?.value, 1);
      this.#planRecord(
        plan,
        KIND.service,
        { id, before, isSame: sameContent(before, written?.value), written },
        this.#serviceKeys,
      );
    }
    if (!this.#batch.isCleared) return;
    for (const service of this.view.services()) {
      const key = serviceKeyOf(service);
      if (!this.#batch.services.has(key)) plan.retired.push(this.view.findService(key).id);
    }
  }

  /**
   * A value that says what is already known keeps its record, so that whoever kept the object that it was decoded to (a
   * connection's row, a cache) still holds the current one.
   */
  #planRecord<V extends Workload | Service>(
    plan: Plan,
    kind: Kind,
    what: {
      readonly id: number;
      readonly before: V | undefined;
      readonly isSame: boolean;
      readonly written: Written<V> | undefined;
    },
    keysOf: (value: V) => IndexKey[],
  ): void {
    const { world, flips, retired } = plan;
    const { id, before, isSame, written } = what;
    const isFresh = world !== this.#world;
    if (written === undefined) {
      if (before !== undefined && !isFresh) world.move(new Set(keysOf(before)), new Set(), id);
      if (id !== 0) retired.push(id);
      return;
    }
    let nowId = id;
    if (!isSame) {
      // A world that is written anew must not show through the old one, so its records have ids of their own.
      nowId = id === 0 || isFresh ? this.heap.newId() : id;
      if (nowId !== id && id !== 0) retired.push(id);
      const at = this.#writeRecord(nowId, kind, written.bytes, written.isLocal);
      if (nowId === id) flips.push([id, at]);
      else this.heap.publish(nowId, at);
    }
    const keys = keysOf(written.value);
    if (before === undefined || isFresh) world.insert(keys, nowId);
    else world.move(new Set(keysOf(before)), new Set(keys), nowId);
  }

  #writeRecord(id: number, kind: Kind, bytes: Uint8Array, isLocal: boolean): number {
    const at = this.heap.allocate(id, kind, bytes.length, {
      count: bytes.length,
      flags: isLocal ? FLAG_LOCAL : 0,
    });
    this.heap.memory.bytes.set(bytes, (at + HEADER_WORDS) * 4);
    return at;
  }

  /**
   * Its record is written now, so that a commit of many has little left to do; nothing leads to it before that commit.
   */
  upsertPolicy(written: Written<Policy>): void {
    const { value } = written;
    const known = this.#book.idOf(value.key);
    const before = known === 0 ? undefined : this.view.records.policy(known);
    const isSame = sameContent(before, value);
    this.#forgetUnseen(value.key);
    const { key, namespace, scope } = value;
    const id = isSame ? known : this.#writePolicy(written);
    const { hashes } = this.heap.memory;
    const [keyHash, namespaceHash] = [hashes.of(key), hashes.of(namespace)];
    const write = { scope, keyHash, namespaceHash, id, isSame };
    this.#batch.upsertPolicy(key, write, written.bytes.length);
  }

  removePolicy(key: string): boolean {
    const write = this.#batch.policies.get(key);
    if (!this.#batch.removePolicy(key)) return false;
    if (write !== undefined) this.#retireUnseen(write);
    return true;
  }

  clear(): void {
    for (const key of this.#batch.policies.keys()) this.#forgetUnseen(key);
    this.#batch.clear();
  }

  /** Forgets what was written since the last commit. */
  discard(): void {
    // No root will show them, so that none makes way for what was remembered of them.
    if (this.#batch.policies.size > 0) this.view.records.policiesChanged();
    this.clear();
    this.#batch = this.#newBatch();
    this.heap.settle();
  }

  #forgetUnseen(key: string): void {
    const write = this.#batch.policies.get(key);
    if (write !== undefined) this.#retireUnseen(write);
  }

  #retireUnseen({ id, isSame }: PolicyWrite): void {
    if (!isSame) this.heap.retire(id);
  }

  #planPolicies(plan: Plan): { readonly isWritten: boolean; readonly isChanged: boolean } {
    const writes = this.#batch.policies;
    const book = this.#book;
    const { isCleared } = this.#batch;
    // What says the same keeps its place: istiod sends all of them again whenever it was away.
    const differ = [...writes].filter(([, write]) => isCleared || write?.isSame !== true);
    if (differ.length === 0 && !isCleared) return { isWritten: false, isChanged: false };
    let isChanged = differ.some(([, write]) => write?.isSame === false);
    for (const key of isCleared ? book.keys() : writes.keys()) {
      const id = book.idOf(key);
      if (id === 0 || writes.get(key)?.isSame) continue;
      plan.retired.push(id);
      isChanged = true;
    }
    if (isCleared) book.clear();
    for (const [key, write] of differ) {
      if (write === undefined) book.remove(key);
      else book.put(key, write);
    }
    return { isWritten: true, isChanged };
  }

  #writePolicy(written: Written<Policy>): number {
    const { value, bytes, isLocal } = written;
    const id = this.heap.newId();
    const at = this.#writeRecord(id, KIND.policy, underKey(value.key, bytes), isLocal);
    this.heap.publish(id, at);
    this.view.records.rememberPolicyAt(at, value);
    return id;
  }

  /** A new root, which shows a fresh world, or fresh policies, at once. */
  #flipRoot(world: World, hasNewPolicies: boolean): void {
    const { heap } = this;
    const { memory } = heap;
    const id = heap.newId();
    const at = heap.allocate(id, KIND.root, PARTS_COUNT * 4, { count: PARTS_COUNT });
    const parts = memory.words.subarray(at + HEADER_WORDS, at + HEADER_WORDS + PARTS_COUNT);
    let retirePolicies = () => {};
    const before = this.#rootId;
    if (before !== 0) {
      const first = memory.at(before) + HEADER_WORDS;
      parts.set(memory.words.subarray(first, first + PARTS_COUNT));
    }
    for (const [part, index] of world.indexes.entries()) parts[part] = index.table.id;
    parts[PART.strata] = world.strataId;
    if (hasNewPolicies) {
      const built = this.#book.build();
      for (const [part, partId] of built.parts) parts[part] = partId;
      retirePolicies = built.retire;
    }
    heap.publish(id, at);
    Atomics.store(memory.control, ROOT_SLOT, id);
    this.#rootId = id;
    retirePolicies();
    if (before !== 0) heap.retire(before);
  }
}

/** The record of a policy begins with its resource name, which the message does not have. */
function underKey(key: string, bytes: Uint8Array): Uint8Array {
  return new BinaryWriter().string(key).raw(bytes).finish();
}
