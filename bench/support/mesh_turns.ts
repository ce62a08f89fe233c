/**
 * How much of the processor each turn of a thread's event loop took, told by the kernel's tracing: a turn is what lies
 * between two waits (epoll_wait) of that thread, less the time in which it was not on a processor (sched_switch). Two or
 * more turns of the loop between which it does not look at the kernel count as one, so that the longest is never told too
 * short. Time of interrupts, and what a virtual machine's host takes away, is in it.
 * @module
 */

const TRACEFS = "/sys/kernel/tracing";
const EVENTS = [
  "sched:sched_switch",
  "syscalls:sys_enter_epoll_wait",
  "syscalls:sys_exit_epoll_wait",
];
/** For each processor: ten seconds of a thread that carries 1,000 requests a second take 2 MB. */
const BUFFER_KILOBYTES = 32_768;

export interface Turns {
  readonly count: number;
  /** Milliseconds on a processor. */
  readonly longest: number;
  readonly p999: number;
  /** Of all turns. */
  readonly totalMs: number;
}

export class TurnTrace implements Disposable {
  readonly #folder = `${TRACEFS}/instances/ztunnel-mesh-${Deno.pid}`;

  /** `tids`: the threads to look at. Throws where the kernel's tracing cannot be used, saying what is missing. */
  constructor(private readonly tids: readonly number[]) {
    try {
      Deno.mkdirSync(this.#folder);
    } catch (error) {
      throw new Error(
        `the kernel's tracing cannot be used (as root: mount -t tracefs none ${TRACEFS}): ${error}`,
      );
    }
    this.#write("tracing_on", "0");
    this.#write("trace_clock", "mono");
    this.#write("buffer_size_kb", String(BUFFER_KILOBYTES));
    this.#write("set_event_pid", tids.join(" "));
    this.#write("set_event", EVENTS.join(" "));
  }

  start(): void {
    this.#write("trace", "");
    this.#write("tracing_on", "1");
  }

  /** The turns since `start`, by thread. Throws if the kernel had no room for all. */
  stop(): ReadonlyMap<number, Turns> {
    this.#write("tracing_on", "0");
    const lines = Deno.readTextFileSync(`${this.#folder}/trace`).split("\n");
    const [, kept, written] = /entries-in-buffer\/entries-written: (\d+)\/(\d+)/.exec(
      lines.slice(0, 10).join("\n"),
    ) ?? [];
    if (kept === undefined || kept !== written) {
      throw new Error(`the kernel kept ${kept} of ${written} events`);
    }
    return new Map(this.tids.map((tid) => [tid, turnsOf(tid, lines)]));
  }

  [Symbol.dispose](): void {
    this.#write("set_event", "");
    Deno.removeSync(this.#folder);
  }

  #write(file: string, text: string): void {
    Deno.writeTextFileSync(`${this.#folder}/${file}`, text, { create: false });
  }
}

/** `            comm-TID   [CPU] flags  SECONDS: event: fields`, and a system call without its event's name. */
const LINE = /-(\d+)\s+\[\d+\]\s+\S+\s+(\d+\.\d+): (.*)$/;

/** Exported for its test. */
export function turnsOf(tid: number, lines: readonly string[]): Turns {
  const turns: number[] = [];
  /** On a processor so far in this turn; undefined before the first wait has ended. */
  let ranMs: number | undefined;
  let sinceMs: number | undefined;
  const leave = (atMs: number) => {
    if (ranMs !== undefined && sinceMs !== undefined) ranMs += atMs - sinceMs;
    sinceMs = undefined;
  };
  for (const line of lines) {
    const match = LINE.exec(line);
    if (match === null) continue;
    const [, who, seconds, what] = match as unknown as [string, string, string, string];
    const atMs = Number(seconds) * 1_000;
    if (what.startsWith("sched_switch:")) {
      if (what.includes(` prev_pid=${tid} `)) leave(atMs);
      else if (what.includes(` next_pid=${tid} `)) sinceMs = atMs;
    } else if (Number(who) === tid && what.startsWith("sys_epoll_wait(")) {
      leave(atMs);
      if (ranMs !== undefined) turns.push(ranMs);
      ranMs = undefined;
      sinceMs = atMs;
    } else if (Number(who) === tid && what.startsWith("sys_epoll_wait ->")) {
      ranMs = 0;
      sinceMs = atMs;
    }
  }
  turns.sort((a, b) => a - b);
  return {
    count: turns.length,
    longest: turns.at(-1) ?? NaN,
    p999: turns[Math.floor(turns.length * 0.999)] ?? NaN,
    totalMs: turns.reduce((sum, turn) => sum + turn, 0),
  };
}
