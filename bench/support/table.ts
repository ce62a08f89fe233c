/**
 * From figures of many runs to a table: medians, and ratios between peers of one run.
 * @module
 */

/** Names a figure in one peer's results; the order here is the order of the table. */
export const FIGURES = {
  "iperf-1": "iperf3, 1 stream, Gbit/s",
  "iperf-1-reversed": "iperf3, 1 stream reversed, Gbit/s",
  "iperf-16": "iperf3, 16 streams, Gbit/s",
  "iperf-16-reversed": "iperf3, 16 streams reversed, Gbit/s",
  "cpu-per-gigabyte": "CPU of both proxies, s per GB *",
  "keepalive-1-rate": "wrk keep-alive, 1 connection, requests/s",
  "keepalive-1-p50": "— p50, ms *",
  "keepalive-1-p99": "— p99, ms *",
  "keepalive-16-rate": "wrk keep-alive, 16 connections, requests/s",
  "keepalive-16-p50": "— p50, ms *",
  "keepalive-16-p99": "— p99, ms *",
  "keepalive-64-rate": "wrk keep-alive, 64 connections, requests/s",
  "keepalive-64-p50": "— p50, ms *",
  "keepalive-64-p99": "— p99, ms *",
  "cpu-per-10k": "CPU of both proxies, s per 10,000 requests *",
  "close-16-rate": "wrk `Connection: close`, 16 at once, new connections/s",
  "close-16-p50": "— p50, ms *",
  "close-16-p99": "— p99, ms *",
  "cpu-per-10k-new": "CPU of both proxies, s per 10,000 new connections *",
  "compared-16": "every byte compared, 16 streams there and back, Gbit/s",
  "rss-idle": "RSS of the larger proxy, idle, MB *",
  "rss-iperf": "— most under iperf3, MB *",
  "rss-wrk": "— most under wrk keep-alive, MB *",
  "rss-close": "— most under wrk `Connection: close`, MB *",
  "rss-per-idle": "— per idle connection of 3,000, KiB *",
} as const;
export type Figure = keyof typeof FIGURES;

/** What one peer measured, run by run. */
export type Measured = ReadonlyMap<Figure, readonly number[]>;

/** A Markdown table of medians, and the first peer's ratio to each other one. Without a value there is a dash. */
export function markdownTable(results: ReadonlyMap<string, Measured>): string {
  const peers = [...results.keys()];
  const [first, ...others] = peers;
  const medians = (figure: Figure) =>
    peers.map((peer) => median(results.get(peer)?.get(figure) ?? []));
  const rows = (Object.keys(FIGURES) as Figure[])
    .filter((figure) => medians(figure).some(Number.isFinite))
    .map((figure) => {
      const [ours = NaN, ...theirs] = medians(figure);
      return [
        FIGURES[figure],
        ...[ours, ...theirs].map((value) => short(value)),
        ...theirs.map((their) => their === 0 ? "–" : short(ours / their, 2)),
      ];
    });
  const head = ["median", ...peers, ...others.map((other) => `${first} / ${other}`)];
  const rule = head.map((_, index) => index === 0 ? "---" : "---:");
  return [head, rule, ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

/** The middle one of an odd number, the mean of the middle two of an even one; NaN of none. */
export function median(values: readonly number[]): number {
  const sorted = values.filter(Number.isFinite).sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? NaN)) / 2;
}

/** Three significant digits, or fixed decimals; more would claim what two noisy cores cannot know. */
function short(value: number, decimals?: number): string {
  if (!Number.isFinite(value)) return "–";
  if (decimals !== undefined) return value.toFixed(decimals);
  return Number(value.toPrecision(3)).toLocaleString("en", { maximumFractionDigits: 4 });
}

const BEGIN = "<!-- table: written by `deno task bench --write` -->";
const END = "<!-- end of table -->";

/** `document` with `text` between its markers; fails if it has none. */
export function withTable(document: string, text: string, marker = BEGIN): string {
  const [begin, end] = [document.indexOf(marker), document.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`the document lacks "${marker}" … "${END}"`);
  return `${document.slice(0, begin + marker.length)}\n\n${text}\n\n${document.slice(end)}`;
}
