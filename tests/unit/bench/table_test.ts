/** The benchmark's table: a wrong median or ratio would be believed. */
import { deepStrictEqual, match, strictEqual, throws } from "node:assert/strict";
import { type Figure, markdownTable, median, withTable } from "../../../bench/support/table.ts";

Deno.test("median() is the middle, and what is no number does not count", () => {
  for (
    const [values, expected] of [
      [[3, 1, 2], 2],
      [[4, 1, 2, 3], 2.5],
      [[7], 7],
      [[NaN, 5, NaN], 5],
      [[10, 9, 1], 9],
      [[], NaN],
    ] as const
  ) {
    strictEqual(median(values), expected, JSON.stringify(values));
  }
});

Deno.test("markdownTable() compares the first peer with each other one, figure by figure", () => {
  const peer = (figures: Partial<Record<Figure, number[]>>) =>
    new Map(Object.entries(figures) as [Figure, number[]][]);
  const table = markdownTable(
    new Map([
      ["ours", peer({ "iperf-1": [1, 3, 2], "rss-idle": [100.04] })],
      ["rust", peer({ "iperf-1": [4], "rss-idle": [50], "close-16-rate": [12_345.6] })],
      ["direct", peer({ "iperf-1": [8] })],
    ]),
  );
  deepStrictEqual(table.split("\n"), [
    "| median | ours | rust | direct | ours / rust | ours / direct |",
    "| --- | ---: | ---: | ---: | ---: | ---: |",
    "| iperf3, 1 stream, Gbit/s | 2 | 4 | 8 | 0.50 | 0.25 |",
    "| wrk `Connection: close`, 16 at once, new connections/s | – | 12,300 | – | – | – |",
    "| RSS of the larger proxy, idle, MB * | 100 | 50 | – | 2.00 | – |",
  ]);
});

Deno.test("withTable() replaces what is between the markers, as often as asked", async () => {
  const readme = await Deno.readTextFile(new URL("../../../bench/README.md", import.meta.url));
  const once = withTable(readme, "| new |");
  match(once, /\n\n\| new \|\n\n<!-- end of table -->/);
  strictEqual(withTable(once, "| new |"), once);
  throws(() => withTable("no markers", "x"), /lacks/);
});
