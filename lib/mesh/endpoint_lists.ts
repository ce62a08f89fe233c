import { sameContent } from "./equal.ts";
import type { Memory } from "./memory.ts";
import type { Records } from "./records.ts";
import type { Candidate, Endpoint, Locality, PortMap, ServiceKey, Workload } from "./types.ts";

/** Candidates that a thread keeps, of about 200 bytes each; one service may have more of them. */
const CANDIDATES_MAX = 4_096;
/** Texts that many workloads share (networks, nodes, zones) are kept once; so many of them. */
const TEXTS_MAX = 4_096;

/** The endpoints of one service, as long as nothing is committed. */
export interface EndpointList {
  readonly key: ServiceKey;
  readonly epoch: number;
  readonly all: readonly Candidate[];
  readonly healthy: readonly Candidate[];
  readonly allEndpoints: readonly Endpoint[];
  readonly healthyEndpoints: readonly Endpoint[];
  /** Of each workload that may serve it, in the same order, so that what did not change is not decoded again. */
  readonly generations: readonly number[];
  readonly candidates: readonly (Candidate | undefined)[];
}

/**
 * What load balancing compares, for the services that a thread has asked for lately. A connection to a service of
 * thousands of endpoints decodes none of them but the chosen one; a commit costs a look at each record's generation.
 */
export class EndpointLists {
  #young = new Map<ServiceKey, EndpointList>();
  #old = new Map<ServiceKey, EndpointList>();
  #youngCount = 0;
  readonly #texts = new Map<string, string>();

  constructor(private readonly memory: Memory, private readonly records: Records) {}

  /** If nothing was committed since. */
  current(key: ServiceKey, epoch: number): EndpointList | undefined {
    const list = this.#young.get(key) ?? this.#old.get(key);
    return list?.epoch === epoch ? list : undefined;
  }

  /** `ids`: of all workloads that may serve it. */
  build(key: ServiceKey, epoch: number, ids: readonly number[]): EndpointList {
    const before = this.#young.get(key) ?? this.#old.get(key);
    const generations = ids.map((id) => this.#generation(id));
    const isSame = generations.length === before?.generations.length &&
      generations.every((generation, index) => generation === before.generations[index]);
    const list = isSame ? { ...before, epoch } : this.#fresh(key, epoch, ids, generations, before);
    this.#keep(list);
    return list;
  }

  #fresh(
    key: ServiceKey,
    epoch: number,
    ids: readonly number[],
    generations: readonly number[],
    before: EndpointList | undefined,
  ): EndpointList {
    const known = new Map(
      before?.generations.map((generation, index) => [generation, before.candidates[index]]),
    );
    let ports: PortMap | undefined;
    const candidates = ids.map((id, index) => {
      const generation = generations[index]!;
      const candidate = known.has(generation)
        ? known.get(generation)
        : this.#candidate(this.records.workload(id, false), key, ports);
      ports = candidate?.endpoint.ports ?? ports;
      return candidate;
    });
    const all = candidates.filter((candidate) => candidate !== undefined);
    const healthy = all.filter(({ endpoint }) => endpoint.status === "Healthy");
    return {
      key,
      epoch,
      all,
      healthy,
      allEndpoints: all.map(({ endpoint }) => endpoint),
      healthyEndpoints: healthy.map(({ endpoint }) => endpoint),
      generations,
      candidates,
    };
  }

  /** 0 for what is gone. */
  #generation(id: number): number {
    const at = this.memory.at(id);
    return at === 0 ? 0 : this.memory.generationAt(at);
  }

  #keep(list: EndpointList): void {
    // The list itself counts as one: there may be any number without candidates.
    const replaced = this.#young.get(list.key);
    this.#youngCount += list.generations.length + 1;
    if (replaced !== undefined) this.#youngCount -= replaced.generations.length + 1;
    this.#young.set(list.key, list);
    if (this.#youngCount <= CANDIDATES_MAX) return;
    this.#old = this.#young;
    this.#young = new Map();
    this.#youngCount = 0;
  }

  #candidate(
    workload: Workload | undefined,
    key: ServiceKey,
    neighboursPorts: PortMap | undefined,
  ): Candidate | undefined {
    const ports = workload?.services.get(key);
    if (workload === undefined || ports === undefined) return undefined;
    return {
      endpoint: {
        workloadUid: workload.uid,
        // Endpoints of one service hardly ever differ in this.
        ports: sameContent(ports, neighboursPorts) ? neighboursPorts! : ports,
        status: workload.status,
      },
      capacity: workload.capacity,
      network: this.#once(workload.network),
      node: this.#once(workload.node),
      clusterId: this.#once(workload.clusterId),
      locality: this.#place(workload.locality),
      hasAddress: workload.workloadIps.length > 0 || workload.hostname !== "",
      hasGateway: workload.networkGateway !== undefined,
    };
  }

  #place({ region, zone, subzone }: Locality): Locality {
    return {
      region: this.#once(region),
      zone: this.#once(zone),
      subzone: this.#once(subzone),
    };
  }

  #once(text: string): string {
    const known = this.#texts.get(text);
    if (known !== undefined) return known;
    if (this.#texts.size >= TEXTS_MAX) this.#texts.clear();
    this.#texts.set(text, text);
    return text;
  }
}
