/** What the benchmark of the large mesh can be asked to do. */
import { parseArgs } from "node:util";

export const SECTIONS = ["first", "threads", "beside", "rounds", "lookups", "hostile"] as const;
export type Section = (typeof SECTIONS)[number];

/** By option: its usual value, the least and the most. */
const NUMBERS = {
  "workloads": [100_000, 100, 400_000],
  "runs": [3, 1, 20],
  "pushes": [10, 1, 100],
  "rounds": [10, 1, 100],
  "rate": [1_000, 1, 20_000],
  "data-threads": [1, 1, 16],
  "settle": [25, 0, 600],
  "rest": [4, 0, 600],
  "endpoints": [1_000_000, 1, 1_000_000],
} as const;
type NumberName = keyof typeof NUMBERS;

const usual = (name: NumberName) => NUMBERS[name][0].toLocaleString("en");

export const HELP =
  `Measures what a large mesh costs: a proxy in a process of its own follows an istiod in another one, over
real gRPC. Each figure is told as it comes, with its target where there is one.

deno run -A bench/mesh.ts [--only LIST] [--workloads N] [--data-threads N] [--write] ...

  --only LIST       of ${SECTIONS.join(", ")} (default: all)
                      first    memory, time and processor time of the first push, beside Rust's
                      threads  what the mesh costs with 1, 2 and 3 data threads
                      beside   requests beside full pushes; turns of the threads (root, tracefs)
                      rounds   updates; removing and adding everything; a stream that is cut
                      lookups  looking up and decoding, cold and warm (bench/arena.ts)
                      hostile  a service with --endpoints endpoints in one push
  --workloads N     in a tenth as many services (default: ${usual("workloads")})
  --data-threads N  of the proxy, but for "threads" (default: ${usual("data-threads")})
  --runs N          of "first" and "threads", by turns; medians are told (default: ${usual("runs")})
  --settle N        seconds until memory counts as settled in "first" (default: ${usual("settle")})
  --rest N          seconds after a push until the next counts, elsewhere (default: ${
    usual("rest")
  })
  --pushes N        beside the requests (default: ${usual("pushes")})
  --rate N          requests a second beside the pushes (default: ${usual("rate")})
  --rounds N        of removing and adding everything (default: ${usual("rounds")})
  --endpoints N     of the hostile service (default: ${usual("endpoints")})
  --sources         starts the sources, not the bundle that is shipped
  --env NAME=VALUE  for our proxy; may be given again
  --write           puts the table into bench/mesh.md; not with --only
  --help            this text

Environment: ZTUNNEL_BIN (a Rust ztunnel; without it "first" is of ours alone).
Needs Linux and, for "beside", python3; the whole takes a quarter of an hour.`;

export interface Options {
  readonly sections: readonly Section[];
  readonly workloadsCount: number;
  readonly threadsCount: number;
  readonly runsCount: number;
  readonly settleMs: number;
  readonly restMs: number;
  readonly pushesCount: number;
  readonly requestsPerSecond: number;
  readonly roundsCount: number;
  readonly endpointsCount: number;
  readonly fromSources: boolean;
  readonly env: Readonly<Record<string, string>>;
  readonly write: boolean;
}

export class UsageError extends Error {}

/** Throws a UsageError that names what is wrong. */
export function optionsOf(args: readonly string[]): Options | "help" {
  const values = parse(args);
  if (values.help) return "help";
  if (values.write && values.only !== undefined) {
    throw new UsageError("--write keeps the whole table, and --only would leave most of it out");
  }
  const number = (name: NumberName) => numberOf(name, values[name]);
  return {
    sections: sectionsOf(values.only),
    workloadsCount: number("workloads"),
    threadsCount: number("data-threads"),
    runsCount: number("runs"),
    settleMs: number("settle") * 1_000,
    restMs: number("rest") * 1_000,
    pushesCount: number("pushes"),
    requestsPerSecond: number("rate"),
    roundsCount: number("rounds"),
    endpointsCount: number("endpoints"),
    fromSources: values.sources ?? false,
    env: Object.fromEntries((values.env ?? []).map(pairOf)),
    write: values.write ?? false,
  };
}

function parse(args: readonly string[]) {
  const text = { type: "string" } as const;
  const flag = { type: "boolean" } as const;
  const numbers = Object.fromEntries(Object.keys(NUMBERS).map((name) => [name, text])) as Record<
    NumberName,
    typeof text
  >;
  try {
    return parseArgs({
      args: [...args],
      options: {
        ...numbers,
        only: text,
        env: { ...text, multiple: true },
        sources: flag,
        write: flag,
        help: flag,
      },
    }).values;
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

function numberOf(name: NumberName, text: string | undefined): number {
  const [usualValue, least, most] = NUMBERS[name];
  if (text === undefined) return usualValue;
  const number = Number(text);
  if (text.trim() !== "" && Number.isInteger(number) && number >= least && number <= most) {
    return number;
  }
  throw new UsageError(`--${name}: "${text}" is not a whole number from ${least} to ${most}`);
}

function sectionsOf(text: string | undefined): readonly Section[] {
  if (text === undefined) return SECTIONS;
  const asked = text.split(",").map((word) => word.trim());
  const unknown = asked.find((word) => !SECTIONS.includes(word as Section));
  if (unknown === undefined) return SECTIONS.filter((section) => asked.includes(section));
  throw new UsageError(`--only: "${unknown}" is none of ${SECTIONS.join(", ")}`);
}

function pairOf(text: string): readonly [string, string] {
  const at = text.indexOf("=");
  if (at > 0) return [text.slice(0, at), text.slice(at + 1)];
  throw new UsageError(`--env: "${text}" is not NAME=VALUE`);
}
