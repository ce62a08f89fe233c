/**
 * Load, rest, load again: what a proxy holds when nothing is left to do must not grow. A scenario brings the processes and
 * the load, this brings the cycles, the figures and the verdict.
 * @module
 */

export interface Scenario {
  readonly name: string;
  /** Starts all that is needed; it ends with its disposal. */
  start(): Promise<Soaked>;
}

export interface Soaked extends AsyncDisposable {
  /** What has to come back to where it started. */
  readonly processes: readonly { readonly name: string; readonly pid: number }[];
  /** Load until `stop` aborts; resolves when all of it has ended. Rejects with what should not have happened. */
  load(stop: AbortSignal): Promise<void>;
  /** What is still open, in words; empty when all is at rest. */
  remains(): Promise<string>;
  /** What of the processes' memory is more than it should be, in words; empty if nothing. Asked at the last rest alone. */
  grown?(): string;
  /** How much was done, by kind. A kind that never happened fails the run. */
  done(): Readonly<Record<string, number>>;
  /** What the processes said that they should not have, in words. */
  complaints(): readonly string[];
}

export interface SoakOptions {
  readonly seconds: number;
  readonly print: (line: string) => void;
  /** REST_MS_MAX if absent. */
  readonly restMsMax?: number;
}

interface Figures {
  readonly rssBytes: number;
  readonly fds: number;
  readonly sockets: number;
}

/** Loads with a rest after each; the first rest is what the last is measured by. */
const CYCLES = 4;
/** What is there once and for good, such as the thread that waits for dials, is there after this. */
const WARM_UP_SECONDS = 3;
/** Of the whole time; what rests take beyond is added. */
const LOAD_SHARE = 0.8;
const REST_MS_MAX = 60_000;
/** Sockets and handles may differ by what is under way at a glance: a scrape, a log line. */
const HANDLES_SLACK = 3;
/** V8 collects when it likes: the same rest twice differs by so much on a quiet machine. */
const RSS_FACTOR_MAX = 1.2;
const RSS_SLACK_BYTES = 24e6;

/** Runs a scenario; gives everything that was wrong. Never throws. */
export async function soak(scenario: Scenario, options: SoakOptions): Promise<string[]> {
  const wrong: string[] = [];
  try {
    await using soaked = await scenario.start();
    try {
      await runCycles(soaked, options, wrong);
    } finally {
      wrong.push(...soaked.complaints());
    }
    for (const [kind, count] of Object.entries(soaked.done())) {
      options.print(`${kind}: ${count}`);
      if (count === 0) wrong.push(`no ${kind} ever happened`);
    }
  } catch (error) {
    wrong.push(error instanceof Error ? error.stack ?? error.message : String(error));
  }
  return wrong;
}

async function runCycles(
  soaked: Soaked,
  { seconds, print, restMsMax = REST_MS_MAX }: SoakOptions,
  wrong: string[],
): Promise<void> {
  await loadFor(soaked, Math.min(WARM_UP_SECONDS, seconds));
  await rest(soaked, { what: "after the warm-up", restMsMax }, wrong);
  const start = await figuresOf(soaked);
  print(row("start", start));
  let first: Figures[] | undefined;
  for (let cycle = 1; cycle <= CYCLES; cycle++) {
    const peak = await loadFor(soaked, seconds * LOAD_SHARE / CYCLES);
    print(row(`load ${cycle}`, peak));
    const what = `rest ${cycle}`;
    const last = cycle === CYCLES && first !== undefined ? { first } : {};
    const atRest = await rest(soaked, { what, restMsMax, start, ...last }, wrong);
    print(row(what, atRest));
    first ??= atRest;
  }
}

/** Gives the most that was seen of each process. */
async function loadFor(soaked: Soaked, seconds: number): Promise<Figures[]> {
  let peak = await figuresOf(soaked);
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), seconds * 1_000);
  let isOver = false;
  const loading = soaked.load(stop.signal).finally(() => isOver = true);
  loading.catch(() => {});
  while (!isOver) {
    await new Promise((resolve) => setTimeout(resolve, 500));
    const now = await figuresOf(soaked);
    peak = peak.map((most, at) => ({
      rssBytes: Math.max(most.rssBytes, now[at]!.rssBytes),
      fds: Math.max(most.fds, now[at]!.fds),
      sockets: Math.max(most.sockets, now[at]!.sockets),
    }));
  }
  clearTimeout(timer);
  await loading;
  return peak;
}

/**
 * Waits until nothing is left, handles and sockets are where they were at the start, and memory, at the last rest, where it
 * was at the first: garbage is collected when all is quiet, which takes its time on a busy machine. Says what is not.
 */
async function rest(
  soaked: Soaked,
  { what, restMsMax, start, first }: {
    readonly what: string;
    readonly restMsMax: number;
    readonly start?: readonly Figures[];
    readonly first?: readonly Figures[];
  },
  wrong: string[],
): Promise<Figures[]> {
  const endMs = performance.now() + restMsMax;
  for (;;) {
    const remains = await soaked.remains();
    const now = await figuresOf(soaked);
    const grown = soaked.processes.flatMap(({ name }, at) =>
      start === undefined ? [] : grownHandles(name, start[at]!, now[at]!)
    );
    if (first !== undefined) grown.push(...grownMemory(soaked, first, now));
    if (remains === "" && grown.length === 0) return now;
    if (performance.now() > endMs) {
      wrong.push(...[remains, ...grown].filter((text) => text !== "").map((t) => `${what}: ${t}`));
      return now;
    }
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}

function grownHandles(name: string, start: Figures, now: Figures): string[] {
  return (["fds", "sockets"] as const).filter((kind) => now[kind] > start[kind] + HANDLES_SLACK)
    .map((kind) => `${name} has ${now[kind]} ${kind}, and ${start[kind]} at the start`);
}

function grownMemory(
  soaked: Soaked,
  first: readonly Figures[],
  now: readonly Figures[],
): string[] {
  const grown = soaked.processes.flatMap(({ name }, at) => {
    const [from, to] = [first[at]!.rssBytes, now[at]!.rssBytes];
    return to <= from * RSS_FACTOR_MAX + RSS_SLACK_BYTES
      ? []
      : [`${name} grew from ${megabytes(from)} at the first rest to ${megabytes(to)}`];
  });
  return [...grown, soaked.grown?.() ?? ""].filter((text) => text !== "");
}

async function figuresOf({ processes }: Soaked): Promise<Figures[]> {
  return await Promise.all(processes.map(({ pid }) => figures(pid)));
}

async function figures(pid: number): Promise<Figures> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  const names = (await Array.fromAsync(Deno.readDir(`/proc/${pid}/fd`))).map(({ name }) => name);
  const links = await Promise.all(
    names.map((name) => Deno.readLink(`/proc/${pid}/fd/${name}`).catch(() => "")),
  );
  return {
    rssBytes: Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1_024,
    fds: links.filter((link) => link !== "").length,
    sockets: links.filter((link) => link.startsWith("socket:")).length,
  };
}

function row(what: string, each: readonly Figures[]): string {
  const cells = each.map(({ rssBytes, fds, sockets }) =>
    `${megabytes(rssBytes).padStart(8)} ${String(fds).padStart(5)} fds ${
      String(sockets).padStart(5)
    } sockets`
  );
  return [what.padEnd(8), ...cells].join(" | ");
}

function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1e6)} MB`;
}
