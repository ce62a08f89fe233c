/**
 * What a large mesh costs the real program: a proxy in a process of its own follows an istiod in another one, over real
 * gRPC, while it carries 1,000 requests a second.
 * Run: deno run -A bench/mesh.ts [--workloads 100000] [--rounds 3] [--rate 1000] [--seconds 8] [--settle 8] [--shipped]
 * [--threads] [--env NAME=VALUE]... [--write]
 * @module
 */
import { parseArgs } from "node:util";
import { mintLeaf, mintRoot } from "../tests/support/pki.ts";
import { Istiod } from "./support/istiod_process.ts";
import { MeshProxy } from "./support/mesh_proxy.ts";
import { type Pace, Traffic } from "./support/mesh_traffic.ts";

const { values: options } = parseArgs({
  options: {
    workloads: { type: "string", default: "100000" },
    rounds: { type: "string", default: "3" },
    rate: { type: "string", default: "1000" },
    seconds: { type: "string", default: "8" },
    settle: { type: "string", default: "8" },
    env: { type: "string", multiple: true, default: [] },
    shipped: { type: "boolean", default: false },
    threads: { type: "boolean", default: false },
    write: { type: "boolean", default: false },
  },
});
const WORKLOADS = Number(options.workloads);
const MIB = 1 << 20;
const rows: (readonly [string, string])[] = [];

function show(what: string, value: string): void {
  rows.push([what, value]);
  console.log(`${what.padEnd(64)} ${value}`);
}

const ms = (value: number) => `${value.toFixed(value < 10 ? 1 : 0)} ms`;
const mb = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`;

function showPace(what: string, { count, failed, p50, p99, p999, longest }: Pace): void {
  show(
    what,
    `${count} requests, ${failed} failed: p50 ${p50.toFixed(2)}, p99 ${p99.toFixed(2)}, p99.9 ${
      p999.toFixed(1)
    }, longest ${longest.toFixed(1)} ms`,
  );
}

const root = mintRoot();
const leaf = mintLeaf(root, { ips: [Uint8Array.of(127, 0, 0, 1)] });
await using istiod = await Istiod.start(WORKLOADS, leaf);
const shipped = options.shipped ? await MeshProxy.shipped() : undefined;
const settleMs = Number(options.settle) * 1_000;
const env = Object.fromEntries(options.env.map((text) => text.split("=", 2) as [string, string]));

{
  // The same traffic without a large mesh: what this machine does by itself.
  await using small = await Istiod.start(10, leaf);
  await using proxy = await MeshProxy.start(small.port, root.pem, env, shipped?.program);
  await small.acknowledged("full");
  await proxy.ready();
  await proxy.idle(settleMs / 2);
  show("RSS with a mesh of 10 workloads", mb(proxy.rssBytes()));
  await using traffic = await Traffic.start(Number(options.rate));
  await traffic.during(Number(options.seconds) * 1_000);
  showPace(`${options.rate} requests/s, no push`, traffic.pace());
}

/** What the mesh costs a process with so many data threads: RSS with it, less RSS with a small one. */
async function meshCost(threadsCount: number): Promise<number> {
  const own = { ...env, ZTUNNEL_WORKER_THREADS: String(threadsCount) };
  const rssOf = async (from: Istiod): Promise<number> => {
    await using proxy = await MeshProxy.start(from.port, root.pem, own, shipped?.program);
    await from.acknowledged("full");
    await proxy.ready();
    await proxy.idle(settleMs);
    return proxy.rssBytes();
  };
  await using small = await Istiod.start(10, leaf);
  const [smallBytes, largeBytes] = [await rssOf(small), await rssOf(istiod)];
  return largeBytes - smallBytes;
}

if (options.threads) {
  const [one, three] = [await meshCost(1), await meshCost(3)];
  show("what the mesh costs with 1 and with 3 data threads", `${mb(one)}, ${mb(three)}`);
}

await using proxy = await MeshProxy.start(istiod.port, root.pem, env, shipped?.program);
const sent = await istiod.sent("full");
await proxy.ready();
const ready = Date.now();
const acknowledged = await istiod.acknowledged("full");
show(
  "the first push, one message",
  `${(istiod.fullBytes / MIB).toFixed(1)} MiB, ${
    (istiod.fullBytes / WORKLOADS).toFixed(0)
  } bytes a workload`,
);
show("from the first byte to the acknowledgement", ms(acknowledged - sent));
show("from the first byte to ready", ms(ready - sent));
show("RSS after the push", mb(proxy.rssBytes()));
show("CPU of the whole process until then, start included", `${proxy.cpuSeconds().toFixed(2)} s`);
await proxy.idle(settleMs);
show(`RSS ${options.settle} s later`, mb(proxy.rssBytes()));
show("RSS at its peak (VmHWM)", mb(proxy.peakBytes()));

const traffic = await Traffic.start(Number(options.rate));
await traffic.during(3_000);
traffic.pace();

/** What one push costs while the traffic goes on. */
async function push(what: string, command: string, name: string): Promise<void> {
  const cpuBefore = proxy.cpuSeconds();
  const threadsBefore = proxy.threadMs();
  proxy.watchControl();
  const startMs = await istiod.ask(command, name);
  const endMs = await istiod.acknowledged(name);
  await traffic.during(300);
  const stallMs = proxy.longestStallMs();
  const busiest = [...proxy.threadMs()].map(([id, ranMs]) => ranMs - (threadsBefore.get(id) ?? 0))
    .sort((a, b) => b - a).slice(0, 2);
  show(
    what,
    `${ms(endMs - startMs)}, CPU ${
      (proxy.cpuSeconds() - cpuBefore).toFixed(2)
    } s (the two busiest threads ${busiest.map(ms).join(" and ")}), control answers within ${
      ms(stallMs)
    }, RSS ${mb(proxy.rssBytes())}`,
  );
}

await push("1 update", "update 1", "update-1");
await push("1,000 updates", "update 1000", "update-1000");
traffic.pace();
await push("everything again, unchanged or back", "add", "full");
showPace(`${options.rate} requests/s during a full push`, traffic.pace());
for (let round = 1; round <= Number(options.rounds); round++) {
  await push(`round ${round}: all removed`, "remove", "removal");
  await push(`round ${round}: all added`, "add", "full");
}
showPace(`${options.rate} requests/s during the rounds`, traffic.pace());
await traffic[Symbol.asyncDispose]();
await proxy.idle(settleMs);
show(`RSS ${options.settle} s after the last round`, mb(proxy.rssBytes()));
show("RSS at its peak (VmHWM)", mb(proxy.peakBytes()));
if (proxy.problems().length > 0) show("the proxy's problems", proxy.problems().join("; "));

{
  // The list of what it holds is 6.85 MB at 100,000 workloads, and istiod takes 4 MiB.
  const startMs = await istiod.ask("cut", "full");
  const endMs = await istiod.acknowledged("full");
  const refused = proxy.wasListRefused ? "the list of names refused, " : "";
  show("istiod cuts the stream", `${refused}everything again in ${ms(endMs - startMs)}`);
}
if (shipped !== undefined) await Deno.remove(shipped.folder, { recursive: true });

if (options.write) {
  const path = new URL("./mesh.md", import.meta.url);
  const marker = "<!-- table: written by `bench/mesh.ts --write` -->";
  const before = (await Deno.readTextFile(path)).split(marker)[0]!;
  const table = [
    "| what | measured |",
    "| --- | --- |",
    ...rows.map((row) => `| ${row.join(" | ")} |`),
  ];
  await Deno.writeTextFile(path, `${before}${marker}\n\n${table.join("\n")}\n`);
}
