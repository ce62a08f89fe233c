import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { parsed, problemsOf, STARTS } from "./support.ts";

Deno.test("parseConfig() tells every problem at once", () => {
  const env = { ENABLE_PROXY: "yes", PROXY_WORKLOAD_INFO: "x", KEEPALIVE_TIME: "soon" };
  const names = parsed({ env }).problems.map(({ variable }) => variable).sort();
  deepStrictEqual(names, ["ENABLE_PROXY", "KEEPALIVE_TIME", "PROXY_WORKLOAD_INFO"]);
});

Deno.test("parseConfig() refuses what must not start", () => {
  const table: readonly (readonly [Readonly<Record<string, string | undefined>>, RegExp])[] = [
    [{ PROXY_MODE: "sidecar" }, /PROXY_MODE="sidecar": must be shared or dedicated/],
    [{ PROXY_MODE: "" }, /PROXY_MODE="": must be/],
    [{ ENABLE_PROXY: "false" }, /ENABLE_PROXY="false": neither the proxy nor the DNS proxy/],
    [{ PROXY_WORKLOAD_INFO: undefined }, /PROXY_WORKLOAD_INFO="\(unset\)": is required/],
    [{ LOCAL_XDS_PATH: "a.yaml" }, /LOCAL_XDS_PATH="a.yaml": .* both set/],
    [{ LOCAL_XDS: undefined, LOCAL_XDS_PATH: "" }, /LOCAL_XDS_PATH="": is set, but empty/],
    [
      { XDS_ON_DEMAND: "true", ISTIO_META_DNS_CAPTURE: "true" },
      /XDS_ON_DEMAND="true": cannot go together with the DNS proxy/,
    ],
    [{ SECRET_TTL: "900ms" }, /SECRET_TTL="900ms": must be at least one second/],
    [{ COMPLIANCE_POLICY: "pqc" }, /COMPLIANCE_POLICY="pqc": this runtime cannot restrict TLS/],
    [{ COMPLIANCE_POLICY: "fips" }, /COMPLIANCE_POLICY="fips": is not a policy that we know/],
    [{ AUTH_TOKEN: "" }, /AUTH_TOKEN="\(hidden\)": is set, but empty/],
    [{ ZTUNNEL_BIND_ADDRESS: "localhost" }, /ZTUNNEL_BIND_ADDRESS="localhost": must be an IPv4/],
    [{ ZTUNNEL_BIND_ADDRESS: "0.0.0.0" }, /must be one address/],
    [{ ZTUNNEL_BIND_ADDRESS: "::1", IPV6_ENABLED: "false" }, /IPV6_ENABLED is false/],
    [{ PROXY_CONFIG: "proxyAdminPort: 15008" }, /proxyAdminPort="15008": .*inbound listener/],
    [{ PROXY_CONFIG: "statsPort: 15000" }, /statsPort="15000": .*proxyAdminPort/],
    // What later versions will do.
  ];
  for (const [env, line] of table) {
    const problems = problemsOf({ env });
    strictEqual(problems.length, 1, problems.join("\n"));
    match(problems[0]!, line);
  }
});

Deno.test("parseConfig() takes nothing at all for a node's proxy beside istiod", () => {
  const env = Object.fromEntries(Object.keys(STARTS).map((name) => [name, undefined]));
  deepStrictEqual(problemsOf({ env }), []);
});

Deno.test("parseConfig() refuses the test authority wherever others could be fooled", () => {
  const table: readonly (readonly [Readonly<Record<string, string | undefined>>, RegExp])[] = [
    [{ KUBERNETES_SERVICE_HOST: "10.96.0.1" }, /KUBERNETES_SERVICE_HOST is set/],
    [{ PROXY_MODE: "shared" }, /the mode is shared/],
    [{ XDS_ADDRESS: "istiod:15012" }, /XDS_ADDRESS is not empty/],
    [{ XDS_ADDRESS: undefined }, /XDS_ADDRESS is not empty/],
  ];
  for (const [env, reason] of table) {
    const line = problemsOf({ env }).find((line) => line.includes("FAKE_CA"));
    match(line ?? "", reason);
    match(line ?? "", /the test authority's key is public/);
  }
});

Deno.test("parseConfig() checks root files that are there, and goes on without one that is missing", () => {
  const env = { FAKE_CA: "false", CA_ROOT_CA: "/root.pem" };
  const lines = (content?: string | Error) =>
    problemsOf({ env, files: content === undefined ? {} : { "/root.pem": content } })
      .filter((line) => line.includes("CA_ROOT_CA"));
  deepStrictEqual(lines(), []);
  deepStrictEqual(lines("-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----"), []);
  match(lines("hello")[0]!, /the file holds no PEM certificate/);
  match(lines(new Error("permission denied"))[0]!, /cannot be read: permission denied/);
});

Deno.test("parseConfig() never shows a secret", () => {
  const secret = "s3cr3t-value";
  const pem = `-----BEGIN CERTIFICATE-----\n${secret}\n-----END CERTIFICATE-----`;
  const cases: readonly Readonly<Record<string, string>>[] = [
    { AUTH_TOKEN: `${secret}\u0001` },
    { AUTH_TOKEN: `/${secret}` },
    { LOCAL_XDS: secret, LOCAL_XDS_PATH: "a" },
    { PROXY_CONFIG: `{ a: ${secret}` },
    { PROXY_CONFIG: `proxyMetadata: { ${"A"}: [${secret}] }` },
    { XDS_HEADER_authorization: `${secret}\n` },
    { "CA_HEADER_bad key": secret },
    { ISTIO_METAJSON_X: secret },
    { ZTUNNEL_TOKEN: secret },
    { XDS_ADDRESS: `https://user:${secret}@host:1` },
    { XDS_ROOT_CA: `-----BEGIN PRIVATE KEY-----${secret}` },
    { CA_ROOT_CA: pem, FAKE_CA: "false", XDS_ON_DEMAND: "maybe" },
  ];
  for (const env of cases) {
    const { warnings } = parsed({ env });
    const said = [...problemsOf({ env }), ...warnings];
    ok(said.length > 0, JSON.stringify(env));
    ok(!said.join("\n").includes(secret), said.join("\n"));
  }
});

Deno.test("parseConfig() keeps a bad value on one line and short", () => {
  const [line] = problemsOf({ env: { PROXY_MODE: `a\nb\u001b[31m${"x".repeat(1000)}` } });
  ok(!/\p{Cc}/u.test(line!));
  ok(line!.length < 250, line ?? "");
});

Deno.test("parseConfig() warns of names that look like its own, and of no others", () => {
  const names = (env: Record<string, string>) =>
    parsed({ env }).warnings.map((line) =>
      line.replace(" is not a variable of ztunnel and is ignored", "")
    );
  const table: readonly (readonly [string, readonly string[]])[] = [
    ["ZTUNNEL_WORKER_THREAD", ["ZTUNNEL_WORKER_THREAD; did you mean ZTUNNEL_WORKER_THREADS?"]],
    ["ZTUNNEL_ZZZZZZZZZZZZZZZZZZZZZ", ["ZTUNNEL_ZZZZZZZZZZZZZZZZZZZZZ"]],
    ["PACKET_MARKS", ["PACKET_MARKS; did you mean PACKET_MARK?"]],
    ["XDS_ADRESS", ["XDS_ADRESS; did you mean XDS_ADDRESS?"]],
    ["HTTP2_STREAM_WINDOW", []],
    ["ISTIO_META_ANYTHING", []],
    ["CLUSTER_IP", []],
    ["INSTANCE_ID", []],
    ["NODE_NAMES", []],
    ["MAC_ADDRESS", []],
    ["PATH", []],
    ["HOME", []],
    ["", []],
    ["__proto__", []],
  ];
  for (const [name, warnings] of table) deepStrictEqual(names({ [name]: "x" }), warnings, name);
  const links = {
    ZTUNNEL_SERVICE_HOST: "10.96.0.9",
    ZTUNNEL_SERVICE_PORT: "15008",
    ZTUNNEL_SERVICE_PORT_HBONE: "15008",
    ZTUNNEL_PORT: "tcp://10.96.0.9:15008",
    ZTUNNEL_PORT_15008_TCP_ADDR: "10.96.0.9",
  };
  deepStrictEqual(names(links), []);
});

Deno.test("parseConfig() warns of an environment that weakens TLS", () => {
  for (const name of ["NODE_EXTRA_CA_CERTS", "DENO_CERT", "SSLKEYLOGFILE"]) {
    const { config, warnings } = parsed({ env: { [name]: "/file" } });
    ok(config !== undefined);
    ok(warnings.some((line) => line.startsWith(`${name} is set`)), name);
  }
  const { config, warnings } = parsed({ env: { NODE_TLS_REJECT_UNAUTHORIZED: "0" } });
  ok(config !== undefined);
  match(warnings.join("\n"), /^NODE_TLS_REJECT_UNAUTHORIZED=0 changes nothing here/m);
});

Deno.test("parseConfig() warns when there is no mesh at all", () => {
  match(parsed({ env: { LOCAL_XDS: undefined } }).warnings[0]!, /the mesh is empty/);
});
