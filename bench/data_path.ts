/**
 * The data path over two network namespaces with a node's redirect rules: our proxy in each host, beside a pair of Envoys
 * and a pair of Rust ztunnels. Run: deno task bench --help
 * @module
 */
import { fileURLToPath as fromFileUrl } from "node:url";
import { parseArgs } from "node:util";
import { removeHostsOfThisProcess } from "../tests/support/netns.ts";
import { checkPeer, type PeerName, PEERS } from "./support/peers.ts";
import { type Evidence, measure, type Outcome, type Suite, SUITES } from "./support/suites.ts";
import { type Figure, markdownTable, withTable } from "./support/table.ts";

const ROUNDS_MAX = 20;
const SECONDS_MAX = 60;
const README = new URL("./README.md", import.meta.url);

const HELP =
  `Measures the data path: iperf3 and wrk from one network namespace to another, redirected as a node
redirects its pods, with a proxy in each. Peers take turns; medians and ratios are printed as a table.

deno task bench [--peers LIST] [--only LIST] [--rounds N] [--seconds N] [--write]

  --peers LIST   of ${PEERS.join(", ")}; "direct" is without any proxy,
                 "ours-1" is ours with one data thread
                 (default: ours,ours-1,envoy, and rust if ZTUNNEL_BIN is set)
  --only LIST    of ${SUITES.join(", ")} (default: all)
  --rounds N     rounds in which each peer has its turn, 1 to ${ROUNDS_MAX} (default: 5)
  --seconds N    of each load, 1 to ${SECONDS_MAX} (default: 3); "close" at most 6
  --write        puts the table into bench/README.md
  --help         this text

Environment: ZTUNNEL_BIN (a Rust ztunnel), ENVOY_BIN or ZTUNNEL_TEST_PYTHON (where Envoy is).
Needs Linux, root, and: iproute2 nftables iperf3 wrk nginx curl.`;

interface Options {
  readonly peers: readonly PeerName[];
  readonly suites: readonly Suite[];
  readonly rounds: number;
  readonly seconds: number;
  readonly write: boolean;
}

class UsageError extends Error {}

function optionsOf(args: readonly string[]): Options | "help" {
  const { values } = parse(args);
  if (values.help) return "help";
  const usual = Deno.env.get("ZTUNNEL_BIN") ? "ours,ours-1,envoy,rust" : "ours,ours-1,envoy";
  return {
    peers: listOf("--peers", values.peers ?? usual, PEERS),
    suites: listOf("--only", values.only ?? SUITES.join(","), SUITES),
    rounds: numberOf("--rounds", values.rounds ?? "5", ROUNDS_MAX),
    seconds: numberOf("--seconds", values.seconds ?? "3", SECONDS_MAX),
    write: values.write ?? false,
  };
}

function parse(args: readonly string[]) {
  const text = { type: "string" } as const;
  const flag = { type: "boolean" } as const;
  try {
    return parseArgs({
      args: [...args],
      options: { peers: text, only: text, rounds: text, seconds: text, write: flag, help: flag },
    });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

function listOf<T extends string>(name: string, text: string, known: readonly T[]): readonly T[] {
  const words = [...new Set(text.split(",").map((word) => word.trim()))];
  return words.map((word) => {
    const found = known.find((one) => one === word);
    if (found !== undefined) return found;
    throw new UsageError(`${name}: "${word}" is none of ${known.join(", ")}`);
  });
}

function numberOf(name: string, text: string, max: number): number {
  const number = Number(text);
  if (Number.isInteger(number) && number >= 1 && number <= max) return number;
  throw new UsageError(`${name}: "${text}" is not a whole number from 1 to ${max}`);
}

/** By program: the Debian package that has it. */
const PACKAGE_OF: Readonly<Record<string, string>> = {
  ip: "iproute2",
  ss: "iproute2",
  nft: "nftables",
  iperf3: "iperf3",
  wrk: "wrk",
  nginx: "nginx",
  curl: "curl",
  timeout: "coreutils",
};

/** Fails, naming everything that is missing at once. */
async function checkMachine(options: Options): Promise<void> {
  if (Deno.build.os !== "linux") throw new UsageError("this needs Linux: network namespaces");
  if (Deno.uid() !== 0) throw new UsageError("this needs root, to make network namespaces");
  const missing: string[] = [];
  for (const [program, name] of Object.entries(PACKAGE_OF)) {
    const found = await new Deno.Command("sh", {
      args: ["-c", `command -v ${program}`],
      stdout: "null",
    }).output();
    if (!found.success) missing.push(`${program} (package ${name})`);
  }
  if (missing.length > 0) throw new UsageError(`missing: ${missing.join(", ")}`);
  for (const peer of options.peers) {
    await checkPeer(peer).catch((error: Error) => {
      throw new UsageError(`${error.message}; --peers leaves it out`);
    });
  }
}

/** Everything that one peer's turns gave. */
class Tally {
  readonly figures = new Map<Figure, number[]>();
  readonly problems: string[] = [];
  readonly evidence: Evidence[] = [];

  add(outcome: Outcome, round: number): void {
    for (const [figure, value] of outcome.figures) {
      this.figures.set(figure, [...this.figures.get(figure) ?? [], value]);
    }
    this.problems.push(...outcome.problems.map((problem) => `round ${round}, ${problem}`));
    this.evidence.push(outcome.evidence);
  }

  total(name: keyof Evidence): number {
    return this.evidence.reduce((total, evidence) => total + evidence[name], 0);
  }
}

async function run(options: Options, folder: string): Promise<ReadonlyMap<PeerName, Tally>> {
  const tallies = new Map(options.peers.map((peer) => [peer, new Tally()]));
  for (let round = 1; round <= options.rounds; round++) {
    for (const suite of options.suites) {
      for (const [peer, tally] of tallies) {
        const outcome = await measure(peer, suite, { seconds: options.seconds, folder });
        tally.add(outcome, round);
        const figures = [...outcome.figures].map(([name, value]) =>
          `${name} ${value.toPrecision(3)}`
        );
        console.error(`round ${round}, ${peer}: ${figures.join(", ")}`);
        for (const problem of outcome.problems) console.error(`  PROBLEM ${peer}: ${problem}`);
      }
    }
  }
  return tallies;
}

function report(options: Options, tallies: ReadonlyMap<PeerName, Tally>): string {
  const figures = new Map([...tallies].map(([peer, tally]) => [peer, tally.figures]));
  return [
    `Medians of ${options.rounds} round(s) of ${options.seconds} s each, ${machine()}. * less is better.`,
    markdownTable(figures),
    [...tallies].map(([peer, tally]) => `- ${peer}: ${summary(peer, tally)}`).join("\n"),
  ].join("\n\n");
}

function machine(): string {
  const model = /^model name\s*:\s*(.*)$/m.exec(Deno.readTextFileSync("/proc/cpuinfo"))?.[1];
  const gigabytes = Math.round(Deno.systemMemoryInfo().total / 1e9);
  return `${navigator.hardwareConcurrency} cores (${model ?? Deno.build.arch}), ${gigabytes} GB, ` +
    `Deno ${Deno.version.deno}`;
}

function summary(peer: PeerName, tally: Tally): string {
  const number = (value: number) => value.toLocaleString("en");
  const gigabytes = (name: "payloadBytes" | "tunnelBytes" | "otherBytes") =>
    `${number(Number((tally.total(name) / 1e9).toPrecision(3)))} GB`;
  const asked = `${number(tally.total("requests"))} requests and ${
    gigabytes("payloadBytes")
  } asked for`;
  const through = peer === "direct"
    ? "no proxy"
    : `${gigabytes("tunnelBytes")} crossed on the tunnel port and ` +
      `${number(tally.total("otherBytes"))} bytes on any other; the proxies counted ` +
      `${number(tally.total("outboundConnections"))} connections out and ` +
      `${number(tally.total("inboundConnections"))} in`;
  const problems = tally.problems.length === 0
    ? "nothing failed"
    : `**failed:** ${tally.problems.join("; ")}`;
  return `${asked}; ${through}; ${problems}.`;
}

async function main(args: readonly string[], folder: string): Promise<number> {
  const options = optionsOf(args);
  if (options === "help") {
    console.log(HELP);
    return 0;
  }
  await checkMachine(options);
  const text = report(options, await run(options, folder));
  console.log(text);
  if (options.write) {
    await Deno.writeTextFile(README, withTable(await Deno.readTextFile(README), text));
    const { success } = await new Deno.Command(Deno.execPath(), {
      args: ["fmt", "--quiet", fromFileUrl(README)],
    }).output();
    if (!success) throw new Error("bench/README.md is written, but deno fmt fails on it");
  }
  return 0;
}

/** What a removed host makes fail may still be making another; after this long without one, all is quiet. */
const QUIET_ROUNDS_COUNT = 5;
const QUIET_ROUND_MS = 50;

/** Ctrl-C and kill leave nothing behind: no namespace, no process in one, no file. */
function cleanUpOnSignal(folder: string): { readonly came: () => boolean } {
  let came = false;
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, async () => {
      if (came) return;
      came = true;
      for (let round = 0; round < QUIET_ROUNDS_COUNT; round++) {
        await removeHostsOfThisProcess();
        await new Promise((resolve) => setTimeout(resolve, QUIET_ROUND_MS));
      }
      await Deno.remove(folder, { recursive: true });
      Deno.exit(signal === "SIGINT" ? 130 : 143);
    });
  }
  return { came: () => came };
}

async function runProgram(args: readonly string[]): Promise<number> {
  const folder = await Deno.makeTempDir({ prefix: "ztunnel-bench-" });
  const signal = cleanUpOnSignal(folder);
  try {
    return await main(args, folder);
  } catch (error) {
    // What a removed host makes fail is no error of its own.
    if (signal.came()) return await new Promise<number>(() => {});
    if (!(error instanceof UsageError)) {
      console.error(`bench: ${(error as Error).message}`);
      return 1;
    }
    console.error(`bench: ${error.message}\ndeno task bench --help tells more`);
    return 2;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

if (import.meta.main) Deno.exit(await runProgram(Deno.args));
