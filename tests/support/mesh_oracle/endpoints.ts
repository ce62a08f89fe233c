import type { Endpoint, Service, ServiceKey, Workload } from "#mesh";

/** The endpoints of one service name, whether or not the service is known. */
interface Shares {
  readonly byUid: Map<string, Endpoint>;
  /** Made on the first ask after a change: load balancing walks them for each connection. */
  all?: readonly Endpoint[] | undefined;
  healthy?: readonly Endpoint[] | undefined;
}

/**
 * Which workloads serve which service name. Endpoints are read from here at each ask and filtered by the health policy
 * that the service has then, instead of being copied into services: so the order of arrival never matters, and neither a
 * service that went and came back nor a loosened health policy can leave an endpoint out (behaviour.md 18.15).
 */
export class EndpointIndex {
  readonly #services = new Map<ServiceKey, Shares>();

  add(workload: Workload): void {
    for (const [key, ports] of workload.services) {
      let shares = this.#services.get(key);
      if (shares === undefined) this.#services.set(key, shares = { byUid: new Map() });
      shares.byUid.set(workload.uid, { workloadUid: workload.uid, ports, status: workload.status });
      shares.all = shares.healthy = undefined;
    }
  }

  remove(workload: Workload): void {
    for (const key of workload.services.keys()) {
      const shares = this.#services.get(key);
      if (shares === undefined) continue;
      shares.byUid.delete(workload.uid);
      shares.all = shares.healthy = undefined;
      if (shares.byUid.size === 0) this.#services.delete(key);
    }
  }

  of(service: Service): readonly Endpoint[] {
    const shares = this.#services.get(`${service.namespace}/${service.hostname}`);
    if (shares === undefined) return [];
    if (service.loadBalancer?.healthPolicy === "AllowAll") {
      return shares.all ??= [...shares.byUid.values()];
    }
    return shares.healthy ??= [...shares.byUid.values()].filter((each) =>
      each.status === "Healthy"
    );
  }

  /** Those whose service is not among the known ones, whatever their health. */
  staged(
    isKnown: (key: ServiceKey) => boolean,
  ): ReadonlyMap<ServiceKey, ReadonlyMap<string, Endpoint>> {
    const staged = new Map<ServiceKey, ReadonlyMap<string, Endpoint>>();
    for (const [key, shares] of this.#services) if (!isKnown(key)) staged.set(key, shares.byUid);
    return staged;
  }
}
