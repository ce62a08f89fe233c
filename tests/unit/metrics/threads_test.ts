/** Many threads count, control adds up. */
import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { type FamilyName, Metrics, newCells, type SeriesChange, type ThreadCells } from "#metrics";

const MINUTE_MS = 60_000;
const REQUESTS = "istio_xds_message";
const clock = { nowMs: 0 };

/** A thread with its end of the link: what it says waits until `deliver`. */
class Thread {
  readonly said: SeriesChange[] = [];
  readonly metrics: Metrics;
  readonly #cells: ThreadCells;

  constructor(control: Metrics, seriesMax?: number) {
    const cells = newCells(seriesMax);
    this.#cells = control.attach(cells);
    this.metrics = new Metrics({
      nowMs: () => clock.nowMs,
      thread: { cells, onChange: (change) => void this.said.push(change) },
    });
  }

  count(label: string, amount = 1, family: FamilyName = REQUESTS): void {
    using series = this.metrics.series(family, [label]);
    series.add(amount);
  }

  /** A turn, and the words of it at the other end. */
  async deliver(): Promise<void> {
    await Promise.resolve();
    for (const change of this.said.splice(0)) this.metrics.freed(this.#cells.learn(change));
  }

  die(): void {
    this.#cells.detach();
  }
}

function control(options: { readonly seriesMax?: number } = {}): Metrics {
  clock.nowMs = 0;
  return new Metrics({ nowMs: () => clock.nowMs, ...options });
}

/** By its first label. */
async function values(metrics: Metrics, family = `${REQUESTS}_total`) {
  let text = "";
  for await (const piece of metrics.expose("openmetrics", () => Promise.resolve())) text += piece;
  const lines = text.split("\n").filter((line) => line.startsWith(`${family}{`));
  const pairs = lines.map((line): [string, number] => {
    const [, label, value] = /\{\w+="([^"]*)".*\} (\S+)$/.exec(line)!;
    return [label!, Number(value)];
  });
  strictEqual(new Set(pairs.map(([label]) => label)).size, pairs.length, "each series once");
  return Object.fromEntries(pairs);
}

Deno.test("equal series of all threads are one, their sum", async () => {
  const metrics = control();
  const [a, b] = [new Thread(metrics), new Thread(metrics)];
  a.count("shared", 2);
  a.count("only a", 5);
  b.count("shared", 40);
  await a.deliver();
  await b.deliver();
  deepStrictEqual(await values(metrics), { "shared": 42, "only a": 5 });
  b.count("shared");
  deepStrictEqual((await values(metrics))["shared"], 43, "without another word");
  using own = metrics.series(REQUESTS, ["shared"]);
  own.add(100);
  deepStrictEqual((await values(metrics))["shared"], 143, "control counts along");
});

Deno.test("a turn's new series are one word", async () => {
  const thread = new Thread(control());
  thread.count("one");
  thread.count("two");
  thread.count("one");
  await Promise.resolve();
  deepStrictEqual(thread.said.map(({ added }) => added.map(({ labels }) => labels[0])), [
    ["one", "two"],
  ]);
  thread.count("two");
  await Promise.resolve();
  strictEqual(thread.said.length, 1);
});

Deno.test("what a dead thread counted stays, what it measured is gone", async () => {
  const metrics = control();
  const [a, b] = [new Thread(metrics), new Thread(metrics)];
  a.count("x", 7);
  b.count("x", 1);
  a.count("source", 3, "istio_tcp_sockets_open");
  b.count("source", 2, "istio_tcp_sockets_open");
  await a.deliver();
  await b.deliver();
  a.die();
  deepStrictEqual(await values(metrics), { x: 8 });
  deepStrictEqual(await values(metrics, "istio_tcp_sockets_open"), { source: 2 });
  b.die();
  const c = new Thread(metrics);
  c.count("x", 2);
  await c.deliver();
  deepStrictEqual(await values(metrics), { x: 10 });
  deepStrictEqual(await values(metrics, "istio_tcp_sockets_open"), { source: 0 });
});

Deno.test("a series is forgotten when it was idle on all threads, and never shrinks before", async () => {
  const metrics = control();
  const [a, b] = [new Thread(metrics), new Thread(metrics)];
  a.count("x", 1_000);
  b.count("x", 10);
  await a.deliver();
  await b.deliver();
  clock.nowMs = 6 * MINUTE_MS;
  b.count("x", 1);
  clock.nowMs = 11 * MINUTE_MS;
  a.metrics.sweep();
  // Between its word and control's answer the cell is nobody else's.
  a.count("another", 5);
  deepStrictEqual((await values(metrics))["x"], 1_011);
  await a.deliver();
  deepStrictEqual(await values(metrics), { x: 1_011, another: 5 });
  a.count("a third", 3);
  await a.deliver();
  deepStrictEqual(await values(metrics), { "x": 1_011, "another": 5, "a third": 3 });

  clock.nowMs = 17 * MINUTE_MS;
  b.metrics.sweep();
  await b.deliver();
  const left = await values(metrics);
  ok(!("x" in left), "11 minutes after the last of both");
  deepStrictEqual(left, { "another": 5, "a third": 3 });
  a.count("x", 1);
  await a.deliver();
  deepStrictEqual((await values(metrics))["x"], 1);
});

Deno.test("cells are used again, so that a thread's room lasts for ever", async () => {
  const metrics = control();
  const thread = new Thread(metrics, 20);
  for (let round = 0; round < 50; round++) {
    clock.nowMs += 11 * MINUTE_MS;
    thread.metrics.sweep();
    await thread.deliver();
    for (let pod = 0; pod < 15; pod++) thread.count(`pod ${round} ${pod}`);
    await thread.deliver();
    const shown = await values(metrics);
    ok(!("overflow" in shown), `round ${round}`);
    strictEqual(shown[`pod ${round} 14`], 1);
  }
});

Deno.test("the bound of series is the whole process's, and totals stay right past it", async () => {
  const metrics = control({ seriesMax: 100 });
  const threads = [1, 2, 3, 4].map(() => new Thread(metrics, 100));
  for (const [index, thread] of threads.entries()) {
    for (let pod = 0; pod < 90; pod++) thread.count(`pod ${index} ${pod}`);
    await thread.deliver();
  }
  const shown = await values(metrics);
  ok(Object.keys(shown).length <= 101, `${Object.keys(shown).length} series`);
  strictEqual(Object.values(shown).reduce((sum, value) => sum + value), 360);
  ok(shown["overflow"]! > 200);
  for (const thread of threads) thread.die();
  strictEqual(Object.values(await values(metrics)).reduce((sum, value) => sum + value), 360);
});

Deno.test("onExpose is told before anything is read", async () => {
  const metrics = control();
  const thread = new Thread(metrics);
  let sweptCount = 0;
  metrics.onExpose = () => {
    sweptCount++;
    thread.metrics.sweep();
  };
  thread.count("x");
  await thread.deliver();
  await values(metrics);
  clock.nowMs = 11 * MINUTE_MS;
  await values(metrics);
  await thread.deliver();
  deepStrictEqual([await values(metrics), sweptCount], [{}, 3]);
  match(String(Object.keys(await values(metrics, "ztunnel_metrics_series_evicted_total"))), /^$/);
});
