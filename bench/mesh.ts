/**
 * What a large mesh costs: 100,000 workloads in 10,000 services on 1,000 nodes, as istiod's bytes into the arena.
 * Run: deno run -A bench/mesh.ts [workloads]
 * @module
 */
import { create, toBinary } from "@bufbuild/protobuf";
import { createMesh } from "#mesh";
import { AddressSchema } from "#proto/workload_pb.ts";
import { Ip } from "#values";

const WORKLOADS_COUNT = Number(Deno.args[0] ?? 100_000);
const SERVICES_COUNT = Math.ceil(WORKLOADS_COUNT / 10);
const NODES_COUNT = Math.ceil(WORKLOADS_COUNT / 100);
/** What is taken between two turns of the loop. */
const SLICE_COUNT = 250;
const LOOKUPS_COUNT = 200_000;

function serviceName(index: number): string {
  return `service-${index}`;
}

function workloadBytes(index: number, revision: number): Uint8Array {
  const service = serviceName(index % SERVICES_COUNT);
  const namespace = `team-${index % 500}`;
  const name = `${service}-7c9d8f6b5-${(index * 7919).toString(36).padStart(5, "0")}`;
  return toBinary(
    AddressSchema,
    create(AddressSchema, {
      type: {
        case: "workload",
        value: {
          uid: `Kubernetes//Pod/${namespace}/${name}`,
          name,
          namespace,
          addresses: [ipOf(index)],
          tunnelProtocol: 1,
          serviceAccount: service,
          node: `ip-10-0-${index % NODES_COUNT}.eu-west-1.compute.internal`,
          canonicalName: service,
          canonicalRevision: `v${revision}`,
          workloadName: service,
          services: {
            [`${namespace}/${service}.${namespace}.svc.cluster.local`]: {
              ports: [{ servicePort: 80, targetPort: 8080 }],
            },
          },
          locality: { region: "eu-west-1", zone: `eu-west-1${"abc"[index % 3]}` },
        },
      },
    }),
  );
}

function serviceBytes(index: number): Uint8Array {
  const service = serviceName(index);
  const namespace = `team-${index % 500}`;
  return toBinary(
    AddressSchema,
    create(AddressSchema, {
      type: {
        case: "service",
        value: {
          name: service,
          namespace,
          hostname: `${service}.${namespace}.svc.cluster.local`,
          addresses: [{ address: Uint8Array.of(10, 96 + (index >> 16), index >> 8, index) }],
          ports: [{ servicePort: 80, targetPort: 8080 }],
        },
      },
    }),
  );
}

function ipOf(index: number): Uint8Array {
  return Uint8Array.of(10, index >> 16, index >> 8, index);
}

function rssMib(): number {
  const status = Deno.readTextFileSync("/proc/self/status");
  return Number(/VmRSS:\s+(\d+)/.exec(status)![1]) / 1024;
}

interface Load {
  readonly totalMs: number;
  readonly longestMs: number;
}

/** Hands resources over in slices, with a commit for each. */
function push(resources: readonly Uint8Array[]): Load {
  const start = performance.now();
  let longestMs = 0;
  for (let first = 0; first < resources.length; first += SLICE_COUNT) {
    const sliceStart = performance.now();
    for (const bytes of resources.slice(first, first + SLICE_COUNT)) {
      const reason = mesh.writer.upsertAddressBytes(bytes);
      if (reason !== undefined) throw new Error(reason);
    }
    mesh.writer.commit();
    longestMs = Math.max(longestMs, performance.now() - sliceStart);
  }
  return { totalMs: performance.now() - start, longestMs };
}

function removeAll(names: readonly string[]): Load {
  const start = performance.now();
  let longestMs = 0;
  for (let first = 0; first < names.length; first += SLICE_COUNT) {
    const sliceStart = performance.now();
    for (const name of names.slice(first, first + SLICE_COUNT)) mesh.writer.removeAddress(name);
    mesh.writer.commit();
    longestMs = Math.max(longestMs, performance.now() - sliceStart);
  }
  return { totalMs: performance.now() - start, longestMs };
}

function lookup(what: string, count: number, look: (index: number) => unknown): void {
  const start = performance.now();
  for (let index = 0; index < count; index++) {
    if (look(index) === undefined) throw new Error(`Cannot find ${what} ${index}`);
  }
  show(what, `${((performance.now() - start) * 1000 / count).toFixed(2)} µs`);
}

function show(what: string, value: string): void {
  console.log(`${what.padEnd(44)} ${value}`);
}

function showLoad(what: string, { totalMs, longestMs }: Load): void {
  const { liveBytes, pageBytes } = mesh.use;
  show(what, `${totalMs.toFixed(0)} ms, longest slice ${longestMs.toFixed(1)} ms`);
  show("  live, in pages, RSS", `${mib(liveBytes)}, ${mib(pageBytes)}, ${rssMib().toFixed(0)} MiB`);
}

function mib(bytes: number): string {
  return `${(bytes / (1 << 20)).toFixed(1)} MiB`;
}

const resources: Uint8Array[] = [];
for (let index = 0; index < SERVICES_COUNT; index++) resources.push(serviceBytes(index));
for (let index = 0; index < WORKLOADS_COUNT; index++) resources.push(workloadBytes(index, 1));
const wireBytes = resources.reduce((sum, bytes) => sum + bytes.length, 0);
show("RSS with the resources as bytes", `${rssMib().toFixed(0)} MiB, of which ${mib(wireBytes)}`);

const mesh = createMesh({ localNode: "ip-10-0-1.eu-west-1.compute.internal" });
showLoad("push", push(resources));
show("bytes per workload", (mesh.use.pageBytes / WORKLOADS_COUNT).toFixed(0));

const at = (index: number) =>
  mesh.view.workloadAt("", Ip.fromBytes(ipOf(index % WORKLOADS_COUNT))!);
lookup("workloadAt, any (cold)", LOOKUPS_COUNT, (index) => at(index * 7919));
lookup("workloadAt, one of 200 (warm)", LOOKUPS_COUNT, (index) => at(index % 200));
const ips = Array.from({ length: 200 }, (_, index) => Ip.fromBytes(ipOf(index))!);
lookup(
  "workloadAt, warm, text given",
  LOOKUPS_COUNT,
  (i) => mesh.view.workloadAt("", ips[i % 200]!),
);
const uids = ips.map((ip) => mesh.view.workloadAt("", ip)!.uid);
lookup("workload, warm", LOOKUPS_COUNT, (index) => mesh.view.workload(uids[index % 200]!));
const vip = (index: number) => Ip.fromBytes(Uint8Array.of(10, 96, index >> 8, index))!;
lookup("serviceAt, warm", LOOKUPS_COUNT, (index) => mesh.view.serviceAt("", vip(index % 200)));
const service = mesh.view.serviceAt("", vip(7))!;
lookup("endpointsOf, warm", LOOKUPS_COUNT, () => mesh.view.endpointsOf(service));

const changed = Array.from({ length: 1_000 }, (_, index) => workloadBytes(index * 7, 2));
showLoad("1,000 updates", push(changed));
const names = mesh.view.workloads().map((workload) => workload.uid).concat(
  mesh.view.services().map((each) => `${each.namespace}/${each.hostname}`),
);
for (let round = 1; round <= 10; round++) {
  showLoad(`round ${round}: remove all`, removeAll(names));
  showLoad(`round ${round}: add all`, push(resources));
}
