import { deepStrictEqual } from "node:assert/strict";
import {
  attachMesh,
  createMesh,
  type MeshView,
  type Policy,
  type Service,
  type Workload,
} from "#mesh";
import { seededRng } from "#system";
import { createOracle, type TypedWriter } from "../../support/mesh_oracle/mod.ts";
import { cidr, ip, policy, service, workload } from "./builders.ts";

const NETWORKS = ["", "east"];
const NAMESPACES = ["shop", "vault"];
const HOSTS = ["a.org", "b.org", "c.org"];
const ASKERS = ["shop", "vault", "elsewhere", undefined];
const IPS = Array.from({ length: 6 }, (_, i) => ip(i % 3 === 0 ? `fd00::${i}` : `10.1.0.${i}`));
const RANGES = ["10.1.0.0/24", "10.1.0.4/31", "10.0.0.0/8", "fd00::/64", "10.1.0.1/32"].map(cidr);
const UIDS = ["c//Pod/shop/a", "c//Pod/shop/b", "c/x/WorkloadEntry/shop/c", "d", "e"];
const NODES = ["n1", "n2"];

type Pick = <T>(values: readonly T[]) => T;
type Below = (bound: number) => number;

function randomWorkload(pick: Pick, below: Below): Workload {
  return workload(pick(UIDS), {
    name: pick(["x", "y"]),
    namespace: pick(NAMESPACES),
    serviceAccount: pick(["one", "two"]),
    network: pick(NETWORKS),
    node: pick(NODES),
    hostname: pick(["", ...HOSTS]),
    workloadIps: Array.from({ length: below(3) }, () => pick(IPS)),
    protocol: pick(["HBONE", "TCP"]),
    status: pick(["Healthy", "Healthy", "Unhealthy"]),
    networkMode: pick(["Standard", "Standard", "HostNetwork"]),
    workloadType: pick(["deployment", "pod", "something local", ""]),
    trustDomain: pick(["", "cluster.local"]),
    capacity: below(3),
    authorizationPolicies: below(2) === 0 ? [] : [`shop/p${below(4)}`],
    services: new Map(
      Array.from({ length: below(3) }, () => [
        `${pick(NAMESPACES)}/${pick(HOSTS)}`,
        new Map([[80, below(3)]]),
      ]),
    ),
    ...(below(3) === 0 && {
      networkGateway: {
        destination: { kind: "hostname", namespace: "shop", hostname: "gw.org" },
        hboneMtlsPort: 15008,
      },
    }),
    ...(below(3) === 0 && {
      waypoint: {
        destination: { kind: "address", network: pick(NETWORKS), ip: pick(IPS) },
        hboneMtlsPort: 15008,
      },
    }),
  });
}

function randomService(pick: Pick, below: Below): Service {
  return service(pick(HOSTS), {
    namespace: pick(NAMESPACES),
    vips: Array.from({ length: below(3) }, () => ({ network: pick(NETWORKS), ip: pick(IPS) })),
    cidrVips: Array.from({ length: below(3) }, () => ({
      network: pick(NETWORKS),
      cidr: pick(RANGES),
    })),
    canonical: below(3) === 0,
    visibility: pick(["Public", "Public", "Namespace"]),
    ...(below(2) === 0 && {
      loadBalancer: {
        mode: pick(["Standard", "Failover"]),
        routingPreferences: ["Network", "Region"],
        healthPolicy: pick(["AllowAll", "OnlyHealthy"]),
      },
    }),
    ...(below(3) === 0 && { ipFamilies: pick(["Dual", "IPv4", "IPv6"]) }),
  });
}

function randomPolicy(pick: Pick, below: Below): Policy {
  return policy(`shop/p${below(4)}`, {
    namespace: pick(NAMESPACES),
    scope: pick(["Global", "Namespace", "WorkloadSelector"]),
    action: pick(["Allow", "Deny"]),
    dryRun: below(4) === 0,
  });
}

/** Everything that a view answers. The order of endpoints means nothing, all other order does. */
function told(view: MeshView): unknown {
  const workloads = view.workloads();
  return {
    epoch: view.epoch,
    workloads,
    services: view.services(),
    policies: view.policies(),
    each: [
      Array.from(view.eachWorkload(), ({ uid }) => uid).sort(),
      Array.from(view.eachService(), (each) => `${each.namespace}/${each.hostname}`).sort(),
    ],
    applied: workloads.map((each) => view.policiesFor(each).map(({ key }) => key)),
    missing: workloads.map((each) => view.missingPoliciesOf(each)),
    byUid: UIDS.map((uid) => view.workload(uid)),
    byIp: NETWORKS.map((network) =>
      IPS.map((each) => [
        view.workloadAt(network, each),
        ASKERS.map((asker) => view.serviceAt(network, each, asker)),
      ])
    ),
    byHost: HOSTS.map((host) => [
      view.servicesNamed(host),
      ASKERS.map((asker) => view.serviceNamed(host, asker)),
      NAMESPACES.map((namespace) => view.named(namespace, host)),
    ]),
    local: NAMESPACES.map((namespace) =>
      ["one", "two"].map((serviceAccount) =>
        ["x", "y"].map((name) => view.localWorkload({ name, namespace, serviceAccount }))
      )
    ),
    endpoints: view.services().map((each) =>
      [...view.endpointsOf(each)].sort((a, b) => a.workloadUid < b.workloadUid ? -1 : 1)
    ),
    candidates: view.services().map((each) =>
      [...view.candidatesOf(each)].sort((a, b) =>
        a.endpoint.workloadUid < b.endpoint.workloadUid ? -1 : 1
      )
    ),
    staged: [...view.stagedEndpoints()].sort().map(([key, waiting]) => [key, [...waiting].sort()]),
  };
}

for (const localNode of ["n1", undefined]) {
  const where = localNode === undefined ? "without a node's name" : "on a node";
  Deno.test(`an arena with any history tells the same as maps of objects, ${where}`, () => {
    const seed = Number(Deno.env.get("SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0]);
    const rng = seededRng(seed);
    const below: Below = (bound) => rng.below(bound);
    const pick: Pick = (values) => values[rng.below(values.length)]!;
    const options = localNode === undefined ? {} : { localNode };
    const [mesh, oracle] = [createMesh(options), createOracle(options)];
    // It has never seen the values that were written, only their bytes.
    const attached = attachMesh(mesh.lend());
    const idsOfNothing = mesh.use.ids;
    const both = <T>(act: (writer: TypedWriter) => T, what: string): void =>
      deepStrictEqual(act(mesh.writer), act(oracle.writer), what);
    for (let batch = 0; batch < 250; batch++) {
      const what = `SEED=${seed}, batch ${batch}`;
      for (let writes = below(7); writes > 0; writes--) {
        const act = below(20);
        if (act < 7) {
          const value = randomWorkload(pick, below);
          both((writer) => writer.upsertWorkload(value), what);
        } else if (act < 11) {
          const value = randomService(pick, below);
          both((writer) => writer.upsertService(value), what);
        } else if (act < 13) {
          const value = randomPolicy(pick, below);
          both((writer) => writer.upsertPolicy(value), what);
        } else if (act < 16) {
          const uid = pick(UIDS);
          both((writer) => writer.removeAddress(uid), what);
        } else if (act < 18) {
          const name = `${pick(NAMESPACES)}/${pick(HOSTS)}`;
          both((writer) => writer.removeAddress(name), what);
        } else if (act < 19) {
          const key = `shop/p${below(4)}`;
          both((writer) => writer.removePolicy(key), what);
        } else {
          const forgets = below(5);
          if (forgets === 0) both((writer) => writer.clear(), what);
          if (forgets === 1) both((writer) => writer.discard(), what);
        }
      }
      deepStrictEqual(told(mesh.view), told(oracle.view), `${what}, before commit`);
      both((writer) => {
        const { touched, ...rest } = writer.commit();
        return { ...rest, touched: touched.toSorted() };
      }, what);
      const expected = told(oracle.view);
      deepStrictEqual(told(mesh.view), expected, what);
      deepStrictEqual(told(attached), expected, `${what}, attached`);
    }
    mesh.writer.clear();
    mesh.writer.commit();
    deepStrictEqual(mesh.use.ids, idsOfNothing, `SEED=${seed}, something was left behind`);
  });
}
