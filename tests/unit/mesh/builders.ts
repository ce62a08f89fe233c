/** Small meshes for tests: name what matters, the rest has its default. */
import { createMesh, type Mesh, type Policy, type Service, type Workload } from "#mesh";
import { Cidr, Ip } from "#values";

export function ip(text: string): Ip {
  const parsed = Ip.parse(text);
  if (parsed === undefined) throw new Error(`Cannot use "${text}" as an address`);
  return parsed;
}

export function cidr(text: string): Cidr {
  const parsed = Cidr.parse(text);
  if (parsed === undefined) throw new Error(`Cannot use "${text}" as a range`);
  return parsed;
}

export function workload(uid: string, fields: Partial<Workload> = {}): Workload {
  return {
    uid,
    name: uid,
    namespace: "shop",
    serviceAccount: "default",
    trustDomain: "cluster.local",
    workloadIps: [],
    network: "",
    hostname: "",
    node: "",
    protocol: "TCP",
    networkMode: "Standard",
    nativeTunnel: false,
    workloadName: "",
    workloadType: "deployment",
    canonicalName: "",
    canonicalRevision: "",
    clusterId: "Kubernetes",
    locality: { region: "", zone: "", subzone: "" },
    authorizationPolicies: [],
    status: "Healthy",
    capacity: 1,
    services: new Map(),
    ...fields,
  };
}

export function service(hostname: string, fields: Partial<Service> = {}): Service {
  return {
    name: hostname.split(".")[0]!,
    namespace: "shop",
    hostname,
    vips: [],
    cidrVips: [],
    ports: new Map([[80, 8080]]),
    subjectAltNames: [],
    weightedWaypoints: [],
    canonical: false,
    visibility: "Public",
    ...fields,
  };
}

export function policy(key: string, fields: Partial<Policy> = {}): Policy {
  const [namespace, name] = key.split("/");
  return {
    key,
    name: name!,
    namespace: namespace!,
    scope: "Namespace",
    action: "Allow",
    dryRun: false,
    rules: [],
    ...fields,
  };
}

export interface Contents {
  readonly workloads?: readonly Workload[];
  readonly services?: readonly Service[];
  readonly policies?: readonly Policy[];
}

export function write(mesh: Mesh, contents: Contents): void {
  for (const each of contents.workloads ?? []) mesh.writer.upsertWorkload(each);
  for (const each of contents.services ?? []) mesh.writer.upsertService(each);
  for (const each of contents.policies ?? []) mesh.writer.upsertPolicy(each);
}

export function meshOf(contents: Contents, localNode?: string): Mesh {
  const mesh = createMesh(localNode === undefined ? {} : { localNode });
  write(mesh, contents);
  mesh.writer.commit();
  return mesh;
}
