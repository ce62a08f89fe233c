/**
 * What is measured of a peer: three suites, each with hosts, applications and proxies of its own.
 * @module
 */
import { until } from "../../tests/support/netns.ts";
import { iperf, type Requests, wrk, WRK_SCRIPT } from "./load.ts";
import type { PeerName } from "./peers.ts";
import type { Figure } from "./table.ts";
import { ANSWER_BYTES, type Application, MIRROR_PORT, mirrorCommand, Testbed } from "./testbed.ts";
import { MemoryWatch, processorSeconds, residentBytes } from "./usage.ts";

export const SUITES = ["iperf", "wrk", "close", "bytes", "idle"] as const;
export type Suite = (typeof SUITES)[number];

/** After the start, so that "idle" is not "starting": ours gives back what only the start needed after two seconds. */
const SETTLE_MS = 3_000;

export interface Outcome {
  readonly figures: ReadonlyMap<Figure, number>;
  /** What went wrong, empty if nothing. */
  readonly problems: readonly string[];
  readonly evidence: Evidence;
}

/** How much was asked of the proxies, and what they and the kernel say they carried. */
export interface Evidence {
  readonly requests: number;
  readonly payloadBytes: number;
  readonly tunnelBytes: number;
  readonly otherBytes: number;
  readonly outboundConnections: number;
  readonly inboundConnections: number;
}

interface Work {
  readonly figures: Map<Figure, number>;
  readonly problems: string[];
  requests: number;
  payloadBytes: number;
}

type Load = (bed: Testbed, seconds: number, work: Work) => Promise<void>;

const SUITE: Readonly<Record<Suite, { readonly application: Application; readonly load: Load }>> = {
  iperf: { application: "iperf", load: loadIperf },
  wrk: { application: "http", load: loadKeepAlive },
  close: { application: "http", load: loadClose },
  bytes: { application: "mirror", load: loadBytes },
  idle: { application: "mirror", load: loadIdle },
};

/** One suite of one peer, from empty hosts to removed ones. */
export async function measure(
  peer: PeerName,
  suite: Suite,
  options: { readonly seconds: number; readonly folder: string },
): Promise<Outcome> {
  const { application, load } = SUITE[suite];
  await using bed = await Testbed.start(peer, application, options.folder);
  const work: Work = { figures: new Map(), problems: [], requests: 0, payloadBytes: 0 };
  if (application === "http") await checkAnswer(bed);
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
  const idleBytes = Math.max(0, ...bed.pids.map(residentBytes));
  const watch = new MemoryWatch(bed.pids);
  try {
    await load(bed, options.seconds, work);
  } finally {
    const peakBytes = watch.stop();
    if (peer !== "direct") {
      work.figures.set("rss-idle", idleBytes / 1e6);
      if (suite !== "bytes" && suite !== "idle") work.figures.set(`rss-${suite}`, peakBytes / 1e6);
    }
  }
  const evidence = await gather(bed, work);
  const problems = [...work.problems, ...doubts(peer, evidence)];
  if (problems.length > 0 && bed.logs().trim() !== "") console.error(bed.logs());
  return { figures: work.figures, problems, evidence };
}

/** Before anything is counted: does the right answer come at all? */
async function checkAnswer(bed: Testbed): Promise<void> {
  const command = `curl -s -m 5 -o /dev/null -w '%{http_code} %{size_download}' ${bed.target}`;
  let seen = "";
  await until(
    `${bed.peer} carries a request`,
    async () => {
      seen = (await bed.site.client.try(command)).out;
      return seen === `200 ${ANSWER_BYTES}`;
    },
    () => `curl saw "${seen}". ${bed.logs()}`,
  );
}

async function gather(bed: Testbed, work: Work): Promise<Evidence> {
  const { outbound, inbound } = await bed.carried();
  return {
    requests: work.requests,
    payloadBytes: work.payloadBytes,
    ...await bed.crossed(),
    outboundConnections: outbound,
    inboundConnections: inbound,
  };
}

/** A figure of traffic that went past the proxies would be worse than none. */
function doubts(peer: PeerName, evidence: Evidence): string[] {
  if (peer === "direct") return [];
  const doubts: string[] = [];
  if (evidence.tunnelBytes < evidence.payloadBytes) {
    doubts.push(
      `only ${evidence.tunnelBytes} of ${evidence.payloadBytes} bytes crossed in tunnels`,
    );
  }
  if (evidence.otherBytes > 0) {
    doubts.push(`${evidence.otherBytes} bytes crossed outside of tunnels`);
  }
  if (evidence.outboundConnections === 0) doubts.push("the client's proxy counted no connection");
  if (evidence.inboundConnections === 0) doubts.push("the server's proxy counted no connection");
  return doubts;
}

async function loadIperf(bed: Testbed, seconds: number, work: Work): Promise<void> {
  const before = processorSecondsOf(bed);
  let bytes = 0;
  for (const streams of [1, 16] as const) {
    for (const reversed of [false, true]) {
      const name: Figure = reversed ? `iperf-${streams}-reversed` : `iperf-${streams}`;
      const run = await iperf(bed.site.client, bed.target, { streams, reversed, seconds });
      work.figures.set(name, run.gigabitsPerSecond);
      bytes += run.bytes;
      if (run.problem !== undefined) work.problems.push(`${name}: ${run.problem}`);
    }
  }
  work.payloadBytes += bytes;
  const used = processorSecondsOf(bed) - before;
  if (bed.peer !== "direct") work.figures.set("cpu-per-gigabyte", used / (bytes / 1e9));
}

async function loadKeepAlive(bed: Testbed, seconds: number, work: Work): Promise<void> {
  const script = await writeScript(bed);
  const before = processorSecondsOf(bed);
  for (const connections of [1, 16, 64] as const) {
    const run = await wrk(bed.site.client, bed.target, script, {
      connections,
      close: false,
      seconds,
    });
    note(work, `keepalive-${connections}`, run);
  }
  const used = processorSecondsOf(bed) - before;
  if (bed.peer !== "direct") work.figures.set("cpu-per-10k", used / (work.requests / 1e4));
}

/** So that 49,000 ports (`PORTS`) last, at 8,000 connections a second and more. */
const CLOSE_SECONDS_MAX = 6;

async function loadClose(bed: Testbed, seconds: number, work: Work): Promise<void> {
  const script = await writeScript(bed);
  const before = processorSecondsOf(bed);
  const run = await wrk(bed.site.client, bed.target, script, {
    connections: 16,
    close: true,
    seconds: Math.min(seconds, CLOSE_SECONDS_MAX),
  });
  note(work, "close-16", run);
  const used = processorSecondsOf(bed) - before;
  if (bed.peer !== "direct") work.figures.set("cpu-per-10k-new", used / (run.count / 1e4));
}

/** On each of 16 streams, there and back. */
const COMPARED_MEGABYTES = 16;

async function loadBytes(bed: Testbed, seconds: number, work: Work): Promise<void> {
  const { client } = bed.site;
  const { code, out } = await client.try(
    `timeout -k 1 ${seconds + 60} ${
      mirrorCommand().join(" ")
    } compare ${bed.target} ${MIRROR_PORT}` +
      ` 16 ${COMPARED_MEGABYTES}`,
  );
  const line = /^COMPARED (.*)$/m.exec(out)?.[1];
  if (code !== 0 || line === undefined) {
    work.problems.push(`bytes: ${out.trim().slice(0, 300)} (exit code ${code})`);
    return;
  }
  const { bytes, seconds: took } = JSON.parse(line) as { bytes: number; seconds: number };
  work.payloadBytes += bytes;
  work.figures.set("compared-16", bytes * 8 / 1e9 / took);
}

const IDLE_CONNECTIONS = 3_000;
/** What was garbage when the connections were made may be gone by then. */
const IDLE_SETTLE_MS = 5_000;

async function loadIdle(bed: Testbed, _seconds: number, work: Work): Promise<void> {
  const before = bed.pids.map(residentBytes);
  const program = await bed.site.client.start(
    [...mirrorCommand(), "idle", bed.target, String(MIRROR_PORT), String(IDLE_CONNECTIONS)],
    { ready: /HELD \d+/ },
  );
  await new Promise((resolve) => setTimeout(resolve, IDLE_SETTLE_MS));
  const held = Number(/HELD (\d+)/.exec(program.output())?.[1] ?? 0);
  if (held !== IDLE_CONNECTIONS) work.problems.push(`idle: ${program.output().slice(-300)}`);
  const grown = bed.pids.map((pid, index) => residentBytes(pid) - before[index]!);
  if (bed.peer !== "direct" && held > 0) {
    work.figures.set("rss-per-idle", Math.max(...grown) / held / 1_024);
  }
}

type Runs = "keepalive-1" | "keepalive-16" | "keepalive-64" | "close-16";

function note(work: Work, name: Runs, run: Requests): void {
  work.figures.set(`${name}-rate`, run.perSecond);
  work.figures.set(`${name}-p50`, run.p50Ms);
  work.figures.set(`${name}-p99`, run.p99Ms);
  work.requests += run.count;
  work.payloadBytes += run.count * ANSWER_BYTES;
  if (run.problem !== undefined) work.problems.push(`${name}: ${run.problem}`);
}

async function writeScript(bed: Testbed): Promise<string> {
  const path = `${bed.site.folder}/report.lua`;
  await Deno.writeTextFile(path, WRK_SCRIPT);
  return path;
}

function processorSecondsOf(bed: Testbed): number {
  return bed.pids.reduce((total, pid) => total + processorSeconds(pid), 0);
}
