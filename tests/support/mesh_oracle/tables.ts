import type { Ip } from "#values";
import { BestRange, bestService, bestWorkload } from "./choose.ts";
import { CidrIndex } from "./cidr_index.ts";
import { EndpointIndex } from "./endpoints.ts";
import { MultiMap, NetworkMap } from "./multi_map.ts";
import { PolicyIndex } from "./policy_index.ts";
import type {
  Candidate,
  Endpoint,
  MeshView,
  Policy,
  Service,
  ServiceKey,
  Workload,
  WorkloadInfo,
} from "#mesh";

export function serviceKeyOf(service: Service): ServiceKey {
  return `${service.namespace}/${service.hostname}`;
}

/** Everything that is known, under every key that somebody asks by. Each read is one of MeshView. */
export class Tables implements Omit<MeshView, "epoch"> {
  readonly #workloads = new Map<string, Workload>();
  readonly #byAddress = new NetworkMap<Ip, Workload>();
  readonly #byInfo = new MultiMap<string, Workload>();
  readonly #byHostname = new MultiMap<string, Workload>();
  readonly #services = new Map<ServiceKey, Service>();
  readonly #servicesByHostname = new MultiMap<string, Service>();
  readonly #byVip = new NetworkMap<Ip, Service>();
  readonly #byRange = new CidrIndex();
  readonly #endpoints = new EndpointIndex();
  readonly #policies = new PolicyIndex();

  constructor(private readonly localNode: string | undefined) {}

  /** Removes the previous record of the uid first, so that the new one counts as the latest everywhere. */
  putWorkload(workload: Workload): void {
    this.removeWorkload(workload.uid);
    this.#workloads.set(workload.uid, workload);
    for (const ip of reachableIps(workload)) this.#byAddress.add(workload.network, ip, workload);
    if (this.#isLocal(workload)) this.#byInfo.add(infoKey(workload), workload);
    if (workload.hostname !== "") this.#byHostname.add(hostnameKey(workload), workload);
    this.#endpoints.add(workload);
  }

  removeWorkload(uid: string): void {
    const workload = this.#workloads.get(uid);
    if (workload === undefined) return;
    this.#workloads.delete(uid);
    for (const ip of reachableIps(workload)) this.#byAddress.remove(workload.network, ip, workload);
    this.#byInfo.remove(infoKey(workload), workload);
    this.#byHostname.remove(hostnameKey(workload), workload);
    this.#endpoints.remove(workload);
  }

  /** In the place of its previous record, where both have the same hostname, VIP or range. */
  putService(service: Service): void {
    const key = serviceKeyOf(service);
    const previous = this.#services.get(key);
    this.#services.set(key, service);
    if (previous === undefined) {
      this.#servicesByHostname.add(service.hostname, service);
      for (const [network, ip] of vipsOf(service)) this.#byVip.add(network, ip, service);
      for (const vip of rangesOf(service)) this.#byRange.add(vip, service);
      return;
    }
    this.#servicesByHostname.replace(service.hostname, previous, service);
    this.#replaceVips(previous, service);
    this.#replaceRanges(previous, service);
  }

  removeService(key: ServiceKey): void {
    const service = this.#services.get(key);
    if (service === undefined) return;
    this.#services.delete(key);
    this.#servicesByHostname.remove(service.hostname, service);
    for (const [network, ip] of vipsOf(service)) this.#byVip.remove(network, ip, service);
    for (const vip of rangesOf(service)) this.#byRange.remove(vip, service);
  }

  putPolicy(policy: Policy): void {
    this.#policies.put(policy);
  }

  removePolicy(key: string): void {
    this.#policies.remove(key);
  }

  policy(key: string): Policy | undefined {
    return this.#policies.byKey.get(key);
  }

  /** Unsorted, for whoever compares two states. */
  uids(): Iterable<string> {
    return this.#workloads.keys();
  }

  policyKeys(): Iterable<string> {
    return this.#policies.byKey.keys();
  }

  workload(uid: string): Workload | undefined {
    return this.#workloads.get(uid);
  }

  workloadAt(network: string, ip: Ip): Workload | undefined {
    return bestWorkload(this.#byAddress.get(network, ip));
  }

  serviceAt(network: string, ip: Ip, namespace?: string): Service | undefined {
    const exact = bestService(this.#byVip.get(network, ip), namespace);
    if (exact !== undefined) return exact;
    const best = new BestRange(namespace);
    this.#byRange.containing(network, ip, best.consider);
    return best.service;
  }

  serviceNamed(hostname: string, namespace?: string): Service | undefined {
    return bestService(this.#servicesByHostname.get(hostname), namespace);
  }

  servicesNamed(hostname: string): readonly Service[] {
    return this.#servicesByHostname.get(hostname);
  }

  service(key: ServiceKey): Service | undefined {
    return this.#services.get(key);
  }

  eachEndpoint(service: Service): Iterable<Endpoint> {
    return this.endpointsOf(service);
  }

  endpointsOf(service: Service): readonly Endpoint[] {
    return this.#endpoints.of(service);
  }

  candidatesOf(service: Service): readonly Candidate[] {
    return this.endpointsOf(service).map((endpoint) => {
      const workload = this.#workloads.get(endpoint.workloadUid)!;
      const { capacity, network, node, clusterId, locality, workloadIps, hostname } = workload;
      return {
        endpoint,
        capacity,
        network,
        node,
        clusterId,
        locality,
        hasAddress: workloadIps.length > 0 || hostname !== "",
        hasGateway: workload.networkGateway !== undefined,
      };
    });
  }

  named(
    namespace: string,
    hostname: string,
  ): { readonly service: Service } | { readonly workload: Workload } | undefined {
    const key: ServiceKey = `${namespace}/${hostname}`;
    const service = this.#services.get(key);
    if (service !== undefined) return { service };
    const workload = bestWorkload(this.#byHostname.get(key));
    return workload && { workload };
  }

  localWorkload(info: WorkloadInfo): Workload | undefined {
    return bestWorkload(this.#byInfo.get(infoKey(info)));
  }

  policiesFor(workload: Workload): readonly Policy[] {
    return this.#policies.for(workload).policies;
  }

  missingPoliciesOf(workload: Workload): readonly string[] {
    return this.#policies.for(workload).missing;
  }

  workloads(): readonly Workload[] {
    return sortedBy([...this.#workloads.values()], (workload) => workload.uid);
  }

  services(): readonly Service[] {
    return sortedBy([...this.#services.values()], (service) => service.hostname);
  }

  policies(): readonly Policy[] {
    return sortedBy([...this.#policies.byKey.values()], (policy) => policy.key);
  }

  eachWorkload(): Iterable<Workload> {
    return this.workloads();
  }

  eachService(): Iterable<Service> {
    return this.services();
  }

  stagedEndpoints(): ReadonlyMap<ServiceKey, ReadonlyMap<string, Endpoint>> {
    return this.#endpoints.staged((key) => this.#services.has(key));
  }

  #isLocal(workload: Workload): boolean {
    return this.localNode === undefined || workload.node === this.localNode;
  }

  #replaceVips(previous: Service, next: Service): void {
    const leaving = new Map(vipsOf(previous).map((vip) => [vip.join(), vip]));
    for (const vip of vipsOf(next)) {
      const [network, ip] = vip;
      this.#byVip.replace(network, ip, previous, next);
      leaving.delete(vip.join());
    }
    for (const [network, ip] of leaving.values()) this.#byVip.remove(network, ip, previous);
  }

  #replaceRanges(previous: Service, next: Service): void {
    const leaving = new Map(rangesOf(previous).map((vip) => [rangeKey(vip), vip]));
    for (const vip of rangesOf(next)) {
      if (leaving.delete(rangeKey(vip))) this.#byRange.replace(vip, previous, next);
      else this.#byRange.add(vip, next);
    }
    for (const vip of leaving.values()) this.#byRange.remove(vip, previous);
  }
}

/** Host-network pods share their node's addresses, so an address says nothing about them (behaviour.md 4.1). */
function reachableIps(workload: Workload): ReadonlySet<Ip> {
  return new Set(workload.networkMode === "HostNetwork" ? [] : workload.workloadIps);
}

function infoKey(info: WorkloadInfo): string {
  // No Kubernetes name contains NUL, so no two different triples make one key.
  return `${info.namespace}\0${info.serviceAccount}\0${info.name}`;
}

function hostnameKey(workload: Workload): string {
  return `${workload.namespace}/${workload.hostname}`;
}

/** Each VIP once, however often the service lists it. */
function vipsOf(service: Service): (readonly [string, Ip])[] {
  if (service.vips.length === 1) return service.vips.map((vip) => [vip.network, vip.ip]);
  return [...new Map(service.vips.map((vip) => [`${vip.network}/${vip.ip}`, vip])).values()]
    .map((vip) => [vip.network, vip.ip]);
}

function rangesOf(service: Service): readonly Service["cidrVips"][number][] {
  return [...new Map(service.cidrVips.map((vip) => [rangeKey(vip), vip])).values()];
}

function rangeKey({ network, cidr }: Service["cidrVips"][number]): string {
  return `${network}/${cidr.base}/${cidr.prefixLength}`;
}

function sortedBy<T>(values: T[], key: (value: T) => string): T[] {
  return values.sort((a, b) => key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0);
}
