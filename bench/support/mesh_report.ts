/** What the benchmark of the large mesh says, row by row, and how it is kept in `mesh.md`. */
import { median } from "./table.ts";

interface Row {
  readonly what: string;
  readonly target: string;
  readonly measured: string;
  readonly verdict: "" | "met" | "missed" | "not shown";
}

export class Report {
  readonly #rows: Row[] = [];

  /** A figure for which there is no target. */
  show(what: string, measured: string): void {
    this.#add({ what, target: "", measured, verdict: "" });
  }

  /** A figure that is to be so. */
  judge(what: string, target: string, measured: string, isMet: boolean): void {
    this.#add({ what, target, measured, verdict: isMet ? "met" : "missed" });
  }

  /** What could not be measured here, and why. */
  miss(what: string, target: string, why: string): void {
    this.#add({ what, target, measured: why, verdict: "not shown" });
  }

  markdown(head: string): string {
    const rows = this.#rows.map(({ what, target, measured, verdict }) =>
      `| ${[what, target, measured, verdict && `**${verdict}**`].join(" | ")} |`
    );
    return [
      head,
      "",
      "| what | target | measured | |",
      "| --- | ---: | --- | --- |",
      ...rows,
    ].join("\n");
  }

  #add(row: Row): void {
    this.#rows.push(row);
    const target = row.target && ` (target ${row.target}: ${row.verdict.toUpperCase()})`;
    console.log(`${row.what}: ${row.measured}${target}`);
  }
}

/** When, on what, and how busy it was. */
export function circumstances(loads: readonly string[]): string {
  const cpu = /^model name\s*:\s*(.*)$/m.exec(Deno.readTextFileSync("/proc/cpuinfo"))?.[1];
  const day = new Date().toISOString().slice(0, 16).replace("T", " ");
  return `${day} UTC, ${navigator.hardwareConcurrency} cores (${cpu ?? Deno.build.arch}), ` +
    `Deno ${Deno.version.deno}, load average ${loads.join(" → ")}.`;
}

/** Of the last minute. */
export function loadAverage(): string {
  return Deno.loadavg()[0]!.toFixed(1);
}

export const ms = (value: number) => `${value.toFixed(value < 10 ? 1 : 0)} ms`;
export const seconds = (valueMs: number) => `${(valueMs / 1_000).toFixed(1)} s`;
export const mb = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`;

/** The median and, if there are more, how far the values are apart. */
export function spread(values: readonly number[], text: (value: number) => string): string {
  const middle = text(median(values));
  if (values.length < 2) return middle;
  return `${middle} (${text(Math.min(...values))} to ${text(Math.max(...values))})`;
}
