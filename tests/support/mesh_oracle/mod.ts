/**
 * The mesh as maps of objects: what the arena must tell, in the plainest way to say it. Tests compare the two.
 * @module
 */
import type { Commit, MeshView, MeshWriter } from "#mesh";
import { Batch } from "./batch.ts";
import { Tables } from "./tables.ts";

/** What takes values, in any mesh. */
export type TypedWriter = Omit<MeshWriter, "upsertAddressBytes" | "upsertAuthorizationBytes">;

export interface Oracle {
  readonly view: MeshView;
  readonly writer: TypedWriter;
}

/**
 * An empty mesh. `localNode` undefined makes every workload local (behaviour.md 4.1).
 *
 * The view shows a batch when `commit` has returned, all of it at once; an object whose content a batch did not change
 * is still the same object.
 */
export function createOracle(options: { readonly localNode?: string }): Oracle {
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

  const writer: TypedWriter = {
    upsertWorkload: (workload) => batch.upsertWorkload(workload),
    upsertService: (service) => batch.upsertService(service),
    upsertPolicy: (policy) => batch.upsertPolicy(policy),
    removeAddress: (name) => batch.removeAddress(name),
    removePolicy: (key) => batch.removePolicy(key),
    clear: () => batch.clear(),
    discard: () => void (batch = new Batch(tables)),
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
    candidatesOf: (service) => tables().candidatesOf(service),
    named: (namespace, hostname) => tables().named(namespace, hostname),
    localWorkload: (info) => tables().localWorkload(info),
    policiesFor: (workload) => tables().policiesFor(workload),
    missingPoliciesOf: (workload) => tables().missingPoliciesOf(workload),
    workloads: () => tables().workloads(),
    services: () => tables().services(),
    policies: () => tables().policies(),
    eachWorkload: () => tables().eachWorkload(),
    eachService: () => tables().eachService(),
    eachEndpoint: (service) => tables().eachEndpoint(service),
    stagedEndpoints: () => tables().stagedEndpoints(),
  };
}
