import { deepStrictEqual, match, ok, strictEqual, throws } from "node:assert/strict";
import { OwnProcess } from "#linux";
import { FAMILIES, type Family, type FamilyName, Metrics, METRICS_LIMITS } from "#metrics";

/** The client's side of the example connection (behaviour.md C.1). */
const EXAMPLE = {
  reporter: "source",
  source_workload: "web",
  source_canonical_service: "web",
  source_canonical_revision: "v1",
  source_workload_namespace: "shop",
  source_principal: "spiffe://cluster.local/ns/shop/sa/web",
  source_app: "web",
  source_version: "v1",
  source_cluster: "cluster-a",
  destination_service: "cart.shop.svc.cluster.local",
  destination_service_namespace: "shop",
  destination_service_name: "cart",
  destination_workload: "cart",
  destination_canonical_service: "cart",
  destination_canonical_revision: "v2",
  destination_workload_namespace: "shop",
  destination_principal: "spiffe://cluster.local/ns/shop/sa/cart",
  destination_app: "cart",
  destination_version: "v2",
  destination_cluster: "cluster-a",
  request_protocol: "tcp",
  response_flags: "-",
  connection_security_policy: "mutual_tls",
  source_region: "eu",
  source_zone: "eu-1",
  destination_region: "unknown",
  destination_zone: "unknown",
};
const EXAMPLE_TEXT = Object.entries(EXAMPLE).map(([name, value]) => `${name}="${value}"`).join(",");
const MINUTE_MS = 60_000;

function metricsAt(options: { seriesMax?: number; idleMs?: number } = {}) {
  const clock = { nowMs: 0 };
  return { clock, metrics: new Metrics({ nowMs: () => clock.nowMs, ...options }) };
}

async function textOf(metrics: Metrics, format: "openmetrics" | "text" = "openmetrics") {
  let text = "";
  for await (const piece of metrics.expose(format, () => Promise.resolve())) text += piece;
  return text;
}

function traffic(workload: string, flags = "-"): string[] {
  return Object.values({ ...EXAMPLE, destination_workload: workload, response_flags: flags });
}

function count(metrics: Metrics, family: FamilyName, labels: readonly string[], amount = 1): void {
  using series = metrics.series(family, labels);
  series.add(amount);
}

Deno.test("expose() writes OpenMetrics as ztunnel does, families in its order", async () => {
  const { metrics } = metricsAt();
  count(metrics, "workload_manager_proxies_started", []);
  count(metrics, "istio_tcp_received_bytes", Object.values(EXAMPLE), 11);
  count(metrics, "istio_xds_message_bytes", ["type.googleapis.com/istio.workload.Address"], 307);
  count(metrics, "istio_tcp_sockets_open", ["source"], 3);
  count(metrics, "istio_tcp_sockets_open", ["source"], -2);
  metrics.gauge("process_open_fds", [], () => 29);
  metrics.gauge("istio_build", ["ztunnel", "unknown"], () => 1);
  strictEqual(
    await textOf(metrics),
    `# HELP process_open_fds Number of open file descriptors
# TYPE process_open_fds gauge
process_open_fds 29
# HELP istio_build Istio component build info.
# TYPE istio_build gauge
istio_build{component="ztunnel",tag="unknown"} 1
# HELP istio_xds_message_bytes Total number of bytes received (unstable).
# TYPE istio_xds_message_bytes counter
# UNIT istio_xds_message_bytes bytes
istio_xds_message_bytes_total{url="type.googleapis.com/istio.workload.Address"} 307
# HELP istio_tcp_received_bytes The size of total bytes received during request in case of a TCP connection.
# TYPE istio_tcp_received_bytes counter
istio_tcp_received_bytes_total{${EXAMPLE_TEXT}} 11
# HELP istio_tcp_sockets_open The current number of open TCP sockets (unstable).
# TYPE istio_tcp_sockets_open gauge
istio_tcp_sockets_open{reporter="source"} 1
# HELP workload_manager_proxies_started The total number of proxies started (unstable).
# TYPE workload_manager_proxies_started counter
workload_manager_proxies_started_total 1
# EOF
`,
  );
});

Deno.test("expose() writes the older text with counters under their sample's name", async () => {
  const { metrics } = metricsAt();
  count(metrics, "istio_xds_message_bytes", ["a"], 307);
  count(metrics, "istio_tcp_sockets_open", ["source"], 3);
  strictEqual(
    await textOf(metrics, "text"),
    `# HELP istio_xds_message_bytes_total Total number of bytes received (unstable).
# TYPE istio_xds_message_bytes_total counter
istio_xds_message_bytes_total{url="a"} 307
# HELP istio_tcp_sockets_open The current number of open TCP sockets (unstable).
# TYPE istio_tcp_sockets_open gauge
istio_tcp_sockets_open{reporter="source"} 3
`,
  );
});

Deno.test("expose() says nothing but the end when nothing was counted", async () => {
  strictEqual(await textOf(metricsAt().metrics), "# EOF\n");
});

Deno.test("expose() escapes label values", async () => {
  const { metrics } = metricsAt();
  count(metrics, "istio_xds_message", ['a"b\\c\nd']);
  match(await textOf(metrics), /istio_xds_message_total\{url="a\\"b\\\\c\\nd"\} 1\n/);
});

Deno.test("FAMILIES call unstable what is not stable, and end as the reference does", () => {
  const stable = new Set([
    "istio_build",
    "istio_tcp_connections_opened",
    "istio_tcp_connections_closed",
    "istio_tcp_received_bytes",
    "istio_tcp_sent_bytes",
    "process_open_fds",
    "process_max_fds",
  ]);
  for (const [name, family] of Object.entries<Family>(FAMILIES)) {
    const isStable = stable.has(name) || name.startsWith("tokio_");
    strictEqual(family.help.includes("unstable"), !isStable, name);
    if (!/^(process|tokio)_/.test(name)) ok(family.help.endsWith("."), name);
    if (family.unit !== undefined) ok(name.endsWith(`_${family.unit}`), name);
  }
  deepStrictEqual(FAMILIES.istio_tcp_sent_bytes.labels, Object.keys(EXAMPLE));
});

Deno.test("promtool accepts both texts", async () => {
  const { metrics } = metricsAt();
  for (const [name, family] of Object.entries<Family>(FAMILIES)) {
    count(metrics, name as FamilyName, family.labels.map((label) => `${label} "\\\n`), 1.5);
  }
  for (const format of ["text", "openmetrics"] as const) {
    const found = await promtool(await textOf(metrics, format));
    if (found === undefined) return;
    // It reads the older form; for it, OpenMetrics has comments (UNIT, EOF) and samples without HELP. The names that
    // it dislikes are the reference's.
    const complaints = found.split("\n").filter((line) =>
      line !== "" && !/^workload_manager_\w+_count non-histogram/.test(line) &&
      !(format === "openmetrics" && line.endsWith("_total no help text"))
    );
    deepStrictEqual(complaints, [], format);
  }
});

/** What it has to say; undefined where it is missing and that is allowed. */
async function promtool(input: string): Promise<string | undefined> {
  try {
    const child = new Deno.Command("promtool", {
      args: ["check", "metrics"],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(input));
    await writer.close();
    const { stdout, stderr } = await child.output();
    const decoder = new TextDecoder();
    return decoder.decode(stdout) + decoder.decode(stderr);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    if (Deno.env.get("ZTUNNEL_TEST_ROOTLESS") !== "1") {
      throw new Error("needs promtool (package prometheus)");
    }
    console.error("SKIPPED: promtool is missing (package prometheus)");
    return undefined;
  }
}

Deno.test("series() gives the same cell for the same labels, also to two holders", async () => {
  const { metrics } = metricsAt();
  using one = metrics.series("istio_crl_policy_rejections", ["source"]);
  using two = metrics.series("istio_crl_policy_rejections", ["source"]);
  using other = metrics.series("istio_crl_untracked_connections", ["source"]);
  one.add(1);
  two.add(2);
  other.add(5);
  const text = await textOf(metrics);
  match(text, /istio_crl_policy_rejections_total\{reporter="source"\} 3\n/);
  match(text, /istio_crl_untracked_connections_total\{reporter="source"\} 5\n/);
});

Deno.test("series() exists with 0 from the moment it was asked for", async () => {
  const { metrics } = metricsAt();
  using _held = metrics.series("istio_crl_policy_rejections", ["source"]);
  match(await textOf(metrics), /_total\{reporter="source"\} 0\n/);
});

Deno.test("series() refuses wrong names, wrong label counts and amounts that no counter has", () => {
  const { metrics } = metricsAt();
  throws(() => metrics.series("nonsense" as FamilyName, []), /No metric is called nonsense/);
  throws(() => metrics.series("toString" as FamilyName, []), /No metric/);
  throws(() => metrics.series("istio_xds_message", []), /has 1 labels, not 0/);
  throws(() => metrics.gauge("istio_xds_message", ["a"], () => 1), /not a gauge/);
  using series = metrics.series("istio_xds_message", ["a"]);
  for (const amount of [-1, NaN, Infinity]) throws(() => series.add(amount), RangeError);
});

Deno.test("series() keeps label sets apart that a separator could mix up, and cuts long values", async () => {
  const { metrics } = metricsAt();
  count(metrics, "istio_dns_requests", ["a\0b", "c", "d", "e"]);
  count(metrics, "istio_dns_requests", ["a", "b\0c", "d", "e"]);
  count(metrics, "istio_dns_requests", ["x".repeat(100_000), "", "", ""]);
  const lines = (await textOf(metrics)).split("\n").filter((line) => !line.startsWith("#"));
  strictEqual(lines.filter((line) => line.includes("\ufffd") && line.endsWith(" 1")).length, 2);
  ok(lines.every((line) => line.length < METRICS_LIMITS.labelCharsMax + 200));
});

Deno.test("a series is forgotten when it was idle for long and nobody holds it", async () => {
  const { metrics, clock } = metricsAt();
  const held = metrics.series("istio_tcp_sent_bytes", traffic("held"));
  count(metrics, "istio_tcp_sent_bytes", traffic("idle"), 7);
  count(metrics, "istio_tcp_sockets_open", ["source"]);
  clock.nowMs = 9 * MINUTE_MS;
  count(metrics, "istio_tcp_sent_bytes", traffic("busy"));
  match(await textOf(metrics), /"idle"/);
  clock.nowMs = 10 * MINUTE_MS;
  const text = await textOf(metrics);
  strictEqual(text.includes('"idle"'), false);
  match(text, /"held"/);
  match(text, /"busy"/);
  match(text, /istio_tcp_sockets_open\{reporter="source"\} 1\n/);
  match(text, /ztunnel_metrics_series_evicted_total 1\n/);
  // The cell of the forgotten one is another's now, from 0 on.
  count(metrics, "istio_tcp_sent_bytes", traffic("new"), 1);
  match(await textOf(metrics), /"new".* 1\n/);
  held[Symbol.dispose]();
});

Deno.test("series() finds frozen labels again, also after they had no room or were forgotten", async () => {
  const { clock, metrics } = metricsAt({ seriesMax: 10 });
  const late = Object.freeze(traffic("late"));
  for (let pod = 0; pod < 10; pod++) {
    const labels = Object.freeze(traffic(`pod-${pod}`));
    for (const amount of [1, 2]) count(metrics, "istio_tcp_sent_bytes", labels, amount);
  }
  count(metrics, "istio_tcp_sent_bytes", late, 4);
  const full = await textOf(metrics);
  match(full, /destination_workload="pod-3".* 3\n/);
  ok(!full.includes('"late"'), full);
  clock.nowMs = 20 * MINUTE_MS;
  count(metrics, "istio_tcp_sent_bytes", late, 8);
  count(metrics, "istio_tcp_received_bytes", late, 9);
  const free = await textOf(metrics);
  match(free, /sent_bytes_total.*destination_workload="late".* 8\n/);
  match(free, /received_bytes_total.*destination_workload="late".* 9\n/);
  ok(!free.includes("pod-3"), free);
  clock.nowMs = 40 * MINUTE_MS;
  await textOf(metrics);
  count(metrics, "istio_tcp_sent_bytes", late, 16);
  match(await textOf(metrics), /sent_bytes_total.*destination_workload="late".* 16\n/);
});

Deno.test("add() after disposal reaches no cell, and disposing twice gives back once", async () => {
  const { metrics, clock } = metricsAt();
  const late = metrics.series("istio_tcp_sent_bytes", traffic("late"));
  using holder = metrics.series("istio_tcp_sent_bytes", traffic("late"));
  holder.add(1);
  late[Symbol.dispose]();
  late[Symbol.dispose]();
  late.add(100);
  clock.nowMs = 60 * MINUTE_MS;
  match(await textOf(metrics), /destination_workload="late".* 1\n/);
});

Deno.test("past the cap new label sets are counted together as overflow, until idle ones make room", async () => {
  const { metrics, clock } = metricsAt({ seriesMax: 100 });
  for (let pod = 0; pod < 1_000; pod++) {
    count(metrics, "istio_tcp_sent_bytes", traffic(`pod-${pod}`), 2);
  }
  const lines = (await textOf(metrics)).split("\n").filter((each) => each.startsWith("istio"));
  strictEqual(lines.length, 101);
  const overflow = lines.find((line) => line.includes('reporter="overflow"'));
  match(overflow ?? "", /destination_zone="overflow"\} 1800$/);
  match(await textOf(metrics), /ztunnel_metrics_series_overflowed_total 900\n/);
  clock.nowMs = 20 * MINUTE_MS;
  count(metrics, "istio_tcp_sent_bytes", traffic("young"));
  match(await textOf(metrics), /"young"/);
});

Deno.test("gauge() is asked at each scrape, left out while it fails, gone after disposal", async () => {
  const { metrics } = metricsAt();
  let value = 5;
  const gauge = metrics.gauge("process_max_fds", [], () => {
    if (value < 0) throw new Error("cannot read");
    return value;
  });
  match(await textOf(metrics), /process_max_fds 5\n/);
  value = 6;
  match(await textOf(metrics), /process_max_fds 6\n/);
  value = -1;
  strictEqual(await textOf(metrics), "# EOF\n");
  value = 7;
  gauge[Symbol.dispose]();
  strictEqual(await textOf(metrics), "# EOF\n");
});

Deno.test("expose() of 20,000 series lets the event loop turn all the time", async () => {
  const { metrics } = metricsAt();
  const seriesCount = 20_000;
  for (let pod = 0; pod < seriesCount; pod++) {
    count(metrics, "istio_tcp_sent_bytes", traffic(`pod-${pod}`), pod);
  }
  const shares: number[] = [];
  // A collection of garbage makes one piece look long, hardly so in each of three scrapes.
  for (let scrape = 0; scrape < 3; scrape++) {
    // Of this thread's processor: a neighbour that takes it away is not counted.
    const piecesMs: number[] = [];
    let startMs = OwnProcess.threadProcessorMs();
    let lines = 0;
    const pause = () => {
      piecesMs.push(OwnProcess.threadProcessorMs() - startMs);
      return new Promise<void>((resolve) =>
        setTimeout(() => {
          startMs = OwnProcess.threadProcessorMs();
          resolve();
        })
      );
    };
    for await (const piece of metrics.expose("openmetrics", pause)) {
      lines += piece.split("\n").length - 1;
    }
    strictEqual(lines, seriesCount + 3);
    shares.push(Math.max(...piecesMs) / piecesMs.reduce((sum, each) => sum + each, 0));
  }
  // Measured: a twentieth at first, a hundredth later; one block would be the whole.
  ok(Math.min(...shares) < 0.2, `one piece of ${shares.join(", ")} of the whole`);
});

Deno.test("expose() tells nothing wrong about series that go or come during a scrape", async () => {
  const { metrics, clock } = metricsAt();
  for (let pod = 0; pod < 500; pod++) {
    count(metrics, "istio_tcp_sent_bytes", traffic(`pod-${pod}`), 1);
  }
  let text = "";
  let second: Promise<string> | undefined;
  const pause = async () => {
    if (second !== undefined) return;
    clock.nowMs = 30 * MINUTE_MS;
    second = textOf(metrics);
    await second;
    for (let pod = 0; pod < 500; pod++) {
      count(metrics, "istio_tcp_sent_bytes", traffic(`other-${pod}`), 9);
    }
  };
  for await (const piece of metrics.expose("openmetrics", pause)) text += piece;
  const values = [...text.matchAll(/^istio_tcp_sent_bytes_total.* (\d+)$/gm)].map((each) =>
    each[1]
  );
  deepStrictEqual([...new Set(values)], ["1"]);
  strictEqual(values.length, METRICS_LIMITS.seriesPerChunk);
});
