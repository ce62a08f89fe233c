import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { brotliDecompressSync, gunzipSync, zstdDecompressSync } from "node:zlib";
import { Readiness, startAdminServer, startReadinessServer, startStatsServer } from "#admin";
import { createLogHub } from "#log";
import { createMesh } from "#mesh";
import { configDump } from "../../../lib/admin/config_dump.ts";
import { Metrics } from "#metrics";
import { realClock } from "#system";
import {
  ask,
  bodyOf,
  HOST,
  manyWorkloads,
  meshOf,
  on,
  raw,
  sourcesWith,
  statusOf,
  withServer,
} from "./harness.ts";

Deno.test("readiness says what is pending, in order, then ready", async () => {
  const lines: string[] = [];
  const hub = createLogHub({
    write: (bytes) => void lines.push(new TextDecoder().decode(bytes)),
    nowMs: () => 0,
    filter: "",
    format: "plain",
  });
  const readiness = new Readiness(realClock, hub.scope("ztunnel::readiness"));
  const stateDone = readiness.register("state manager");
  const proxyDone = readiness.register("proxy");
  await withServer(startReadinessServer({ ...on("readiness"), readiness }), async (_, port) => {
    const before = await ask(port, "GET /healthz/ready");
    strictEqual(statusOf(before), "500");
    strictEqual(bodyOf(before), "not ready, pending: proxy, state manager\n");
    match(before, /content-type: text\/plain\r\n/i);
    proxyDone();
    proxyDone();
    stateDone();
    strictEqual(bodyOf(await ask(port, "GET /healthz/ready?verbose=1")), "ready\n");
    for (const method of ["POST", "HEAD", "PUT", "OPTIONS"]) {
      strictEqual(statusOf(await ask(port, `${method} /healthz/ready`)), "405", method);
    }
    const unknown = await ask(port, "GET /healthz");
    deepStrictEqual([statusOf(unknown), bodyOf(unknown)], ["404", ""]);
  });
  hub.flush();
  match(lines.join(""), /Task 'proxy' complete \([\d.]+ms\), still awaiting 1 tasks\t\n/);
  match(lines.join(""), /Task 'state manager' complete \([\d.]+ms\), marking server ready\t\n/);
});

Deno.test("a followed task comes undone and says what it waits for", () => {
  const lines: string[] = [];
  const hub = createLogHub({
    write: (bytes) => void lines.push(new TextDecoder().decode(bytes)),
    nowMs: () => 0,
    filter: "",
    format: "plain",
  });
  const readiness = new Readiness(realClock, hub.scope("ztunnel::readiness"));
  let waits = ["the CNI agent"];
  const task = readiness.follow("workload proxy manager", () => waits);
  deepStrictEqual(readiness.pending(), ["workload proxy manager (the CNI agent)"]);
  waits = [];
  task.changed();
  task.changed();
  deepStrictEqual(readiness.pending(), []);
  waits = ["pod shop/a: busy", "pod shop/b: busy"];
  task.changed();
  readiness.register("proxy");
  deepStrictEqual(readiness.pending(), [
    "proxy",
    "workload proxy manager (pod shop/a: busy; pod shop/b: busy)",
  ]);
  waits = [];
  deepStrictEqual(readiness.pending(), ["proxy"], "time alone has ended the wait");
  hub.flush();
  const text = lines.join("");
  strictEqual(text.match(/Task 'workload proxy manager' complete/g)?.length, 2, text);
  match(text, /Task 'workload proxy manager' is pending again.*pod shop\/a: busy/);
});

Deno.test("stats gives one body in every encoding, and none to short ones", async () => {
  const metrics = new Metrics({ nowMs: () => 0 });
  await withServer(startStatsServer({ ...on("stats"), metrics }), async (_, port) => {
    const headers = ["Accept: application/openmetrics-text"];
    const short = await ask(port, "GET /metrics", "Accept-Encoding: gzip", ...headers);
    match(short, /# EOF\n/);
    strictEqual(/content-encoding/i.test(short), false);
    for (let pod = 0; pod < 3_000; pod++) {
      using series = metrics.series("istio_dns_requests", ["a", "udp", `pod-${pod}`, "v1"]);
      series.add(pod);
    }
    const cases: [accept: string, encoding: string | undefined][] = [
      ["", undefined],
      ["identity", undefined],
      ["gzip", "gzip"],
      ["br", "br"],
      ["zstd", "zstd"],
      ["gzip, br;q=0.5, zstd;q=0", "gzip"],
      ["GZIP;q=0.2, br;q=0.3", "br"],
      ["compress, gzip;q=nonsense", undefined],
      ["gzip, deflate, br, zstd", "zstd"],
    ];
    for (const [accept, encoding] of cases) {
      const response = await fetchRaw(port, "/stats/prometheus", {
        accept: "text/html, Application/OpenMetrics-Text; version=1.0.0;q=0.1",
        "accept-encoding": accept,
      });
      strictEqual(response.headers.get("content-encoding") ?? undefined, encoding, accept);
      strictEqual(response.headers.get("vary"), "accept-encoding");
      strictEqual(
        response.headers.get("content-type"),
        "application/openmetrics-text;charset=utf-8;version=1.0.0",
      );
      const text = decompressed(response.body, encoding);
      strictEqual(text.split("\n").length, 3_004, accept);
      ok(text.endsWith('pod-2999",source_canonical_revision="v1"} 2999\n# EOF\n'));
    }
  });
});

/** fetch() undoes encodings by itself; this does not. */
async function fetchRaw(port: number, path: string, headers: Record<string, string>) {
  const { request } = await import("node:http");
  return await new Promise<{ headers: Headers; body: Buffer }>((resolve, reject) => {
    const asked = request({ host: HOST, port, path, headers, agent: false }, (message) => {
      const chunks: Buffer[] = [];
      message.on("data", (chunk: Buffer) => chunks.push(chunk));
      message.on("end", () =>
        resolve({
          headers: new Headers(message.headers as Record<string, string>),
          body: Buffer.concat(chunks),
        }));
    });
    asked.on("error", reject);
    asked.end();
  });
}

function decompressed(body: Buffer, encoding: string | undefined): string {
  const undo: Record<string, (bytes: Buffer) => Buffer> = {
    gzip: gunzipSync,
    br: brotliDecompressSync,
    zstd: zstdDecompressSync,
  };
  return (encoding === undefined ? body : undo[encoding]!(body)).toString();
}

Deno.test("stats serves the older text to who does not ask for OpenMetrics, by any method", async () => {
  const metrics = new Metrics({ nowMs: () => 0 });
  using series = metrics.series("istio_xds_message", ["a"]);
  series.add(1);
  await withServer(startStatsServer({ ...on("stats"), metrics }), async (_, port) => {
    const response = await ask(port, "POST /metrics", "Accept: */*");
    match(response, /content-type: text\/plain; charset=utf-8\r\n/i);
    match(response, /# TYPE istio_xds_message_total counter\n/);
    strictEqual(statusOf(await ask(port, "GET /other")), "404");
  });
});

Deno.test("admin: paths, methods and statuses", async () => {
  const sources = sourcesWith();
  await withServer(startAdminServer({ ...on("admin"), sources }), async (_, port) => {
    const cases: [line: string, status: string, body: RegExp][] = [
      ["GET /", "200", /<a href="config_dump">/],
      ["DELETE /", "200", /<html/],
      ["GET /nothing", "404", /^$/],
      ["GET //config_dump", "404", /^$/],
      ["GET /config_dump/", "404", /^$/],
      ["GET /logging", "405", /^usage: POST \/logging/],
      ["POST /logging", "200", /^current log level is hickory_server::server=off,info\n$/],
      [
        "POST /logging?reset&level=access=debug,info",
        "200",
        /^current log level is hickory_server::server=off,access=debug,info\n$/,
      ],
      [
        "POST /logging?level=dns%3Awarning",
        "200",
        /level is hickory_server::server=off,access=debug,dns=warn,info\n$/,
      ],
      ["POST /logging?level=invalid_level", "400", /invalid_level[^]*usage: POST/],
      ["POST /logging?level=", "400", /usage: POST/],
      ["POST /logging?level=info,,debug", "400", /usage: POST/],
      [
        "POST /logging?level=debug&reset=true",
        "200",
        /^current log level is hickory_server::server=off,debug\n$/,
      ],
      ["POST /logging?reset", "200", /server=off,info\n$/],
      ["GET /quitquitquit", "405", /^$/],
      ["GET /debug/pprof/profile?seconds=1", "500", /not supported/],
      ["GET /debug/pprof/heap", "500", /not supported/],
      ["GET http://elsewhere/logging", "405", /usage/],
      ["GET nonsense", "400", /^/],
    ];
    for (const [line, status, body] of cases) {
      const response = await ask(port, line);
      strictEqual(statusOf(response), status, line);
      match(bodyOf(response), body, line);
    }
    strictEqual(sources.quits, 0);
    strictEqual(bodyOf(await ask(port, "POST /quitquitquit")), "shutdown now\n");
    strictEqual(sources.quits, 1);
  });
});

Deno.test("admin refuses what another site makes a browser send", async () => {
  const sources = sourcesWith();
  await withServer(startAdminServer({ ...on("admin"), sources }), async (_, port) => {
    const cases: [status: string, host: string, origin?: string][] = [
      ["200", `localhost:${port}`],
      ["200", `127.0.0.1:${port}`],
      ["200", `[::1]:${port}`],
      ["200", `localhost:${port}`, `http://localhost:${port}`],
      ["403", `localhost:${port}`, "https://evil.example"],
      ["403", `localhost:${port}`, "http://localhost:1"],
      ["403", `localhost:${port}`, "null"],
      ["403", `evil.example:${port}`],
      ["403", `evil.example:${port}`, `http://evil.example:${port}`],
      ["403", "127.0.0.1.evil.example"],
    ];
    for (const [status, host, origin] of cases) {
      const quitsBefore = sources.quits;
      const response = await raw(
        port,
        `POST /quitquitquit HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n` +
          `${origin === undefined ? "" : `Origin: ${origin}\r\n`}\r\n`,
      );
      strictEqual(statusOf(response), status, `${host} ${origin}`);
      strictEqual(sources.quits - quitsBefore, status === "200" ? 1 : 0);
    }
  });
});

Deno.test("config_dump is what JSON.stringify with two spaces would write, keys in order", async () => {
  const [first, second] = manyWorkloads(2);
  const services = new Map([["ns/host" as const, new Map([[80, 8080]])]]);
  const mesh = meshOf([second!, { ...first!, services }]);
  const connections = {
    inbound: [],
    outbound: [{
      src: "10.0.0.1:1",
      originalDst: "10.0.0.2:2",
      actualDst: "10.0.0.3:15008",
      protocol: "HBONE" as const,
    }],
  };
  // Two data threads met the same peer, and a stranger knocked from two ports.
  const peer = { identity: "spiffe://td/ns/a/sa/b", address: "10.0.0.1:1" };
  const stranger = { identity: null, violations: { handshake: 1 } };
  const floods = [
    { ...peer, violations: { ping: 2, settings: 1 }, lastSeen: "2026-01-01T00:00:02.000Z" },
    { ...stranger, address: "[fd00::1]:1", lastSeen: "2026-01-01T00:00:03.000Z" },
    { ...peer, violations: { ping: 3 }, lastSeen: "2026-01-01T00:00:01.000Z" },
    { ...stranger, address: "[fd00::1]:2", lastSeen: "2026-01-01T00:00:04.000Z" },
  ];
  // What a terminal would obey is escaped, and still the same text.
  const xds = { state: "connected", types: [], lastError: "\x9b2J\x7f\u202e" };
  const tunnels = [{
    direction: "outbound" as const,
    peer: "10.0.0.3:15008",
    identity: peer.identity,
    streams: 1,
    roundTripMs: 0.3,
  }];
  const sources = sourcesWith({
    mesh,
    report: () => Promise.resolve({ connections, tunnels, floods }),
    xds: () => xds,
  });
  await withServer(startAdminServer({ ...on("admin"), sources }), async (base) => {
    const response = await fetch(`${base}/config_dump`);
    strictEqual(response.headers.get("content-type"), "application/json");
    const text = await response.text();
    const dump = JSON.parse(text);
    const plain = `${JSON.stringify(dump, null, 2)}\n`;
    strictEqual(text, plain.replace("\x9b2J\x7f\u202e", "\\u009b2J\\u007f\\u202e"));
    deepStrictEqual(Object.keys(dump), [
      "certificates",
      "config",
      "connections",
      "floodViolations",
      "policies",
      "services",
      "stagedServices",
      "staticConfig",
      "tunnels",
      "version",
      "workloads",
      "xds",
    ]);
    deepStrictEqual(dump.xds, xds);
    deepStrictEqual(dump.connections, connections);
    deepStrictEqual(dump.tunnels, tunnels);
    deepStrictEqual(dump.floodViolations, [
      { ...floods[0], violations: { ping: 5, settings: 1 } },
      { ...floods[3], violations: { handshake: 2 } },
    ]);
    deepStrictEqual(dump.stagedServices, {
      "ns/host": {
        [first!.uid]: { workloadUid: first!.uid, port: { 80: 8080 }, status: "Healthy" },
      },
    });
    deepStrictEqual(dump.workloads.map(({ name }: { name: string }) => name), ["pod-0", "pod-1"]);
  });
});

Deno.test("config_dump of 20,000 workloads lets other requests through", async () => {
  const workloads = manyWorkloads(20_000);
  const sources = sourcesWith({ mesh: meshOf(workloads) });
  await withServer(startAdminServer({ ...on("admin"), sources }), async (base) => {
    let others = 0;
    let isDone = false;
    const dumping = fetch(`${base}/config_dump`).then((response) => response.json())
      .finally(() => isDone = true);
    while (!isDone) {
      await (await fetch(`${base}/`)).text();
      others++;
    }
    const uids = (await dumping).workloads.map(({ uid }: { uid: string }) => uid);
    deepStrictEqual(uids, workloads.map(({ uid }) => uid).sort());
    ok(others > 10, `only ${others} others`);
  });
});

Deno.test("config_dump of a mesh that changes meanwhile has what is there when its turn comes", async () => {
  const mesh = createMesh({});
  const names = Array.from({ length: 3_000 }, (_, at) => `${at}`.padStart(4, "0"));
  for (const [at, workload] of manyWorkloads(3_000).entries()) {
    const services = new Map([[`ns/${names[at]!}.ns` as const, new Map([[80, 8080]])]]);
    mesh.writer.upsertWorkload({ ...workload, uid: names[at]!, services });
  }
  mesh.writer.commit();
  let turns = 0;
  const sources = sourcesWith({ mesh: mesh.view });
  const pieces = await configDump(sources, async () => {
    if (turns++ > 0) return;
    for (const name of names.slice(1_000)) mesh.writer.removeAddress(name);
    mesh.writer.commit();
    await Promise.resolve();
  });
  let text = "";
  for await (const piece of pieces) text += piece;
  ok(turns > 1, `${turns} turns`);
  const uids = JSON.parse(text).workloads.map(({ uid }: { uid: string }) => uid);
  deepStrictEqual(uids, names.slice(0, 1_000));
  const [recordsCount] = sources.dumps;
  ok(sources.dumps.length === 1 && recordsCount! >= 1_000 && recordsCount! <= 3_000);
});

Deno.test("config_dump that cannot be made is a 500 with the reason", async () => {
  const sources = sourcesWith({
    staticConfig: () => Promise.reject(new Error("cannot read local.yaml")),
  });
  await withServer(startAdminServer({ ...on("admin"), sources }), async (_, port) => {
    const response = await ask(port, "GET /config_dump");
    strictEqual(statusOf(response), "500");
    strictEqual(bodyOf(response), "cannot read local.yaml\n");
  });
});
