import { SpiffeId } from "#values";
import { Batch } from "./batch.ts";
import { Tables } from "./tables.ts";
import type { Commit, MeshView, MeshWriter, Policy, Service, Workload } from "./types.ts";

export interface Mesh {
  readonly view: MeshView;
  readonly writer: MeshWriter;
}

/**
 * An empty mesh. `localNode` undefined makes every workload local (behaviour.md 4.1).
 *
 * The view shows a batch when `commit` has returned, all of it at once; an object whose content a batch did not change
 * is still the same object.
 */
export function createMesh(options: { readonly localNode?: string }): Mesh {
  let tables = new Tables(options.localNode);
  let batch = new Batch(tables);
  let epoch = 0;

  const commit = (): Commit => {
    // A cleared mesh is filled beside the old one: ties are broken by order, and only this way a reload
    // breaks them as a restart with the same file would.
    const target = batch.isCleared ? new Tables(options.localNode) : tables;
    const effect = batch.applyTo(target);
    tables = target;
    batch = new Batch(tables);
    epoch++;
    return { epoch, ...effect };
  };

  const writer: MeshWriter = {
    upsertWorkload: (workload: Workload) => batch.upsertWorkload(workload),
    upsertService: (service: Service) => batch.upsertService(service),
    upsertPolicy: (policy: Policy) => batch.upsertPolicy(policy),
    removeAddress: (name) => batch.removeAddress(name),
    removePolicy: (key) => batch.removePolicy(key),
    clear: () => batch.clear(),
    commit,
  };

  return { view: viewOf(() => tables, () => epoch), writer };
}

/** What always reads the tables of the latest commit. */
function viewOf(tables: () => Tables, epoch: () => number): MeshView {
  return {
    get epoch() {
      return epoch();
    },
    workload: (uid) => tables().workload(uid),
    workloadAt: (network, ip) => tables().workloadAt(network, ip),
    serviceAt: (network, ip, namespace) => tables().serviceAt(network, ip, namespace),
    serviceNamed: (hostname, namespace) => tables().serviceNamed(hostname, namespace),
    servicesNamed: (hostname) => tables().servicesNamed(hostname),
    service: (key) => tables().service(key),
    endpointsOf: (service) => tables().endpointsOf(service),
    named: (namespace, hostname) => tables().named(namespace, hostname),
    localWorkload: (info) => tables().localWorkload(info),
    policiesFor: (workload) => tables().policiesFor(workload),
    missingPoliciesOf: (workload) => tables().missingPoliciesOf(workload),
    workloads: () => tables().workloads(),
    services: () => tables().services(),
    policies: () => tables().policies(),
    stagedEndpoints: () => tables().stagedEndpoints(),
  };
}

/** The SPIFFE id that a workload's certificate carries (behaviour.md 7.4). */
export function identityOf(workload: Workload): SpiffeId {
  return SpiffeId.of(workload.trustDomain, workload.namespace, workload.serviceAccount);
}
