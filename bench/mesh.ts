/**
 * What a large mesh costs the real program: a proxy in a process of its own follows an istiod in another one, over real
 * gRPC. Run: deno run -A bench/mesh.ts --help
 * @module
 */
import { fileURLToPath } from "node:url";
import { Istiod } from "./support/istiod_process.ts";
import { showBeside } from "./support/mesh_beside.ts";
import { showFirst, showThreads } from "./support/mesh_first.ts";
import { showHostile } from "./support/mesh_hostile.ts";
import { showLookups } from "./support/mesh_lookups.ts";
import { HELP, type Options, optionsOf, type Section, UsageError } from "./support/mesh_options.ts";
import { type Peer, shippedCommand } from "./support/mesh_proxy.ts";
import { circumstances, loadAverage, Report } from "./support/mesh_report.ts";
import { showRounds } from "./support/mesh_rounds.ts";
import { withTable } from "./support/table.ts";

const DOCUMENT = new URL("./mesh.md", import.meta.url);
const MARKER = "<!-- table: written by `bench/mesh.ts --write` -->";
const MIB = 1 << 20;

async function main(options: Options): Promise<void> {
  const report = new Report();
  const ours: Peer = {
    name: "ours",
    ...(options.fromSources ? {} : { command: await shippedCommand() }),
    env: { ZTUNNEL_WORKER_THREADS: String(options.threadsCount), ...options.env },
  };
  const peers = [ours, ...rust(report)];
  const loads = [loadAverage()];
  await using istiod = await Istiod.start(options.workloadsCount);
  report.show(
    "the mesh, one message",
    `${options.workloadsCount.toLocaleString("en")} workloads, ${
      (istiod.fullBytes / MIB).toFixed(1)
    } MiB, ${(istiod.fullBytes / options.workloadsCount).toFixed(0)} bytes a workload`,
  );
  const show: Readonly<Record<Section, () => Promise<void>>> = {
    first: () => showFirst(report, istiod, peers, options),
    threads: () => showThreads(report, istiod, ours, options.runsCount),
    beside: () => showBeside(report, istiod, ours, options),
    rounds: () => showRounds(report, istiod, ours, options),
    lookups: () => showLookups(report, options.workloadsCount),
    hostile: () => showHostile(report, istiod, ours, options),
  };
  for (const section of options.sections) {
    console.error(`${section}:`);
    await show[section]();
    loads.push(loadAverage());
  }
  const text = report.markdown(circumstances(loads));
  if (options.write) await write(text);
  else console.log(`\n${text}`);
}

/** Beside ours, if there is one here. */
function rust(report: Report): readonly Peer[] {
  const binary = Deno.env.get("ZTUNNEL_BIN") ?? "";
  if (binary === "") {
    console.error("bench: NO RUST ZTUNNEL: ZTUNNEL_BIN is not set, its figures will be missing");
    report.show("the Rust ztunnel on the same push", "not run: ZTUNNEL_BIN was not set");
    return [];
  }
  if (!Deno.statSync(binary).isFile) throw new UsageError(`ZTUNNEL_BIN: ${binary} is no file`);
  return [{ name: "Rust", command: [binary], env: { ZTUNNEL_WORKER_THREADS: "1" } }];
}

async function write(text: string): Promise<void> {
  await Deno.writeTextFile(DOCUMENT, withTable(await Deno.readTextFile(DOCUMENT), text, MARKER));
  const path = fileURLToPath(DOCUMENT);
  const { success } = await new Deno.Command(Deno.execPath(), { args: ["fmt", "--quiet", path] })
    .output();
  if (!success) throw new Error("bench/mesh.md is written, but deno fmt fails on it");
}

try {
  const options = optionsOf(Deno.args);
  if (options === "help") console.log(HELP);
  else await main(options);
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  console.error(`bench: ${error.message}\ndeno run -A bench/mesh.ts --help tells more`);
  Deno.exitCode = 2;
}
