import { deepStrictEqual, match, ok, strictEqual, throws } from "node:assert/strict";
import { configOf, parsed, problemsOf } from "./support.ts";

const MESH = "./etc/istio/config/mesh";
const TOKEN = "./var/run/secrets/tokens/istio-token";

Deno.test("parseConfig() gives every setting its default", () => {
  const { build, ...config } = configOf({});
  strictEqual(build.version, "0.1.0");
  deepStrictEqual(config, {
    proxy: true,
    dnsProxy: false,
    proxyMode: "dedicated",
    proxyWorkload: { namespace: "shop", name: "web-1", serviceAccount: "web" },
    bindAddress: undefined,
    xdsAddress: undefined,
    caAddress: undefined,
    xdsRoot: { kind: "file", path: "./var/run/secrets/istio/root-cert.pem" },
    caRoot: { kind: "file", path: "./var/run/secrets/istio/root-cert.pem" },
    altXdsHostname: undefined,
    altCaHostname: undefined,
    authToken: undefined,
    xdsHeaders: [],
    caHeaders: [],
    xdsOnDemand: false,
    localSource: { kind: "inline", text: "workloads: []" },
    clusterId: "Kubernetes",
    clusterDomain: "cluster.local",
    network: "",
    localNode: undefined,
    ownWorkload: undefined,
    ownIdentity: undefined,
    podName: undefined,
    podNamespace: undefined,
    instanceIp: undefined,
    preferredServiceNamespace: undefined,
    secretTtlMs: 86_400_000,
    fakeCa: true,
    crlPath: undefined,
    tls12Enabled: false,
    packetMark: undefined,
    requireOriginalSource: undefined,
    localWorkloadWaitMs: 5_000,
    localhostAppTunnel: true,
    responseBaggage: true,
    ipv6Enabled: true,
    ipv6LoopbackEnabled: true,
    keepalive: {
      enabled: true,
      timeMs: 180_000,
      intervalMs: 180_000,
      retries: 9,
      userTimeoutEnabled: false,
    },
    http2: {
      streamWindowBytes: 4_194_304,
      connectionWindowBytes: 16_777_216,
      frameBytes: 1_048_576,
      explicitStreamWindow: false,
    },
    poolStreamsPerConnectionMax: 100,
    poolUnusedReleaseMs: 300_000,
    halfClosedLingerMs: 600_000,
    idleTimeoutMs: 0,
    drainDeadlineMs: 5_000,
    inpodUds: "/var/run/ztunnel/ztunnel.sock",
    inpodPortReuse: true,
    socks5: false,
    workerThreads: 2,
    inline: false,
    proxyMetadata: {},
    proxyMetadataJson: {},
    istioVersion: "unknown",
    ports: {
      outbound: 15001,
      inbound: 15008,
      inboundPlaintext: 15006,
      socks5: 15080,
      admin: 15000,
      stats: 15020,
      readiness: 15021,
    },
    dnsAddress: { kind: "localhost", port: 15053 },
    resolver: {
      nameServers: ["10.96.0.10"],
      domain: undefined,
      search: [],
      ndots: 1,
      attempts: 2,
      timeoutMs: 5_000,
    },
    logFilter: "info",
    logFormat: "plain",
    policyInfoLogging: false,
    proxyArgs: "",
    exitWithParent: false,
  });
});

Deno.test("parseConfig() prefers the environment, then PROXY_CONFIG, then the mesh file", () => {
  const files = {
    [MESH]: `
defaultConfig:
  proxyAdminPort: 15100
  statsPort: 15120
  concurrency: 3
  unknownField: [1, 2]
  proxyMetadata:
    ISTIO_META_A: file
    B: file
    C: file
`,
  };
  const fromFile = configOf({ files });
  deepStrictEqual(fromFile.proxyMetadata, { A: "file", B: "file", C: "file" });
  deepStrictEqual(
    [fromFile.ports.admin, fromFile.ports.stats, fromFile.workerThreads],
    [15100, 15120, 3],
  );
  const env = {
    PROXY_CONFIG: '{"proxyAdminPort": 15200, "proxyMetadata": {"B": "object", "C": "object"}}',
    ISTIO_META_C: "env",
    ZTUNNEL_WORKER_THREADS: "5",
  };
  const { ports, proxyMetadata, workerThreads } = configOf({ files, env });
  deepStrictEqual([ports.admin, ports.stats, workerThreads], [15200, 15120, 5]);
  deepStrictEqual(proxyMetadata, { A: "file", B: "object", C: "env" });
});

Deno.test("parseConfig() takes DNS settings from metadata too", () => {
  const env = { PROXY_CONFIG: "proxyMetadata: { DNS_PROXY_ADDR: 'localhost:54' }" };
  deepStrictEqual(configOf({ env }).dnsAddress, { kind: "localhost", port: 54 });
  const captured = parsed({
    env: { PROXY_CONFIG: 'proxyMetadata: { ISTIO_META_DNS_CAPTURE: "TRUE" }' },
  });
  strictEqual(captured.config?.dnsProxy, false);
  match(captured.warnings.join("\n"), /the DNS server comes with a later version/);
});

Deno.test("parseConfig() takes a number of threads, or none beside the main thread, without a word", () => {
  const asked = parsed({ env: { ZTUNNEL_WORKER_THREADS: "4", ZTUNNEL_INLINE: "true" } });
  deepStrictEqual(asked.warnings, []);
  deepStrictEqual([asked.config?.workerThreads, asked.config?.inline], [4, true]);
});

Deno.test("parseConfig() does without a mesh file, with an empty one, and with null fields", () => {
  for (const text of ["", "# nothing\n", "defaultConfig:\n", "defaultConfig: {statsPort: null}"]) {
    strictEqual(configOf({ files: { [MESH]: text } }).ports.stats, 15020, text);
  }
  strictEqual(configOf({ env: { PROXY_CONFIG: "" } }).ports.stats, 15020);
  strictEqual(configOf({ env: { PROXY_CONFIG: "{}" } }).ports.stats, 15020);
});

Deno.test("parseConfig() refuses a mesh file that it cannot use, and says why", () => {
  const table: readonly (readonly [string | Error, RegExp])[] = [
    ["defaultConfig: {", /Cannot parse the YAML/],
    ["a: 1\na: 2", /Cannot parse the YAML at line 2: Map keys must be unique/],
    ["- 1", /must be a mapping/],
    ["defaultConfig: 7", /defaultConfig must be a mapping/],
    ["defaultConfig: {statsPort: 70000}", /statsPort must be a whole number/],
    ["defaultConfig: {statsPort: '1'}", /statsPort must be a whole number/],
    ["defaultConfig: {discoveryAddress: 5}", /discoveryAddress must be text/],
    ["defaultConfig: {proxyMetadata: {A: true}}", /proxyMetadata.A must be text/],
    ["[".repeat(100_000), /Cannot parse the YAML/],
    [new Error("permission denied"), /permission denied/],
  ];
  for (const [content, reason] of table) {
    const problems = problemsOf({ files: { [MESH]: content } });
    strictEqual(problems.length, 1, problems.join("\n"));
    match(problems[0]!, /^invalid config file \.\/etc\/istio\/config\/mesh: /);
    match(problems[0]!, reason);
  }
  match(problemsOf({ env: { PROXY_CONFIG: "{" } })[0]!, /PROXY_CONFIG="\(hidden\)": Cannot parse/);
});

Deno.test("parseConfig() takes the drain deadline from the grace period unless one is set", () => {
  const table: readonly (readonly [string | undefined, string | undefined, number])[] = [
    [undefined, undefined, 5_000],
    ["30", undefined, 25_000],
    ["11", undefined, 6_000],
    ["10", undefined, 9_000],
    ["2", undefined, 1_000],
    ["1", undefined, 1_000],
    ["0", undefined, 1_000],
    ["30", "3s", 3_000],
  ];
  for (const [grace, explicit, ms] of table) {
    const env = {
      TERMINATION_GRACE_PERIOD_SECONDS: grace,
      CONNECTION_TERMINATION_DEADLINE: explicit,
    };
    strictEqual(configOf({ env }).drainDeadlineMs, ms, JSON.stringify(env));
  }
});

Deno.test("parseConfig() takes https addresses only, with or without the scheme", () => {
  const refused = [
    "http://istiod:15012",
    "unix:///sock",
    "https://",
    "https://a b:1",
    "https://u:secret@istiod:1",
    "https://istiod:1/path",
    "istiod:0",
    "istiod:70000",
    "istiod:",
    "https://[::1",
  ];
  for (const text of refused) {
    const line = problemsOf({ env: { CA_ADDRESS: text, FAKE_CA: "false" } })[0]!;
    match(line, /^invalid env var CA_ADDRESS=/);
    ok(!line.includes("secret"), line);
  }
  for (const text of ["istiod:15012", "https://istiod:15012/", "HTTPS://istiod:15012"]) {
    strictEqual(xdsAddressOf({ XDS_ADDRESS: text }), "https://istiod:15012");
  }
  strictEqual(xdsAddressOf({ XDS_ADDRESS: undefined }), "https://localhost:15012");
  const inCluster = { XDS_ADDRESS: undefined, KUBERNETES_SERVICE_HOST: "10.96.0.1" };
  strictEqual(xdsAddressOf(inCluster), "https://istiod.istio-system.svc:15012");
  const files = { "./etc/istio/config/mesh": "defaultConfig: {discoveryAddress: 'cp.example:1'}" };
  strictEqual(xdsAddressOf({ XDS_ADDRESS: undefined }, files), "https://cp.example:1");
  strictEqual(xdsAddressOf({ XDS_ADDRESS: "" }, files), undefined);
  const empty = problemsOf({ env: { CA_ADDRESS: "", FAKE_CA: "false" } });
  match(empty[0]!, /CA_ADDRESS="": is empty, but FAKE_CA is off/);
  strictEqual(configOf({ env: { CA_ADDRESS: "nonsense://" } }).caAddress, undefined);
});

/** With a real CA, as it is wherever there is a control plane. */
function xdsAddressOf(
  env: Readonly<Record<string, string | undefined>>,
  files: Readonly<Record<string, string>> = {},
): string | undefined {
  return configOf({ env: { ...env, FAKE_CA: undefined }, files }).xdsAddress;
}

Deno.test("parseConfig() finds the token's file, or takes the text for the token", () => {
  const token = (env: Record<string, string>, files = {}) => configOf({ env, files }).authToken;
  strictEqual(token({}), undefined);
  deepStrictEqual(token({}, { [TOKEN]: "t" }), { kind: "file", value: TOKEN });
  deepStrictEqual(token({ AUTH_TOKEN: "eyJ.a.b\n" }), { kind: "literal", value: "eyJ.a.b" });
  deepStrictEqual(token({ AUTH_TOKEN: "name" }, { name: "t" }), { kind: "file", value: "name" });
  deepStrictEqual(token({ AUTH_TOKEN: "/later" }), { kind: "file", value: "/later" });
  const tooLong = { ["x".repeat(300)]: new Error("file name too long") };
  deepStrictEqual(token({ AUTH_TOKEN: "x".repeat(300) }, tooLong)?.kind, "literal");
});

Deno.test("parseConfig() freezes what it gives, all the way down", () => {
  const env = {
    ISTIO_METAJSON_DEEP: "[".repeat(5_000) + "]".repeat(5_000),
    ISTIO_METAJSON_O: '{"a":{}}',
  };
  const config = configOf({ env });
  const nested = config.proxyMetadataJson["O"] as { a: Record<string, unknown> };
  throws(() => Object.assign(config, { proxy: false }), TypeError);
  throws(() => Object.assign(config.keepalive, { retries: 1 }), TypeError);
  throws(() => Object.assign(nested.a, { b: 1 }), TypeError);
});

Deno.test("parseConfig() skips metadata that is no JSON, with a warning", () => {
  const { config, warnings } = parsed({
    env: { ISTIO_METAJSON_GOOD: '{"a": 1}', ISTIO_METAJSON_BAD: "{" },
  });
  deepStrictEqual(config?.proxyMetadataJson, { GOOD: { a: 1 } });
  deepStrictEqual(warnings, ["ISTIO_METAJSON_BAD is not valid JSON and is skipped"]);
});

Deno.test("parseConfig() knows itself when pod, namespace and account are all set", () => {
  const env = {
    POD_NAME: "ztunnel-a",
    POD_NAMESPACE: "istio-system",
    SERVICE_ACCOUNT: "ztunnel",
    TRUST_DOMAIN: "td",
  };
  const config = configOf({ env });
  strictEqual(config.ownIdentity, "spiffe://td/ns/istio-system/sa/ztunnel");
  strictEqual(config.ownWorkload?.name, "ztunnel-a");
  strictEqual(configOf({ env: { ...env, POD_NAME: undefined } }).ownWorkload, undefined);
});

Deno.test("parseConfig() lets ISTIO_META_CLUSTER_ID win over CLUSTER_ID", () => {
  strictEqual(configOf({ env: { CLUSTER_ID: "a" } }).clusterId, "a");
  strictEqual(configOf({ env: { CLUSTER_ID: "a", ISTIO_META_CLUSTER_ID: "b" } }).clusterId, "b");
});

Deno.test("parseConfig() binds DNS to ZTUNNEL_BIND_ADDRESS and warns when that is no loopback", () => {
  const env = { ZTUNNEL_BIND_ADDRESS: "127.0.7.1" };
  const { config, warnings } = parsed({ env });
  strictEqual(config?.bindAddress, "127.0.7.1");
  deepStrictEqual(config?.dnsAddress, {
    kind: "address",
    address: { ip: "127.0.7.1", port: 15053 },
  });
  deepStrictEqual(warnings, []);
  match(parsed({ env: { ZTUNNEL_BIND_ADDRESS: "10.0.0.1" } }).warnings[0]!, /have no login/);
  const shared = problemsOf({ env: { ...env, PROXY_MODE: "shared" } });
  ok(shared.some((line) => line.includes("can only be used in dedicated mode")));
});

Deno.test("parseConfig() leaves ::1 out where the loopback device has no IPv6", () => {
  const path = "/proc/sys/net/ipv6/conf/lo/disable_ipv6";
  strictEqual(configOf({ files: { [path]: "1\n" } }).ipv6LoopbackEnabled, false);
  strictEqual(configOf({ files: { [path]: "0\n" } }).ipv6LoopbackEnabled, true);
  strictEqual(configOf({ files: { [path]: new Error("no") } }).ipv6LoopbackEnabled, true);
  strictEqual(configOf({ env: { IPV6_ENABLED: "false" } }).ipv6LoopbackEnabled, false);
  const devices = { "/proc/net/dev": "lo: 0" };
  const without = configOf({ files: devices });
  deepStrictEqual([without.ipv6Enabled, without.ipv6LoopbackEnabled], [false, false]);
  strictEqual(configOf({ files: { ...devices, "/proc/net/if_inet6": "" } }).ipv6Enabled, true);
  strictEqual(
    configOf({ files: { ...devices, "/proc/net/if_inet6": new Error("no") } }).ipv6Enabled,
    true,
  );
});

Deno.test("parseConfig() reads resolv.conf, and refuses one that cannot be read", () => {
  const text = `# local
nameserver 10.0.0.1 # first
nameserver fd00::53
nameserver nonsense
domain example.org
search a.example b.example
options ndots:5 timeout:99 attempts:0 rotate
`;
  deepStrictEqual(configOf({ files: { "/etc/resolv.conf": text } }).resolver, {
    nameServers: ["10.0.0.1", "fd00::53"],
    domain: "example.org",
    search: ["a.example", "b.example"],
    ndots: 5,
    attempts: 1,
    timeoutMs: 30_000,
  });
  const problems = problemsOf({ files: { "/etc/resolv.conf": new Error("permission denied") } });
  deepStrictEqual(problems, [
    "invalid config file /etc/resolv.conf: cannot be read: permission denied",
  ]);
});
