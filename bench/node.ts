/**
 * `deno run -A bench/node.ts`: what a node's pods cost their proxy. How long an `add` of the CNI agent takes until its answer
 * is there, what 100 idle pods weigh, and what is left of that after they have come and gone many times. Real
 * namespaces, real rules; beside the Rust ztunnel where ZTUNNEL_BIN names one. Needs root.
 * @module
 */
import { parseArgs } from "node:util";
import type { Pod } from "#standin";
import { Ip } from "#values";
import { appPath } from "../tests/support/cni.ts";
import { MeshNodes } from "../tests/support/mesh_node.ts";
import type { Program } from "../tests/support/netns.ts";

const USAGE = `deno run -A bench/node.ts [--pods=100] [--rounds=3] [--churn=5] [--peers=ours,rust]

Environment: ZTUNNEL_BIN (a Rust ztunnel, built with FAKE_CA).`;

/** So long nothing is done before memory is read: collectors and allocators have their say. */
const SETTLE_MS = 4_000;
const PER_SECOND = 200;
const PORT = 8080;

const { values } = parseArgs({
  options: {
    pods: { type: "string", default: "100" },
    rounds: { type: "string", default: "3" },
    churn: { type: "string", default: "5" },
    peers: { type: "string", default: Deno.env.get("ZTUNNEL_BIN") ? "ours,rust" : "ours" },
    help: { type: "boolean", default: false },
  },
});
const [podsCount, roundsCount, churnCount] = [values.pods, values.rounds, values.churn].map(Number);

interface Figures {
  readonly idleAddMs: readonly number[];
  readonly busyAddMs: readonly number[];
  readonly rssBaseKb: number;
  readonly rssWithPodsKb: number;
  readonly rssAfterChurnKb: number;
  readonly fdsPerPod: number;
  readonly fdsLeft: number;
  readonly trafficFailed: number;
  readonly trafficOk: number;
}

async function measure(command: readonly string[] | undefined): Promise<Figures> {
  await using mesh = await MeshNodes.start({
    ...(command !== undefined && { command }),
    env: { RUST_LOG: "warn", ZTUNNEL_WORKER_THREADS: "1" },
    workloads: Array.from({ length: podsCount! }, (_, index) => ({
      uid: `c//Pod/demo/p${index}`,
      name: `p${index}`,
      namespace: "demo",
      serviceAccount: `p${index % 10}`,
      trustDomain: "cluster.local",
      node: "node1",
      workloadIps: [ipOf(index)],
      protocol: "HBONE",
      services: {},
    })),
  });
  await mesh.pod("client");
  const server = await mesh.pod("server");
  await mesh.nodes.serve("server", `${PORT}`);
  await mesh.ready();
  const { pid } = mesh.proxy();
  // What is there once and for good is there now.
  await endStorm(await storm(mesh, server, 3_000));
  await sleep(SETTLE_MS);
  const [rssBaseKb, fdsBase] = [await rssKb(pid), await fds(pid)];

  const pods = await makePods(mesh);
  const idleAddMs = await addAll(mesh, pods);
  await sleep(SETTLE_MS);
  const rssWithPodsKb = await rssKb(pid);
  const fdsPerPod = (await fds(pid) - fdsBase) / pods.length;
  await removeAll(mesh, pods);

  const traffic = await storm(mesh, server);
  const busyAddMs: number[] = [];
  for (let round = 0; round < churnCount!; round++) {
    const again = await makePods(mesh);
    busyAddMs.push(...await addAll(mesh, again));
    await removeAll(mesh, again);
  }
  const { ok, ...bad } = await endStorm(traffic);
  await sleep(SETTLE_MS);
  return {
    idleAddMs,
    busyAddMs,
    rssBaseKb,
    rssWithPodsKb,
    rssAfterChurnKb: await rssKb(pid),
    fdsPerPod,
    fdsLeft: await fds(pid) - fdsBase,
    trafficOk: ok ?? 0,
    trafficFailed: Object.values(bad).reduce((sum, count) => sum + count, 0),
  };
}

function ipOf(index: number): Ip {
  return Ip.parse(`10.77.1.${30 + index}`)!;
}

/** Namespaces with their rules, of which nobody was told. */
async function makePods(mesh: MeshNodes): Promise<readonly Pod[]> {
  const pods: Pod[] = [];
  for (let index = 0; index < podsCount!; index++) {
    pods.push(
      await mesh.nodes.cni.makePod({
        name: `p${index}`,
        namespace: "demo",
        serviceAccount: `p${index % 10}`,
        node: "node1",
        ips: [ipOf(index)],
      }),
    );
  }
  return pods;
}

/** From the agent's sending to its having the answer, one pod after another. */
async function addAll(mesh: MeshNodes, pods: readonly Pod[]): Promise<readonly number[]> {
  const times: number[] = [];
  for (const pod of pods) {
    const startMs = performance.now();
    const answer = await mesh.nodes.cni.announce(pod);
    times.push(performance.now() - startMs);
    if (answer.kind !== "ok") throw new Error(`${pod.name}: ${JSON.stringify(answer)}`);
  }
  return times;
}

async function removeAll(mesh: MeshNodes, pods: readonly Pod[]): Promise<void> {
  for (const { name } of pods) await mesh.nodes.cni.removePod(name);
}

async function storm(mesh: MeshNodes, server: Pod, forMs = 0): Promise<Program> {
  const program = await mesh.nodes.run("client", [
    "python3",
    appPath("storm.py"),
    `${PER_SECOND}`,
    `${server.ips[0]}`,
    `${PORT}`,
  ], { ready: /ready/ });
  await sleep(forMs);
  return program;
}

async function endStorm(program: Program): Promise<Record<string, number>> {
  program.signal("SIGTERM");
  await program.ended;
  return JSON.parse(program.output().trim().split("\n").at(-1)!);
}

async function rssKb(pid: number): Promise<number> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]);
}

async function fds(pid: number): Promise<number> {
  return (await Array.fromAsync(Deno.readDir(`/proc/${pid}/fd`))).length;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN;
}

function median(values: readonly number[]): number {
  return percentile(values, 0.5);
}

const ROWS: readonly (readonly [name: string, read: (figures: Figures) => number])[] = [
  ["add to ACK, idle node, p50, ms", ({ idleAddMs }) => percentile(idleAddMs, 0.5)],
  ["— p95, ms", ({ idleAddMs }) => percentile(idleAddMs, 0.95)],
  [
    `add to ACK under ${PER_SECOND} connections/s, p50, ms`,
    ({ busyAddMs }) => percentile(busyAddMs, 0.5),
  ],
  ["— p95, ms", ({ busyAddMs }) => percentile(busyAddMs, 0.95)],
  ["RSS with 2 pods, MB", ({ rssBaseKb }) => rssBaseKb / 1_000],
  [`${podsCount} idle pods more, MB`, (f) => (f.rssWithPodsKb - f.rssBaseKb) / 1_000],
  ["fds per pod", ({ fdsPerPod }) => fdsPerPod],
  [
    `RSS after ${churnCount! + 1} times ${podsCount} pods, of before`,
    (f) => f.rssAfterChurnKb / f.rssBaseKb,
  ],
  ["fds left", ({ fdsLeft }) => fdsLeft],
  ["connections meanwhile", ({ trafficOk }) => trafficOk],
  ["— of them failed", ({ trafficFailed }) => trafficFailed],
];

if (values.help) {
  console.log(USAGE);
  Deno.exit(0);
}
const peers = values.peers.split(",");
const results = new Map<string, Figures[]>(peers.map((peer) => [peer, []]));
for (let round = 1; round <= roundsCount!; round++) {
  for (const peer of peers) {
    console.error(`round ${round}: ${peer}`);
    const binary = Deno.env.get("ZTUNNEL_BIN");
    if (peer === "rust" && binary === undefined) throw new Error("ZTUNNEL_BIN is not set");
    results.get(peer)!.push(await measure(peer === "rust" ? [binary!] : undefined));
  }
}
const shown = (value: number) => value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0);
console.log(`| median of ${roundsCount} | ${peers.join(" | ")} |`);
console.log(`| --- | ${peers.map(() => "---:").join(" | ")} |`);
for (const [name, read] of ROWS) {
  const cells = peers.map((peer) => shown(median(results.get(peer)!.map(read))));
  console.log(`| ${name} | ${cells.join(" | ")} |`);
}
