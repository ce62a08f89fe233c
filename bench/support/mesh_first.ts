/** The first push, again and again, of ours and of other ztunnels by turns; and what it costs by number of threads. */
import { Istiod } from "./istiod_process.ts";
import { type Memory, MeshProxy, type Peer, sleep } from "./mesh_proxy.ts";
import { mb, type Report, seconds, spread } from "./mesh_report.ts";
import { median } from "./table.ts";

export const TARGETS = {
  settledBytes: 120e6,
  peakBytes: 200e6,
  readyMs: 2_000,
  /** For each data thread beyond the first, beside what its own runtime takes. */
  threadBytes: 2e6,
} as const;

/** What everybody measures: the runtime has given back by then what only the push needed. */
const SOON_MS = 8_000;
const SMALL_MESH_COUNT = 10;

interface First {
  readonly readyMs: number;
  readonly cpuSeconds: number;
  readonly before: Memory;
  readonly soon: Memory;
  readonly settled: Memory;
}

/** One process from its start until it has settled. */
async function firstPush(istiod: Istiod, peer: Peer, settleMs: number): Promise<First> {
  istiod.forget();
  await using proxy = await MeshProxy.start(istiod, peer);
  const [sentMs, readyAt] = await Promise.all([
    istiod.sent("full"),
    proxy.ready().then(() => Date.now()),
  ]);
  await istiod.acknowledged("full");
  const [before, cpuSeconds] = [proxy.memory, proxy.cpuSeconds()];
  const soonMs = Math.min(SOON_MS, settleMs);
  await sleep(soonMs);
  const soon = proxy.memory;
  await sleep(settleMs - soonMs);
  return { readyMs: readyAt - sentMs, cpuSeconds, before, soon, settled: proxy.memory };
}

export async function showFirst(
  report: Report,
  istiod: Istiod,
  peers: readonly Peer[],
  { runsCount, settleMs }: { readonly runsCount: number; readonly settleMs: number },
): Promise<void> {
  const results = new Map<Peer, First[]>(peers.map((peer) => [peer, []]));
  for (let run = 0; run < runsCount; run++) {
    for (const [peer, firsts] of results) firsts.push(await firstPush(istiod, peer, settleMs));
  }
  for (const [peer, firsts] of results) {
    const of = (read: (first: First) => number) => firsts.map(read);
    const isOurs = peer === peers[0];
    const say = (
      what: string,
      values: readonly number[],
      text: (value: number) => string,
      targetMax?: number,
    ) => {
      const name = `${peer.name}: ${what}`;
      if (!isOurs || targetMax === undefined) report.show(name, spread(values, text));
      else {
        const isMet = median(values) <= targetMax;
        report.judge(name, `at most ${text(targetMax)}`, spread(values, text), isMet);
      }
    };
    say("ready, from the first byte", of((each) => each.readyMs), seconds, TARGETS.readyMs);
    say("processor time until it has acknowledged, start included", of((f) => f.cpuSeconds), cpu);
    say("RSS at the end of the push", of((each) => each.before.rss), mb);
    say("— at its peak until then", of((each) => each.before.peak), mb, TARGETS.peakBytes);
    if (settleMs > SOON_MS) say(`— ${SOON_MS / 1_000} s later`, of((each) => each.soon.rss), mb);
    say(
      `— ${settleMs / 1_000} s later`,
      of((each) => each.settled.rss),
      mb,
      TARGETS.settledBytes,
    );
    say("  of that anonymous", of((each) => each.settled.anonymous), mb);
    say("  of that pages of files, mostly of the program", of((each) => each.settled.file), mb);
  }
}

const cpu = (value: number) => `${value.toFixed(2)} s`;

/** Those of the target: one data thread, and one and two more. */
const THREADS_COUNTS = [1, 2, 3] as const;

/** RSS, anonymous memory, by number of threads and by mesh. */
type Costs = Map<number, { readonly small: Memory[]; readonly large: Memory[] }>;

export async function showThreads(
  report: Report,
  istiod: Istiod,
  peer: Peer,
  runsCount: number,
): Promise<void> {
  await using small = await Istiod.start(SMALL_MESH_COUNT);
  const costs: Costs = new Map(THREADS_COUNTS.map((count) => [count, { small: [], large: [] }]));
  for (let run = 0; run < runsCount; run++) {
    for (const [count, { small: ofSmall, large }] of costs) {
      const env = { ...peer.env, ZTUNNEL_WORKER_THREADS: String(count) };
      const settled = async (from: Istiod) =>
        (await firstPush(from, { ...peer, env }, SOON_MS)).settled;
      ofSmall.push(await settled(small));
      large.push(await settled(istiod));
    }
  }
  sayThreads(report, costs);
}

function sayThreads(report: Report, costs: Costs): void {
  const cost = (count: number, read: (memory: Memory) => number) => {
    const { small, large } = costs.get(count)!;
    return median(large.map(read)) - median(small.map(read));
  };
  for (const [count, { small, large }] of costs) {
    const text = (each: readonly Memory[]) => spread(each.map(({ rss }) => rss), mb);
    report.show(
      `${count} data thread(s): RSS with 10 workloads; with all of them`,
      `${text(small)}; ${text(large)}`,
    );
    const of = (read: (memory: Memory) => number) => mb1(cost(count, read));
    report.show(
      "— what the mesh costs (anonymous, of files)",
      `${of(({ rss }) => rss)} (${of((m) => m.anonymous)}, ${of(({ file }) => file)})`,
    );
  }
  const [first, ...more] = THREADS_COUNTS;
  for (const count of more) {
    const further = (cost(count, ({ rss }) => rss) - cost(first, ({ rss }) => rss)) /
      (count - first);
    report.judge(
      `what the mesh costs for each further data thread, of ${count}`,
      `at most ${mb(TARGETS.threadBytes)}`,
      mb1(further),
      further <= TARGETS.threadBytes,
    );
  }
}

const mb1 = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
