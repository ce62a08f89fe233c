/**
 * What a large mesh costs: 100,000 workloads in 10,000 services on 1,000 nodes, as istiod's bytes into the arena, while
 * another thread looks things up. Run: deno run -A --v8-flags=--expose-gc bench/arena.ts [workloads]
 * @module
 */
import { create, toBinary } from "@bufbuild/protobuf";
import { createMesh } from "#mesh";
import { AddressSchema } from "#proto/workload_pb.ts";
import { Ip } from "#values";
import type { ReaderReport } from "./support/mesh_reader.ts";

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

/** After a collection, if Deno was told to offer it. */
function rssMib(field = "VmRSS"): number {
  (globalThis as { gc?: () => void }).gc?.();
  const status = Deno.readTextFileSync("/proc/self/status");
  return Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)![1]) / 1024;
}

/** All resources behind each other, as they are in one message. */
class Message {
  readonly #bytes: Uint8Array;
  readonly #ends: Uint32Array;

  constructor(readonly count: number, resource: (index: number) => Uint8Array) {
    this.#ends = new Uint32Array(count + 1);
    let bytes = new Uint8Array(count * 300);
    for (let index = 0; index < count; index++) {
      const each = resource(index);
      const start = this.#ends[index]!;
      if (start + each.length > bytes.length) {
        const larger = new Uint8Array(bytes.length * 2);
        larger.set(bytes);
        bytes = larger;
      }
      bytes.set(each, start);
      this.#ends[index + 1] = start + each.length;
    }
    this.#bytes = bytes.slice(0, this.#ends[count]);
  }

  get length(): number {
    return this.#bytes.length;
  }

  at(index: number): Uint8Array {
    return this.#bytes.subarray(this.#ends[index], this.#ends[index + 1]);
  }
}

const libc = Deno.dlopen("libc.so.6", {
  madvise: { parameters: ["pointer", "usize", "i32"], result: "i32" },
});
const MADV_DONTNEED = 4;

function releasePages(buffer: SharedArrayBuffer, offset: number, length: number): void {
  const pointer = Deno.UnsafePointer.of(new Uint8Array(buffer, offset, length));
  if (libc.symbols.madvise(pointer, BigInt(length), MADV_DONTNEED) !== 0) {
    throw new Error("Cannot release pages");
  }
}

interface Load {
  readonly totalMs: number;
  readonly longestMs: number;
}

/** One turn of the loop, so that the next slice does not stand behind the one before. */
const turns = new MessageChannel();
const turn = () =>
  new Promise<void>((resolve) => {
    turns.port1.onmessage = () => resolve();
    turns.port2.postMessage(undefined);
  });

async function inSlices(count: number, take: (index: number) => void): Promise<Load> {
  const start = performance.now();
  let longestMs = 0;
  for (let first = 0; first < count; first += SLICE_COUNT) {
    const sliceStart = performance.now();
    for (let index = first; index < Math.min(first + SLICE_COUNT, count); index++) take(index);
    mesh.writer.commit();
    longestMs = Math.max(longestMs, performance.now() - sliceStart);
    await turn();
  }
  return { totalMs: performance.now() - start, longestMs };
}

function push(message: Message): Promise<Load> {
  return inSlices(message.count, (index) => {
    const reason = mesh.writer.upsertAddressBytes(message.at(index));
    if (reason !== undefined) throw new Error(reason);
  });
}

function removeAll(names: readonly string[]): Promise<Load> {
  return inSlices(names.length, (index) => void mesh.writer.removeAddress(names[index]!));
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

const message = new Message(
  SERVICES_COUNT + WORKLOADS_COUNT,
  (index) =>
    index < SERVICES_COUNT ? serviceBytes(index) : workloadBytes(index - SERVICES_COUNT, 1),
);
const mesh = createMesh({
  localNode: "ip-10-0-1.eu-west-1.compute.internal",
  releasePages,
});
const rssBefore = rssMib();
show(
  "RSS before, with the message",
  `${rssBefore.toFixed(0)} MiB, of which ${mib(message.length)}`,
);
const reader = new Worker(new URL("./support/mesh_reader.ts", import.meta.url), { type: "module" });
const heard = () =>
  new Promise<ReaderReport>((resolve) => reader.onmessage = ({ data }) => resolve(data));
reader.postMessage(mesh.lend());
await heard();
const rssWithReader = rssMib();
show("RSS of a thread that reads", `${(rssWithReader - rssBefore).toFixed(0)} MiB`);

async function showReader(): Promise<void> {
  reader.postMessage("report");
  const { slowestUs, count } = await heard();
  show("  slowest of other thread's look-ups", `${slowestUs.toFixed(0)} µs of ${count}`);
}

showLoad("push", await push(message));
show("bytes per workload", (mesh.use.pageBytes / WORKLOADS_COUNT).toFixed(0));
show("RSS that the push added", `${(rssMib() - rssWithReader).toFixed(0)} MiB`);
show("RSS at its peak", `${rssMib("VmHWM").toFixed(0)} MiB`);
const { heapUsed, heapTotal, external } = Deno.memoryUsage();
show("JS heap used, reserved, external", [heapUsed, heapTotal, external].map(mib).join(", "));
await showReader();

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

lookup("candidatesOf, warm", LOOKUPS_COUNT, () => mesh.view.candidatesOf(service));

const one = new Message(1, () => workloadBytes(7, 3));
showLoad("1 update", await push(one));
showLoad("1,000 updates", await push(new Message(1_000, (index) => workloadBytes(index * 7, 2))));
await showReader();
const names = mesh.view.workloads().map((workload) => workload.uid).concat(
  mesh.view.services().map((each) => `${each.namespace}/${each.hostname}`),
);
for (let round = 1; round <= 10; round++) {
  showLoad(`round ${round}: remove all`, await removeAll(names));
  showLoad(`round ${round}: add all`, await push(message));
}
await showReader();
show("RSS at its peak", `${rssMib("VmHWM").toFixed(0)} MiB`);
reader.terminate();
turns.port1.close();
