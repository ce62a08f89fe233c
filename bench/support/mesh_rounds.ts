/** What changes of a large mesh cost, from one update to removing and adding everything, and whether anything grows. */
import type { Istiod } from "./istiod_process.ts";
import { MeshProxy, type Peer, sleep } from "./mesh_proxy.ts";
import { mb, ms, type Report, seconds, spread } from "./mesh_report.ts";

/** Through fewer any line goes. */
const COUNTED_MIN = 5;
/** What was there at the start counts from the second round on: the first one fills what is kept for the next. */
const FIRST_ROUND_COUNTED = 2;
/** By which the fitted line may rise each round before it counts, beside its own uncertainty: 0.1 % of what is held. */
const GROWTH_BYTES_MAX = 100e3;

interface Push {
  readonly tookMs: number;
  readonly cpuSeconds: number;
  /** The longest that the readiness endpoint, which the control side serves, took to answer; 0: it was not asked. */
  readonly stallMs: number;
  readonly rss: number;
}

export async function showRounds(
  report: Report,
  istiod: Istiod,
  peer: Peer,
  { roundsCount, restMs }: { readonly roundsCount: number; readonly restMs: number },
): Promise<void> {
  istiod.forget();
  await using proxy = await MeshProxy.start(istiod, peer);
  await istiod.acknowledged("full");
  await proxy.ready();
  await sleep(restMs);
  const push = (command: string, name: string) => costOf(istiod, proxy, command, name);
  for (const count of [1, 1_000]) {
    const name = `update-${count}`;
    report.show(`${count} update(s)`, textOf([await push(`update ${count}`, name)]));
  }
  await sleep(restMs);
  report.show("everything again, unchanged", textOf([await push("add", "full")]));
  await sleep(restMs);
  const [removed, added, settled]: [Push[], Push[], number[]] = [[], [], []];
  for (let round = 0; round < roundsCount; round++) {
    removed.push(await push("remove", "removal"));
    added.push(await push("add", "full"));
    await sleep(restMs);
    settled.push(proxy.memory.rss);
  }
  report.show(`all removed, ${roundsCount} times`, textOf(removed));
  report.show(`all added, ${roundsCount} times`, textOf(added));
  sayGrowth(report, settled, restMs);
  report.show("— at the peak of all that", mb(proxy.memory.peak));
  const startMs = await istiod.ask("cut", "full");
  const tookMs = await istiod.acknowledged("full") - startMs;
  const refused = proxy.wasListRefused ? "the list of names is refused by istiod, " : "";
  report.show("istiod cuts the stream", `${refused}everything again in ${seconds(tookMs)}`);
}

async function costOf(
  istiod: Istiod,
  proxy: MeshProxy,
  command: string,
  name: string,
): Promise<Push> {
  const cpuBefore = proxy.cpuSeconds();
  proxy.watchControl();
  const startMs = await istiod.ask(command, name);
  const tookMs = await istiod.acknowledged(name) - startMs;
  const stallMs = proxy.longestStallMs();
  const { rss } = proxy.memory;
  return { tookMs, cpuSeconds: proxy.cpuSeconds() - cpuBefore, stallMs, rss };
}

function textOf(pushes: readonly Push[]): string {
  const of = (read: (push: Push) => number, text: (value: number) => string) =>
    spread(pushes.map(read), text);
  return [
    of(({ tookMs }) => tookMs, ms),
    `processor ${of(({ cpuSeconds }) => cpuSeconds, (value) => `${value.toFixed(2)} s`)}`,
    ...(pushes.every(({ stallMs }) => stallMs > 0)
      ? [`readiness answered within ${of(({ stallMs }) => stallMs, ms)}`]
      : []),
    `RSS ${of(({ rss }) => rss, mb)}`,
  ].join("; ");
}

function sayGrowth(report: Report, settled: readonly number[], restMs: number): void {
  report.show(
    `RSS ${restMs / 1_000} s after each round`,
    `${settled.map((bytes) => (bytes / 1e6).toFixed(0)).join(", ")} MB`,
  );
  const counted = settled.slice(FIRST_ROUND_COUNTED - 1);
  const what =
    `— growth by a round, fitted over rounds ${FIRST_ROUND_COUNTED} to ${settled.length}`;
  if (counted.length < COUNTED_MIN) return report.miss(what, "none", "too few rounds to tell");
  const { slope, error } = lineThrough(counted);
  report.judge(
    what,
    "none",
    `${(slope / 1e6).toFixed(2)} ± ${(error / 1e6).toFixed(2)} MB`,
    slope - 2 * error <= GROWTH_BYTES_MAX,
  );
}

/** The least-squares line through values one step apart: how much it rises by a step, and that figure's standard error. */
export function lineThrough(
  values: readonly number[],
): { readonly slope: number; readonly error: number } {
  const count = values.length;
  const mean = values.reduce((sum, value) => sum + value, 0) / count;
  const middle = (count - 1) / 2;
  const squares = values.reduce((sum, _, x) => sum + (x - middle) ** 2, 0);
  const slope = values.reduce((sum, y, x) => sum + (x - middle) * (y - mean), 0) / squares;
  const rest = values.reduce((sum, y, x) => sum + (y - mean - slope * (x - middle)) ** 2, 0);
  return { slope, error: count > 2 ? Math.sqrt(rest / (count - 2) / squares) : 0 };
}
