import type { PortMap, ServiceKey, Workload } from "#mesh";
import { Ip } from "#values";
import {
  serviceResource,
  type WireMesh,
  type WireResource,
  workloadResource,
} from "./wire_mesh.ts";

export interface MeshSize {
  readonly workloads: number;
  readonly services: number;
  readonly nodes: number;
}

/** Addresses are counted up from 10.0.0.1, so that there are some 16 million. */
const WORKLOADS_MAX = 10_000_000;
const NAMESPACES = 100;
const SERVICE_PORT = 80;
const TARGET_PORT = 8_080;

/**
 * A large mesh as istiod would send it, resource by resource, so that no other form of it is ever held: 100,000
 * workloads are some 28 MB. The same size gives the same mesh.
 */
export class GeneratedMesh {
  /** Never changed once it was given away: a push is the difference of two. */
  #address: ReadonlyMap<string, WireResource>;
  /** How often a workload was changed. */
  readonly #generations = new Map<number, number>();
  #nextUpdate = 0;

  constructor(private readonly size: MeshSize) {
    const { workloads, services, nodes } = size;
    if (!(workloads > 0 && workloads <= WORKLOADS_MAX && services > 0 && nodes > 0)) {
      throw new Error(
        `a mesh needs 1 to ${WORKLOADS_MAX} workloads, and a service and a node at least`,
      );
    }
    const address = new Map<string, WireResource>();
    for (let index = 0; index < services; index++) {
      const resource = this.#service(index);
      address.set(resource.name, resource);
    }
    for (let index = 0; index < workloads; index++) {
      const resource = this.#workload(index, 0);
      address.set(resource.name, resource);
    }
    this.#address = address;
  }

  get mesh(): WireMesh {
    return { address: this.#address, authorization: NO_POLICIES };
  }

  /** The next `count` workloads, round and round, say something else than before. */
  update(count: number): WireMesh {
    const address = new Map(this.#address);
    for (let step = 0; step < count; step++) {
      const index = this.#nextUpdate;
      this.#nextUpdate = (index + 1) % this.size.workloads;
      const generation = (this.#generations.get(index) ?? 0) + 1;
      this.#generations.set(index, generation);
      const resource = this.#workload(index, generation);
      address.set(resource.name, resource);
    }
    this.#address = address;
    return this.mesh;
  }

  #service(index: number): WireResource {
    const namespace = namespaceOf(index);
    return serviceResource({
      name: `s${index}`,
      namespace,
      hostname: hostnameOf(index),
      vips: [{ network: "", ip: ipOf(VIP_BASE + index) }],
      cidrVips: [],
      ports: new Map([[SERVICE_PORT, TARGET_PORT]]),
      subjectAltNames: [],
      weightedWaypoints: [],
      canonical: false,
      visibility: "Public",
    });
  }

  #workload(index: number, generation: number): WireResource {
    const service = index % this.size.services;
    const namespace = namespaceOf(service);
    const app = `s${service}`;
    const name = `${app}-${index.toString(36).padStart(4, "0")}`;
    const workload: Workload = {
      uid: `Kubernetes//Pod/${namespace}/${name}`,
      name,
      namespace,
      serviceAccount: app,
      trustDomain: "cluster.local",
      workloadIps: [ipOf(POD_BASE + index)],
      network: "",
      hostname: "",
      node: `node-${index % this.size.nodes}`,
      protocol: "HBONE",
      networkMode: "Standard",
      nativeTunnel: false,
      workloadName: app,
      workloadType: "deployment",
      canonicalName: app,
      canonicalRevision: generation === 0 ? "v0" : `v${generation}`,
      clusterId: "Kubernetes",
      locality: { region: "", zone: "", subzone: "" },
      authorizationPolicies: [],
      status: "Healthy",
      capacity: 1,
      services: new Map<ServiceKey, PortMap>([[
        `${namespace}/${hostnameOf(service)}`,
        new Map([[SERVICE_PORT, TARGET_PORT]]),
      ]]),
    };
    return workloadResource(workload);
  }
}

const NO_POLICIES: ReadonlyMap<string, WireResource> = new Map();
/** 10.0.0.1 and 100.64.0.1 as numbers. */
const POD_BASE = 0x0a000001;
const VIP_BASE = 0x64400001;

function ipOf(number: number): Ip {
  return Ip.parse(
    `${number >>> 24}.${(number >>> 16) & 255}.${(number >>> 8) & 255}.${number & 255}`,
  )!;
}

const namespaceOf = (service: number): string => `n${service % NAMESPACES}`;
const hostnameOf = (service: number): string =>
  `s${service}.${namespaceOf(service)}.svc.cluster.local`;
