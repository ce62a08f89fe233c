/** Requests at a steady rate beside full pushes, and how long the turns of the proxy's threads are meanwhile. */
import type { Istiod } from "./istiod_process.ts";
import { MeshProxy, type Peer, sleep } from "./mesh_proxy.ts";
import { ms, type Report, spread } from "./mesh_report.ts";
import { dueIn, type Pace, paceOf, Traffic, type Window } from "./mesh_traffic.ts";
import { type Turns, TurnTrace } from "./mesh_turns.ts";
import { median } from "./table.ts";

/** p99.9 beside a push, less p99.9 of the same process without one. */
const LATER_MS_MAX = 10;
/** Of a data thread's own processor time. */
const TURN_MS_MAX = 10;
/** Without a push, before each one: about as long as a push takes. */
const QUIET_MS = 3_000;

/** Of one thread, in one window. */
type Watched = "data" | "control";

export interface Beside {
  readonly pushesCount: number;
  readonly requestsPerSecond: number;
  /** After a push, before the next quiet time: what it leaves behind to do is not counted as quiet. */
  readonly restMs: number;
}

export async function showBeside(
  report: Report,
  istiod: Istiod,
  peer: Peer,
  options: Beside,
): Promise<void> {
  istiod.forget();
  await using proxy = await MeshProxy.start(istiod, peer);
  await istiod.acknowledged("full");
  await proxy.ready();
  await using traffic = await Traffic.start(options.requestsPerSecond);
  // istiod makes the changed mesh when it is first asked for it.
  for (const name of ["change", "full"]) await push(istiod, name);
  await sleep(options.restMs);
  const run = new Run(proxy, traffic);
  for (let round = 0; round < options.pushesCount; round++) {
    await run.during("quiet", () => sleep(QUIET_MS));
    await run.during("push", () => push(istiod, round % 2 === 0 ? "change" : "full"));
    await sleep(options.restMs);
  }
  run.trace?.[Symbol.dispose]();
  await run.tell(report, options);
  for (const problem of proxy.problems()) report.show("the proxy told", problem);
}

/** Everything, in another revision than before. */
async function push(istiod: Istiod, name: string): Promise<void> {
  await istiod.ask(name === "full" ? "add" : name, name);
  await istiod.acknowledged(name);
}

type Kind = "quiet" | "push";

class Run {
  readonly #windows: Record<Kind, Window[]> = { quiet: [], push: [] };
  readonly #turns: Record<Kind, Record<Watched, Turns[]>> = {
    quiet: { data: [], control: [] },
    push: { data: [], control: [] },
  };
  readonly trace: TurnTrace | undefined;
  readonly #whyNoTrace: string = "";
  readonly #started: readonly [proxySeconds: number, trafficSeconds: number, atMs: number];

  constructor(private readonly proxy: MeshProxy, private readonly traffic: Traffic) {
    this.#started = [proxy.cpuSeconds(), traffic.cpuSeconds(), Date.now()];
    try {
      this.trace = new TurnTrace([proxy.pid, ...proxy.dataThreads]);
    } catch (error) {
      this.#whyNoTrace = (error as Error).message;
    }
  }

  async during(kind: Kind, act: () => Promise<void>): Promise<void> {
    this.trace?.start();
    const startMs = Date.now();
    await act();
    this.#windows[kind].push({ startMs, endMs: Date.now() });
    for (const [tid, turns] of this.trace?.stop() ?? []) {
      this.#turns[kind][tid === this.proxy.pid ? "control" : "data"].push(turns);
    }
  }

  async tell(report: Report, { requestsPerSecond }: Beside): Promise<void> {
    const [proxySeconds, trafficSeconds, startMs] = this.#started;
    const wallSeconds = (Date.now() - startMs) / 1_000;
    const share = (used: number) => `${(used * 100 / wallSeconds).toFixed(0)} %`;
    const used = `${share(this.traffic.cpuSeconds() - trafficSeconds)} (the proxy ${
      share(this.proxy.cpuSeconds() - proxySeconds)
    })`;
    const requests = await this.traffic.end();
    const pace = (windows: readonly Window[]) => paceOf(dueIn(requests, windows));
    const [quiet, pushed] = [pace(this.#windows.quiet), pace(this.#windows.push)];
    report.show(`${requestsPerSecond} requests/s without a push`, textOf(quiet));
    report.show("— beside a full push, everything changed", textOf(pushed));
    const rounds = this.#windows.push.map((push, round) =>
      pace([push]).p999 - pace([this.#windows.quiet[round]!]).p999
    );
    const [later, laterMedian] = [pushed.p999 - quiet.p999, median(rounds)];
    // Another program that runs in quiet times hides what a push does in the one, and hardly in the other.
    report.judge(
      "— p99.9, later by: over all requests; of each push less the quiet time before it",
      `at most ${LATER_MS_MAX} ms`,
      `${ms(later)}; ${spread(rounds, ms)}`,
      Math.max(later, laterMedian) <= LATER_MS_MAX,
    );
    const p999s = (kind: Kind) => spread(this.#windows[kind].map((one) => pace([one]).p999), ms);
    report.show(
      "— p99.9 of each quiet time; of each push: median (least to most)",
      `${p999s("quiet")}; ${p999s("push")}`,
    );
    report.show("— of one processor, the load generator and its server used", used);
    const tookMs = this.#windows.push.map(({ startMs, endMs }) => endMs - startMs);
    report.show("a full push meanwhile, everything changed", spread(tookMs, ms));
    this.#tellTurns(report);
  }

  #tellTurns(report: Report): void {
    const what = "a data thread's longest turn, processor time, beside a push";
    const target = `at most ${TURN_MS_MAX} ms`;
    if (this.trace === undefined) return report.miss(what, target, this.#whyNoTrace);
    const longest = (kind: Kind, who: Watched) =>
      Math.max(...this.#turns[kind][who].map((turns) => turns.longest));
    const beside = longest("push", "data");
    const all = [...this.#turns.push.data, ...this.#turns.quiet.data];
    const count = all.reduce((sum, turns) => sum + turns.count, 0);
    const p999s = this.#turns.push.data.map((turns) => turns.p999);
    report.judge(what, target, `${ms(beside)}, of ${count} turns`, beside <= TURN_MS_MAX);
    report.show("— of each push: longest", spread(this.#turns.push.data.map((t) => t.longest), ms));
    report.show("— of each push: p99.9", spread(p999s, ms));
    report.show("— without a push: longest", ms(longest("quiet", "data")));
    report.show("the control side's longest turn, processor time", ms(longest("push", "control")));
  }
}

function textOf({ count, failedCount, p50, p99, p999, longest, lateP999 }: Pace): string {
  return `p50 ${p50.toFixed(2)}, p99 ${p99.toFixed(1)}, p99.9 ${p999.toFixed(1)}, longest ${
    longest.toFixed(0)
  } ms, of which the generator's own delay p99.9 ${lateP999.toFixed(1)} ms; ${
    count.toLocaleString("en")
  } requests, ${failedCount} failed`;
}
