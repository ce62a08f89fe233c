/**
 * Which service gets the credit for an inbound connection (behaviour.md 8.10). A guess, for metrics and logs only.
 * @module
 */
import type { MeshView, Service, Workload } from "#mesh";

/**
 * The service of the local workload that an inbound connection to `port` most likely meant: the one the peer named,
 * else the first whose target port it is; for plaintext (behaviour.md 8.12) there is no name.
 */
export function attributeService(
  view: MeshView,
  workload: Workload,
  port: number,
  forwardedHost?: string,
): Service | undefined {
  return attribute(servicesOf(view, workload), workload, port, forwardedHost);
}

/** The services that the workload says it belongs to, as far as they are known. */
export function servicesOf(view: MeshView, workload: Workload): readonly Service[] {
  const services: Service[] = [];
  for (const key of workload.services.keys()) {
    const service = view.service(key);
    if (service !== undefined) services.push(service);
  }
  return services;
}

export function attribute(
  candidates: readonly Service[],
  workload: Workload,
  port: number,
  forwardedHost: string | undefined,
): Service | undefined {
  return candidates.find(({ hostname }) => hostname === forwardedHost) ??
    candidates.find((service) => leadsTo(service, workload, port));
}

function leadsTo(service: Service, workload: Workload, port: number): boolean {
  for (const target of service.ports.values()) if (target === port) return true;
  const mapped = workload.services.get(`${service.namespace}/${service.hostname}`);
  for (const target of mapped?.values() ?? []) if (target === port) return true;
  return false;
}
