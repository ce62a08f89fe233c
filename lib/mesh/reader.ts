import { Cidr, Ip } from "#values";
import { BestRange, bestService, bestWorkload } from "./choose.ts";
import { type EndpointList, EndpointLists } from "./endpoint_lists.ts";
import type { Hashes } from "./hash.ts";
import { hashOfInfo, hashOfRange, isFoundAt, isInfoOf, maskedKey, serviceKeyOf } from "./keys.ts";
import type { Memory } from "./memory.ts";
import { Records } from "./records.ts";
import type {
  Candidate,
  Endpoint,
  MeshView,
  Policy,
  Service,
  ServiceKey,
  Workload,
  WorkloadInfo,
} from "./types.ts";
import { PART, type Part } from "./world.ts";

interface Applied {
  readonly policies: readonly Policy[];
  readonly missing: readonly string[];
}

/** A record's id, 0 for none. */
export interface Found<V> {
  readonly id: number;
  readonly value: V | undefined;
}

const NOT_FOUND: Found<never> = { id: 0, value: undefined };

/** The arena for one thread. Nothing here writes to it, but for the thread's own counter. */
export class ArenaView implements MeshView {
  readonly records: Records;
  readonly #lists: EndpointLists;
  #applied = new WeakMap<Workload, Applied>();
  /** The root for which `#applied` holds. */
  #rootGeneration = -1;
  #depth = 0;
  readonly #slot: number;

  /** `reader`: this thread's counter; none on the thread of the writer, which never writes while it reads. */
  constructor(
    private readonly memory: Memory,
    private readonly localNode: string | undefined,
    private readonly reader?: number,
  ) {
    this.records = new Records(memory);
    this.#lists = new EndpointLists(memory, this.records);
    this.#slot = reader === undefined ? 0 : memory.readerSlot(reader);
  }

  get epoch(): number {
    return this.memory.epoch;
  }

  workload(uid: string): Workload | undefined {
    return this.#read(() => {
      for (const id of this.#ids(PART.uid, this.#hashes.of(uid))) {
        const workload = this.records.workload(id);
        if (workload?.uid === uid) return workload;
      }
      return undefined;
    });
  }

  workloadAt(network: string, ip: Ip): Workload | undefined {
    return this.#read(() =>
      bestWorkload(
        this.#workloads(PART.address, this.#hashes.ofPair(network, ip), (each) =>
          isFoundAt(each, network, ip)),
      )
    );
  }

  serviceAt(network: string, ip: Ip, namespace?: string): Service | undefined {
    return this.#read(() => {
      const exact = this.#services(
        PART.vip,
        this.#hashes.ofPair(network, ip),
        (each) => each.vips.some((vip) => vip.ip === ip && vip.network === network),
      );
      return bestService(exact, namespace) ?? this.#serviceInRange(network, ip, namespace);
    });
  }

  serviceNamed(hostname: string, namespace?: string): Service | undefined {
    return bestService(this.servicesNamed(hostname), namespace);
  }

  servicesNamed(hostname: string): readonly Service[] {
    return this.#read(() =>
      this.#services(
        PART.serviceHostname,
        this.#hashes.of(hostname),
        (each) => each.hostname === hostname,
      )
    );
  }

  service(key: ServiceKey): Service | undefined {
    return this.#read(() => {
      for (const id of this.#ids(PART.service, this.#hashes.of(key))) {
        const service = this.records.service(id);
        if (service !== undefined && serviceKeyOf(service) === key) return service;
      }
      return undefined;
    });
  }

  endpointsOf(service: Service): readonly Endpoint[] {
    const list = this.#endpoints(service);
    return takesAll(service) ? list.allEndpoints : list.healthyEndpoints;
  }

  candidatesOf(service: Service): readonly Candidate[] {
    const list = this.#endpoints(service);
    return takesAll(service) ? list.all : list.healthy;
  }

  named(
    namespace: string,
    hostname: string,
  ): { readonly service: Service } | { readonly workload: Workload } | undefined {
    return this.#read(() => {
      const service = this.service(`${namespace}/${hostname}`);
      if (service !== undefined) return { service };
      if (hostname === "") return undefined;
      const workload = bestWorkload(
        this.#workloads(
          PART.workloadHostname,
          this.#hashes.ofPair(namespace, hostname),
          (each) => each.hostname === hostname && each.namespace === namespace,
        ),
      );
      return workload && { workload };
    });
  }

  localWorkload(info: WorkloadInfo): Workload | undefined {
    return this.#read(() =>
      bestWorkload(
        this.#workloads(PART.info, hashOfInfo(this.#hashes, info), (each) =>
          isInfoOf(each, info) && this.isLocal(each)),
      )
    );
  }

  policiesFor(workload: Workload): readonly Policy[] {
    return this.#appliedTo(workload).policies;
  }

  missingPoliciesOf(workload: Workload): readonly string[] {
    return this.#appliedTo(workload).missing;
  }

  workloads(): readonly Workload[] {
    return this.#read(() =>
      sortedBy(
        this.#all(PART.uid).map((id) => this.records.workload(id, false)),
        (workload) => workload.uid,
      )
    );
  }

  services(): readonly Service[] {
    return this.#read(() =>
      sortedBy(
        this.#all(PART.serviceHostname).map((id) => this.records.service(id, false)),
        (service) => service.hostname,
      )
    );
  }

  policies(): readonly Policy[] {
    return this.#read(() =>
      sortedBy(this.#all(PART.policy).map((id) => this.records.policy(id)), (policy) => policy.key)
    );
  }

  *eachWorkload(): Generator<Workload> {
    for (const id of this.#read(() => this.#all(PART.uid))) {
      const workload = this.#read(() => this.records.workload(id, false));
      if (workload !== undefined) yield workload;
    }
  }

  *eachService(): Generator<Service> {
    for (const id of this.#read(() => this.#all(PART.serviceHostname))) {
      const service = this.#read(() => this.records.service(id, false));
      if (service !== undefined) yield service;
    }
  }

  *eachEndpoint(service: Service): Generator<Endpoint> {
    const key = serviceKeyOf(service);
    for (const id of this.#read(() => this.#ids(PART.endpoints, this.#hashes.of(key)))) {
      const endpoint = this.#read(() => {
        const workload = this.records.workload(id, false);
        return workload && endpointOf(workload, key);
      });
      if (endpoint === undefined) continue;
      if (endpoint.status === "Healthy" || takesAll(service)) yield endpoint;
    }
  }

  stagedEndpoints(): ReadonlyMap<ServiceKey, ReadonlyMap<string, Endpoint>> {
    return this.#read(() => {
      const staged = new Map<ServiceKey, Map<string, Endpoint>>();
      for (const id of new Set(this.#all(PART.endpoints))) {
        const workload = this.records.workload(id, false);
        for (const key of workload?.services.keys() ?? []) {
          if (this.service(key) !== undefined) continue;
          let waiting = staged.get(key);
          if (waiting === undefined) staged.set(key, waiting = new Map());
          waiting.set(workload!.uid, endpointOf(workload!, key)!);
        }
      }
      return staged;
    });
  }

  /** What has that uid, for the writer: looked at once in a push of many, so it is not remembered. */
  findWorkload(uid: string): Found<Workload> {
    for (const id of this.#ids(PART.uid, this.#hashes.of(uid))) {
      const value = this.records.workload(id, false);
      if (value?.uid === uid) return { id, value };
    }
    return NOT_FOUND;
  }

  findService(key: ServiceKey): Found<Service> {
    for (const id of this.#ids(PART.service, this.#hashes.of(key))) {
      const value = this.records.service(id, false);
      if (value !== undefined && serviceKeyOf(value) === key) return { id, value };
    }
    return NOT_FOUND;
  }

  /** Whether it runs on this node, or this node's name is not known (behaviour.md 4.1). */
  isLocal(workload: Workload): boolean {
    return this.localNode === undefined || workload.node === this.localNode;
  }

  /** Between odd and even counts of this thread nothing that it may look at is used for anything else. */
  #read<T>(look: () => T): T {
    if (this.reader === undefined || this.#depth > 0) return look();
    const { control } = this.memory;
    Atomics.add(control, this.#slot, 1);
    this.#depth++;
    try {
      return look();
    } finally {
      this.#depth--;
      Atomics.add(control, this.#slot, 1);
    }
  }

  get #hashes(): Hashes {
    return this.memory.hashes;
  }

  get #rootAt(): number {
    return this.memory.at(this.memory.rootId);
  }

  #part(part: Part): number {
    return this.memory.partAt(this.#rootAt, part);
  }

  #ids(part: Part, hash: number): readonly number[] {
    return this.memory.idsUnder(this.#part(part), hash);
  }

  #all(part: Part): number[] {
    const { memory } = this;
    const ids: number[] = [];
    memory.eachValue(memory.at(this.#part(part)), (value) => {
      for (const id of memory.idsOf(value)) ids.push(id);
    });
    return ids;
  }

  #workloads(part: Part, hash: number, isIt: (workload: Workload) => boolean): Workload[] {
    const found: Workload[] = [];
    for (const id of this.#ids(part, hash)) {
      const workload = this.records.workload(id);
      if (workload !== undefined && isIt(workload)) found.push(workload);
    }
    return found;
  }

  #services(part: Part, hash: number, isIt: (service: Service) => boolean): Service[] {
    const found: Service[] = [];
    for (const id of this.#ids(part, hash)) {
      const service = this.records.service(id);
      if (service !== undefined && isIt(service)) found.push(service);
    }
    return found;
  }

  #serviceInRange(network: string, ip: Ip, namespace: string | undefined): Service | undefined {
    const strata = this.memory.itemsAt(this.memory.at(this.#part(PART.strata)));
    if (strata.length === 0) return undefined;
    const best = new BestRange(namespace);
    const bytes = Ip.toBytes(ip);
    const family = bytes.length === 4 ? 4 : 6;
    for (const stratum of strata) {
      if (stratum >> 8 !== family) continue;
      const prefixLength = stratum & 0xff;
      const hash = hashOfRange(this.#hashes, network, stratum, maskedKey(bytes, prefixLength));
      const isIt = (service: Service) =>
        service.cidrVips.some((vip) =>
          vip.network === network && vip.cidr.prefixLength === prefixLength &&
          Cidr.contains(vip.cidr, ip)
        );
      for (const service of this.#services(PART.range, hash, isIt)) {
        best.consider(service, prefixLength);
      }
    }
    return best.service;
  }

  #endpoints(service: Service): EndpointList {
    const key = serviceKeyOf(service);
    const { epoch } = this;
    return this.#lists.current(key, epoch) ??
      this.#read(() =>
        this.#lists.build(key, epoch, this.#ids(PART.endpoints, this.#hashes.of(key)))
      );
  }

  /** There is a new root: policies that nobody asks for are forgotten, also where nobody ever judges by them. */
  rootChanged(): void {
    this.#noticeRoot(this.#rootAt);
  }

  #noticeRoot(rootAt: number): void {
    const generation = this.memory.generationAt(rootAt);
    if (generation === this.#rootGeneration) return;
    this.#rootGeneration = generation;
    this.#applied = new WeakMap();
    this.records.policiesChanged();
  }

  #appliedTo(workload: Workload): Applied {
    return this.#read(() => {
      // One root for all of it: the policies of one push are seen together, or not at all.
      const rootAt = this.#rootAt;
      this.#noticeRoot(rootAt);
      let applied = this.#applied.get(workload);
      if (applied === undefined) {
        this.#applied.set(workload, applied = this.#collect(workload, rootAt));
      }
      return applied;
    });
  }

  /** A Set, because a workload may also list a policy that rules its namespace anyway. */
  #collect(workload: Workload, rootAt: number): Applied {
    const { memory, records } = this;
    const policies = new Set<Policy>();
    const byNamespace = memory.partAt(rootAt, PART.policyNamespace);
    for (const id of memory.idsUnder(byNamespace, this.#hashes.of(workload.namespace))) {
      const policy = records.policy(id);
      if (policy?.namespace === workload.namespace) policies.add(policy);
    }
    for (const id of memory.itemsAt(memory.at(memory.partAt(rootAt, PART.policyGlobal)))) {
      const policy = records.policy(id);
      if (policy !== undefined) policies.add(policy);
    }
    const missing: string[] = [];
    for (const key of workload.authorizationPolicies) {
      const ids = memory.idsUnder(memory.partAt(rootAt, PART.policy), this.#hashes.of(key));
      const policy = ids.map((id) => records.policy(id)).find((each) => each?.key === key);
      if (policy === undefined) missing.push(key);
      else policies.add(policy);
    }
    return { policies: [...policies], missing };
  }
}

function takesAll(service: Service): boolean {
  return service.loadBalancer?.healthPolicy === "AllowAll";
}

function endpointOf(workload: Workload, key: ServiceKey): Endpoint | undefined {
  const ports = workload.services.get(key);
  return ports && { workloadUid: workload.uid, ports, status: workload.status };
}

function sortedBy<T>(values: (T | undefined)[], key: (value: T) => string): T[] {
  return values.filter((value) => value !== undefined)
    .sort((a, b) => key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0);
}
