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
  /** By generation of the record, so that what did not change is not decoded again. */
  readonly known: ReadonlyMap<number, Candidate | undefined>;
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
    const before = (this.#young.get(key) ?? this.#old.get(key))?.known;
    const known = new Map<number, Candidate | undefined>();
    const all: Candidate[] = [];
    for (const id of ids) {
      const at = this.memory.at(id);
      if (at === 0) continue;
      const generation = this.memory.generationAt(at);
      const candidate = before?.has(generation)
        ? before.get(generation)
        : this.#candidate(this.records.workload(id, false), key, all.at(-1)?.endpoint.ports);
      known.set(generation, candidate);
      if (candidate !== undefined) all.push(candidate);
    }
    const healthy = all.filter(({ endpoint }) => endpoint.status === "Healthy");
    const list: EndpointList = {
      key,
      epoch,
      all,
      healthy,
      allEndpoints: all.map(({ endpoint }) => endpoint),
      healthyEndpoints: healthy.map(({ endpoint }) => endpoint),
      known,
    };
    this.#keep(list);
    return list;
  }

  #keep(list: EndpointList): void {
    this.#youngCount += list.known.size - (this.#young.get(list.key)?.known.size ?? 0);
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
