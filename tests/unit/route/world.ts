/**
 * The small mesh of behaviour.md appendix C, with what a test adds to it.
 * @module
 */
import {
  createMesh,
  type GatewayAddress,
  type LoadBalancer,
  type MeshView,
  type NetworkIp,
  type PortMap,
  type Service,
  type ServiceKey,
  type Workload,
} from "#mesh";
import { Cidr, Ip, SocketAddress, type SpiffeId } from "#values";

export const ip = (text: string): Ip => Ip.parse(text)!;
export const at = (text: string): SocketAddress => SocketAddress.parse(text)!;
export const ports = (...pairs: (readonly [number, number])[]): PortMap => new Map(pairs);
export const identity = (account: string): SpiffeId =>
  `spiffe://cluster.local/ns/shop/sa/${account}` as SpiffeId;

/** `network/ip`, or just `ip` on network "". */
export function vip(text: string): NetworkIp {
  const slash = text.lastIndexOf("/");
  return { network: text.slice(0, Math.max(0, slash)), ip: ip(text.slice(slash + 1)) };
}

export function gateway(address: string, hboneMtlsPort = 15_008): GatewayAddress {
  return { destination: { kind: "address", ...vip(address) }, hboneMtlsPort };
}

export function namedGateway(namespace: string, hostname: string): GatewayAddress {
  return { destination: { kind: "hostname", namespace, hostname }, hboneMtlsPort: 15_008 };
}

export interface WorkloadFields extends Partial<Omit<Workload, "workloadIps" | "services">> {
  readonly ips?: readonly string[];
  readonly services?: Readonly<Record<ServiceKey, PortMap>>;
}

export function workload(name: string, fields: WorkloadFields = {}): Workload {
  const { ips = [], services = {}, ...rest } = fields;
  return {
    uid: `cluster-a//Pod/${fields.namespace ?? "shop"}/${name}`,
    name,
    namespace: "shop",
    serviceAccount: name,
    trustDomain: "cluster.local",
    workloadIps: ips.map(ip),
    network: "",
    hostname: "",
    node: "node-1",
    protocol: "HBONE",
    networkMode: "Standard",
    nativeTunnel: false,
    workloadName: name,
    workloadType: "deployment",
    canonicalName: name,
    canonicalRevision: "v1",
    clusterId: "cluster-a",
    locality: { region: "eu", zone: "eu-1", subzone: "" },
    authorizationPolicies: [],
    status: "Healthy",
    capacity: 1,
    services: new Map(Object.entries(services) as [ServiceKey, PortMap][]),
    ...rest,
  };
}

export interface ServiceFields
  extends Partial<Omit<Service, "vips" | "cidrVips" | "loadBalancer">> {
  readonly vips?: readonly string[];
  readonly cidrVips?: readonly string[];
  readonly loadBalancer?: Partial<LoadBalancer>;
}

/** Its name and namespace are the first two labels of `hostname`, unless the test says otherwise. */
export function service(hostname: string, fields: ServiceFields = {}): Service {
  const { vips = [], cidrVips = [], loadBalancer, ...rest } = fields;
  return {
    name: hostname.split(".")[0]!,
    namespace: hostname.endsWith(".svc.cluster.local") ? hostname.split(".")[1]! : "shop",
    hostname,
    vips: vips.map(vip),
    cidrVips: cidrVips.map((text) => ({ network: "", cidr: Cidr.parse(text)! })),
    ports: ports([80, 8080]),
    subjectAltNames: [],
    weightedWaypoints: [],
    canonical: false,
    visibility: "Public",
    ...rest,
    ...(loadBalancer === undefined ? {} : {
      loadBalancer: {
        mode: "Standard",
        routingPreferences: [],
        healthPolicy: "OnlyHealthy",
        ...loadBalancer,
      },
    }),
  };
}

export const CART = "shop/cart.shop.svc.cluster.local";

/** web-6c, who asks in most tests. */
export const web = workload("web-6c", { serviceAccount: "web", ips: ["10.1.0.5"] });

/** cart-7d, who answers. */
export const cartPod = (fields: WorkloadFields = {}): Workload =>
  workload("cart-7d", {
    serviceAccount: "cart",
    ips: ["10.1.0.9"],
    services: { [CART]: ports() },
    ...fields,
  });

export const cartService = (fields: ServiceFields = {}): Service =>
  service("cart.shop.svc.cluster.local", { vips: ["10.96.0.20"], ...fields });

/** A mesh with web-6c and these. */
export function meshOf(...members: readonly (Workload | Service)[]): MeshView {
  const { view, writer } = createMesh({});
  for (const member of [web, ...members]) {
    if ("uid" in member) writer.upsertWorkload(member);
    else writer.upsertService(member);
  }
  writer.commit();
  return view;
}
