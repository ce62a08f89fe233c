/**
 * The load beside a push, in processes of its own (`mesh_traffic.py`), so that it neither waits for the benchmark nor the
 * benchmark for it. Its requests leave by the clock, on kept connections and each tenth on a new one, whatever became of
 * those before.
 * @module
 */
import { PROXY_IP } from "./mesh_proxy.ts";
import { processorSeconds } from "./usage.ts";

export const SERVER_IP = "127.0.0.3";
const SCRIPT = new URL("./mesh_traffic.py", import.meta.url).pathname;

/** Some time, Unix milliseconds. */
export interface Window {
  readonly startMs: number;
  readonly endMs: number;
}

/** How long requests took from when they were due, in milliseconds. */
export interface Pace {
  readonly count: number;
  /** Refused, reset, or not answered in ten seconds. */
  readonly failedCount: number;
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly longest: number;
  /** Of that, what the generator itself was late by: p99.9. */
  readonly lateP999: number;
}

/** When it was due, how much later it left, how long after it was due it was answered (-1: never). */
export type Request = readonly [dueMs: number, lateMs: number, tookMs: number, isFresh: number];

export class Traffic implements AsyncDisposable {
  readonly #requests: Promise<Request[]>;
  #begin = () => {};
  readonly #began = new Promise<void>((resolve) => this.#begin = resolve);

  private constructor(private readonly child: Deno.ChildProcess) {
    this.#requests = this.#read();
    // Asked for later; a failure is told there.
    this.#requests.catch(() => {});
  }

  /** `rate`: requests a second. */
  static async start(rate: number): Promise<Traffic> {
    const child = new Deno.Command("python3", {
      args: [SCRIPT, PROXY_IP, SERVER_IP, String(rate)],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const traffic = new Traffic(child);
    await Promise.race([traffic.#began, traffic.#requests]);
    return traffic;
  }

  /** Of the generator and of the server that answers, so far. */
  cpuSeconds(): number {
    return processorSeconds(this.child.pid);
  }

  /** Ends the load; what became of each request. */
  async end(): Promise<readonly Request[]> {
    // It ends when its standard input does.
    await this.child.stdin.close().catch(() => {});
    return await this.#requests;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end().catch(() => {});
    await this.child.status;
  }

  async #read(): Promise<Request[]> {
    let text = "";
    for await (const chunk of this.child.stdout.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      if (text.startsWith("ready\n")) this.#begin();
    }
    const list = text.split("\n")[1];
    if (!list) throw new Error("the load generator ended without its list");
    return JSON.parse(list);
  }
}

/** Those that were due in one of the windows. */
export function dueIn(requests: readonly Request[], windows: readonly Window[]): Request[] {
  return requests.filter(([dueMs]) =>
    windows.some(({ startMs, endMs }) => dueMs >= startMs && dueMs < endMs)
  );
}

export function paceOf(requests: readonly Request[]): Pace {
  const answered = requests.filter(([, , tookMs]) => tookMs >= 0);
  const took = answered.map(([, , tookMs]) => tookMs).sort((a, b) => a - b);
  const late = answered.map(([, lateMs]) => lateMs).sort((a, b) => a - b);
  return {
    count: requests.length,
    failedCount: requests.length - answered.length,
    p50: quantile(took, 0.5),
    p99: quantile(took, 0.99),
    p999: quantile(took, 0.999),
    longest: took.at(-1) ?? NaN,
    lateP999: quantile(late, 0.999),
  };
}

/** Of sorted values; NaN of none. */
function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN;
}
