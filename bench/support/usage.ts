/**
 * What a program and its children use of memory and time, as Linux counts it.
 * @module
 */

/** `CLK_TCK`: the unit of the times in /proc, 100 on every Linux that we run on. */
const TICKS_PER_SECOND = 100;
/** Short enough to see a peak of a one-second load, long enough not to be load itself. */
const SAMPLE_INTERVAL_MS = 100;

/** Resident memory of a process and all below it, in bytes; 0 if it has ended. */
export function residentBytes(pid: number): number {
  return sum(
    treeOf(pid).map((id) => {
      const kilobytes = /^VmRSS:\s+(\d+)/m.exec(read(`/proc/${id}/status`))?.[1];
      return Number(kilobytes ?? 0) * 1_024;
    }),
  );
}

/** Processor time that a process and all below it have used so far, in user and kernel mode. */
export function processorSeconds(pid: number): number {
  return sum(
    treeOf(pid).map((id) => {
      // The program's name, in parentheses, may contain anything; the numbers follow it.
      const fields = read(`/proc/${id}/stat`).replace(/^.*\)\s/s, "").split(" ");
      // utime, stime, and cutime, cstime of children that have ended (proc(5), fields 14 to 17).
      return sum(fields.slice(11, 15).map(Number)) / TICKS_PER_SECOND;
    }),
  );
}

/** The most memory that any one of several programs had while it was watched. */
export class MemoryWatch {
  #peakBytes = 0;
  readonly #timer: ReturnType<typeof setInterval>;

  constructor(private readonly pids: readonly number[]) {
    this.#timer = setInterval(() => this.#sample(), SAMPLE_INTERVAL_MS);
  }

  stop(): number {
    clearInterval(this.#timer);
    this.#sample();
    return this.#peakBytes;
  }

  #sample(): void {
    this.#peakBytes = Math.max(this.#peakBytes, ...this.pids.map(residentBytes));
  }
}

function treeOf(pid: number): number[] {
  const children: number[] = [];
  for (const task of list(`/proc/${pid}/task`)) {
    const ids = read(`/proc/${pid}/task/${task}/children`).split(" ").filter((id) => id !== "");
    children.push(...ids.map(Number));
  }
  return [pid, ...children.flatMap(treeOf)];
}

/** Empty for what has ended in between. */
function read(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return "";
  }
}

function list(path: string): string[] {
  try {
    return [...Deno.readDirSync(path)].map((entry) => entry.name);
  } catch {
    return [];
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
