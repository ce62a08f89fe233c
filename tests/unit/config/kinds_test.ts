import { variableTable } from "#config";
import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { configOf, parsed, problemsOf } from "./support.ts";

/** The value, or undefined if the start is refused for this variable and no other. */
function valueOf<T>(
  variable: string,
  text: string,
  read: (config: ReturnType<typeof configOf>) => T,
): T | undefined {
  const given = { env: { [variable]: text } };
  const problems = problemsOf(given);
  if (problems.length === 0) return read(configOf(given));
  strictEqual(problems.length, 1, problems.join("\n"));
  match(problems[0]!, new RegExp(`^invalid env var ${variable}="`));
  return undefined;
}

const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;

Deno.test("parseConfig() reads durations with every unit, sums, products and bare seconds", () => {
  const table: readonly (readonly [string, number | undefined])[] = [
    ["5s", 5_000],
    ["1m30s", 90_000],
    ["1m 30s", 90_000],
    ["24h", DAY_MS],
    ["500ms", 500],
    ["30", 30_000],
    ["0", 0],
    ["1y", 365 * DAY_MS],
    ["1mon", 30 * DAY_MS],
    ["2w", 14 * DAY_MS],
    ["1d", DAY_MS],
    ["1500µs", 1.5],
    ["1500μs", 1.5],
    ["1500us", 1.5],
    ["1000000ns", 1],
    ["1m+10s", 70_000],
    ["1m + 10", 70_000],
    ["1m*10", 10 * MINUTE_MS],
    ["2*3s+1", 7_000],
    ["", undefined],
    ["s", undefined],
    ["5 minutes", undefined],
    ["5x", undefined],
    ["1m30", undefined],
    ["-5s", undefined],
    ["1.5s", undefined],
    ["5s+", undefined],
    ["*2", undefined],
    ["1e9s", undefined],
    ["9".repeat(400), undefined],
    ["999999999999y", undefined],
  ];
  for (const [text, ms] of table) {
    strictEqual(
      valueOf("CONNECTION_TERMINATION_DEADLINE", text, (c) => c.drainDeadlineMs),
      ms,
      text,
    );
  }
});

Deno.test("parseConfig() takes only true and false as booleans", () => {
  for (const [text, value] of [["true", true], ["false", false]] as const) {
    strictEqual(valueOf("KEEPALIVE_ENABLED", text, (c) => c.keepalive.enabled), value);
  }
  for (const text of ["", "True", "1", "yes", " true", "0"]) {
    strictEqual(valueOf("KEEPALIVE_ENABLED", text, (c) => c.keepalive.enabled), undefined, text);
  }
});

Deno.test("parseConfig() takes whole numbers within their range", () => {
  const marks: readonly (readonly [string, number | undefined])[] = [
    ["0", 0],
    ["1337", 1337],
    ["4294967295", 4_294_967_295],
    ["4294967296", undefined],
    ["", undefined],
    ["-1", undefined],
    ["1.0", undefined],
    ["0x10", undefined],
    [" 1", undefined],
  ];
  for (const [text, value] of marks) {
    strictEqual(valueOf("PACKET_MARK", text, (c) => c.packetMark), value, text);
  }
  const streams: readonly (readonly [string, number | undefined])[] = [
    ["1", 1],
    ["65535", 65_535],
    ["65536", undefined],
    ["0", undefined],
  ];
  for (const [text, value] of streams) {
    strictEqual(
      valueOf("POOL_MAX_STREAMS_PER_CONNECTION", text, (c) => c.poolStreamsPerConnectionMax),
      value,
      text,
    );
  }
});

Deno.test("parseConfig() refuses HTTP/2 sizes that the RFC forbids", () => {
  const table: readonly (readonly [string, string, boolean])[] = [
    ["HTTP2_FRAME_SIZE", "16384", true],
    ["HTTP2_FRAME_SIZE", "16777215", true],
    ["HTTP2_FRAME_SIZE", "16383", false],
    ["HTTP2_FRAME_SIZE", "16777216", false],
    ["HTTP2_STREAM_WINDOW_SIZE", "2147483647", true],
    ["HTTP2_STREAM_WINDOW_SIZE", "2147483648", false],
    ["HTTP2_STREAM_WINDOW_SIZE", "0", false],
    ["HTTP2_CONNECTION_WINDOW_SIZE", "65535", true],
    ["HTTP2_CONNECTION_WINDOW_SIZE", "65534", false],
  ];
  for (const [variable, text, allowed] of table) {
    strictEqual(valueOf(variable, text, () => true), allowed || undefined, text);
  }
});

Deno.test("parseConfig() counts worker threads as ztunnel does", () => {
  const table: readonly (readonly [Readonly<Record<string, string>>, number])[] = [
    [{}, 2],
    [{ ZTUNNEL_WORKER_THREADS: "3" }, 3],
    [{ ZTUNNEL_WORKER_THREADS: "0" }, 16],
    [{ ZTUNNEL_WORKER_THREADS: "50%" }, 8],
    [{ ZTUNNEL_WORKER_THREADS: "1%" }, 1],
    [{ ZTUNNEL_WORKER_THREADS: "26%" }, 5],
    [{ ZTUNNEL_WORKER_THREADS: "100%" }, 16],
    [{ ZTUNNEL_WORKER_THREADS: "0", ZTUNNEL_CPU_LIMIT: "6" }, 6],
    [{ ZTUNNEL_CPU_LIMIT: "40" }, 10],
    [{ ZTUNNEL_CPU_LIMIT: "0" }, 2],
    [{ ZTUNNEL_RESOURCE_CPU_LIMIT: "500m" }, 1],
    [{ ZTUNNEL_RESOURCE_CPU_LIMIT: "1.5" }, 2],
    [{ ZTUNNEL_RESOURCE_CPU_LIMIT: "2", ZTUNNEL_RESOURCE_CPU_REQUEST: "3" }, 3],
    [{ ZTUNNEL_RESOURCE_CPU_REQUEST: "4500m" }, 5],
    [{ ZTUNNEL_RESOURCE_CPU_LIMIT: "5", ZTUNNEL_CPU_LIMIT: "9", ZTUNNEL_WORKER_THREADS: "0" }, 5],
    [{ PROXY_CONFIG: "concurrency: 7" }, 7],
    [{ PROXY_CONFIG: "concurrency: 0" }, 16],
    [{ PROXY_CONFIG: "concurrency: 7", ZTUNNEL_WORKER_THREADS: "2" }, 2],
  ];
  for (const [env, threads] of table) {
    const cpuCount = Object.keys(env).length === 0 ? 1 : 16;
    strictEqual(configOf({ env, cpuCount }).workerThreads, threads, JSON.stringify(env));
  }
});

Deno.test("parseConfig() refuses bad thread counts, percentages and quantities", () => {
  const table: Readonly<Record<string, readonly string[]>> = {
    ZTUNNEL_WORKER_THREADS: ["", "0%", "101%", "%", "-1", "two", "50 %", "100000"],
    ZTUNNEL_RESOURCE_CPU_LIMIT: ["", "0", "0m", "-1", "NaN", "inf", "1 m", "m", ".", "2x", "1e999"],
    ZTUNNEL_CPU_LIMIT: ["", "1.5", "500m"],
  };
  for (const [variable, texts] of Object.entries(table)) {
    for (const text of texts) {
      strictEqual(
        valueOf(variable, text, (c) => c.workerThreads),
        undefined,
        `${variable}=${text}`,
      );
    }
  }
});

Deno.test("parseConfig() takes PROXY_WORKLOAD_INFO apart at the first two slashes", () => {
  const read = (text: string) => valueOf("PROXY_WORKLOAD_INFO", text, (c) => c.proxyWorkload);
  deepStrictEqual(read("ns/pod/sa"), { namespace: "ns", name: "pod", serviceAccount: "sa" });
  deepStrictEqual(read("ns/pod/a/b"), { namespace: "ns", name: "pod", serviceAccount: "a/b" });
  for (const text of ["", "ns", "ns/pod", "ns/pod/", "/pod/sa", "ns//sa"]) {
    strictEqual(read(text), undefined, text);
  }
});

Deno.test("parseConfig() reads DNS_PROXY_ADDR as localhost or an address, and names it when it is bad", () => {
  const read = (text: string) => valueOf("ISTIO_META_DNS_PROXY_ADDR", text, (c) => c.dnsAddress);
  deepStrictEqual(read("localhost:53"), { kind: "localhost", port: 53 });
  deepStrictEqual(read("[::1]:53"), { kind: "address", address: { ip: "::1", port: 53 } });
  for (const text of ["", "localhost", "localhost:", "localhost:70000", "dns.example:53", "53"]) {
    strictEqual(read(text), undefined, text);
  }
  const [problem] = problemsOf({ env: { ISTIO_META_DNS_PROXY_ADDR: "nowhere" } });
  match(problem!, /DNS_PROXY_ADDR must be localhost:PORT or IP:PORT/);
});

Deno.test("parseConfig() tells files, SYSTEM and PEM text apart in root settings", () => {
  const pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
  const table: readonly (readonly [string, unknown])[] = [
    ["SYSTEM", { kind: "system" }],
    [pem, { kind: "inline", pem }],
    ["/some/where.pem", { kind: "file", path: "/some/where.pem" }],
    ["", undefined],
    ["two\nlines", undefined],
    ["-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", undefined],
  ];
  for (const [text, root] of table) {
    deepStrictEqual(valueOf("CA_ROOT_CA", text, (c) => c.caRoot), root, text);
  }
});

Deno.test("parseConfig() adds headers from XDS_HEADER_* and CA_HEADER_*, keys in lower case", () => {
  const env = { XDS_HEADER_X_Tenant: "a b", "XDS_HEADER_x-b.c": "", CA_HEADER_k: "v" };
  const config = configOf({ env });
  deepStrictEqual(config.xdsHeaders, [["x_tenant", "a b"], ["x-b.c", ""]]);
  deepStrictEqual(config.caHeaders, [["k", "v"]]);
  for (const key of ["", "a b", "é", "data-bin", "grpc-timeout", ":path"]) {
    strictEqual(problemsOf({ env: { [`XDS_HEADER_${key}`]: "v" } }).length, 1, key);
  }
  for (const value of ["a\nb", "\u0000", "é"]) {
    strictEqual(problemsOf({ env: { CA_HEADER_k: value } }).length, 1, JSON.stringify(value));
  }
});

Deno.test("parseConfig() takes TRUE-only switches for off with any other text", () => {
  strictEqual(configOf({ env: { TLS12_ENABLED: "true" } }).tls12Enabled, true);
  strictEqual(configOf({ env: { TLS12_ENABLED: "TRUE" } }).tls12Enabled, false);
  strictEqual(configOf({ env: { AUTHZ_POLICY_INFO_LOGGING: "true" } }).policyInfoLogging, true);
  strictEqual(configOf({ env: { LOG_FORMAT: "json" } }).logFormat, "json");
  strictEqual(configOf({ env: { LOG_FORMAT: "yaml" } }).logFormat, "plain");
});

Deno.test("parseConfig() never throws, whatever text a variable holds", () => {
  const names = [...variableTable(100).matchAll(/^ {2}([A-Z0-9_]+?)(?:<name>)? {2}/gm)]
    .map(([, name]) => name!);
  ok(names.length >= 70, String(names.length));
  const texts = [
    ...[
      "",
      " ",
      "\n",
      "\0",
      "-1",
      "%",
      "/",
      "//",
      "://",
      "https://[",
      "localhost:",
      "{",
      "[",
      "&a [*a]",
    ],
    ...[
      "*",
      "+",
      "1s*",
      "[::]:1",
      "é",
      "\ud800",
      "a".repeat(70_000),
      "[".repeat(20_000),
      "__proto__",
    ],
  ];
  for (const name of names) {
    for (const text of texts) {
      const { config, problems } = parsed({ env: { [name]: text } });
      strictEqual(config === undefined, problems.length > 0, name);
    }
  }
});
