import { configDump } from "#config";
import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { configOf } from "./support.ts";

/** The keys of ztunnel's own dump and their JSON types, which Kiali decodes strictly. */
const SHAPE: Readonly<Record<string, string>> = {
  adminAddr: "object",
  altCaHostname: "string?",
  altXdsHostname: "string?",
  caAddress: "string?",
  caHeaders: "array",
  caRootCert: "object",
  clusterDomain: "string",
  clusterId: "string",
  connectionWindowSize: "number",
  crlPath: "string?",
  dnsProxy: "boolean",
  dnsProxyAddr: "object",
  dnsResolverCfg: "object",
  dnsResolverOpts: "object",
  enableEnhancedBaggage: "boolean",
  fakeCa: "boolean",
  fakeSelfInbound: "boolean",
  frameSize: "number",
  illegalPorts: "array",
  inboundAddr: "string",
  inboundPlaintextAddr: "string",
  inpodPortReuse: "boolean",
  inpodUds: "string",
  ipv6Enabled: "boolean",
  localNode: "string?",
  localhostAppTunnel: "boolean",
  network: "string",
  numWorkerThreads: "number",
  outboundAddr: "string",
  packetMark: "number?",
  poolMaxStreamsPerConn: "number",
  poolUnusedReleaseTimeout: "object",
  preferedServiceNamespace: "string?",
  proxy: "boolean",
  proxyArgs: "string",
  proxyMetadata: "object",
  proxyMode: "string",
  proxyWorkloadInformation: "object",
  readinessAddr: "object",
  requireOriginalSource: "boolean?",
  secretTtl: "object",
  selfTerminationDeadline: "object",
  socketConfig: "object",
  socks5Addr: "string?",
  statsAddr: "object",
  windowSize: "number",
  xdsAddress: "string?",
  xdsHeaders: "array",
  xdsOnDemand: "boolean",
  xdsRootCert: "object",
  ztunnelIdentity: "string?",
  ztunnelWorkload: "object?",
};

const RESOLVER_OPTIONS = [
  ...["allow_answers", "attempts", "avoid_local_udp_ports", "cache_size", "case_randomization"],
  ...["deny_answers", "edns0", "edns_payload_len", "ip_strategy", "max_active_requests", "ndots"],
  ...["negative_max_ttl", "negative_min_ttl", "num_concurrent_reqs", "os_port_selection"],
  ...["positive_max_ttl", "positive_min_ttl", "preserve_intermediates", "recursion_desired"],
  ...["server_ordering_strategy", "timeout", "trust_anchor", "try_tcp_on_error", "use_hosts_file"],
];

function jsonType(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}

Deno.test("configDump() has ztunnel's keys with ztunnel's JSON types, sorted", () => {
  const env = { POD_NAME: "z", POD_NAMESPACE: "i", SERVICE_ACCOUNT: "s", NODE_NAME: "n" };
  for (const config of [configOf({}), configOf({ env })]) {
    const dump = JSON.parse(JSON.stringify(configDump(config)));
    deepStrictEqual(Object.keys(dump), Object.keys(SHAPE));
    for (const [key, type] of Object.entries(SHAPE)) {
      const found = jsonType(dump[key]);
      ok(found === type.replace("?", "") || (type.endsWith("?") && found === "null"), key);
    }
    deepStrictEqual(Object.keys(dump.dnsResolverOpts), RESOLVER_OPTIONS);
  }
});

Deno.test("configDump() writes addresses, durations and roots as ztunnel does", () => {
  const env = {
    IPV6_ENABLED: "false",
    UNSTABLE_ENABLE_SOCKS5: "true",
    POOL_UNUSED_RELEASE_TIMEOUT: "1500ms",
    CA_ROOT_CA: "SYSTEM",
    ENABLE_ORIG_SRC: "false",
    PACKET_MARK: "7",
  };
  const dump = configDump(configOf({ env, args: ["proxy", "ztunnel"] }));
  const some = Object.fromEntries(
    Object.entries({
      adminAddr: { Localhost: [false, 15000] },
      dnsProxyAddr: { Localhost: [false, 15053] },
      statsAddr: { SocketAddr: "0.0.0.0:15020" },
      readinessAddr: { SocketAddr: "0.0.0.0:15021" },
      inboundAddr: "0.0.0.0:15008",
      inboundPlaintextAddr: "0.0.0.0:15006",
      outboundAddr: "0.0.0.0:15001",
      socks5Addr: "127.0.0.1:15080",
      illegalPorts: [15008, 15006, 15001, 15080],
      poolUnusedReleaseTimeout: { nanos: 500_000_000, secs: 1 },
      secretTtl: { nanos: 0, secs: 86_400 },
      caRootCert: "Default",
      xdsRootCert: { File: "./var/run/secrets/istio/root-cert.pem" },
      proxyMode: "Dedicated",
      proxyWorkloadInformation: { name: "web-1", namespace: "shop", serviceAccount: "web" },
      requireOriginalSource: false,
      packetMark: 7,
      proxyArgs: "proxy ztunnel",
    }).map(([key, value]) => [key, [dump[key], value]]),
  );
  for (const [key, [actual, expected]] of Object.entries(some)) {
    deepStrictEqual(actual, expected, key);
  }
  strictEqual(configDump(configOf({}))["inboundAddr"], "[::]:15008");
});

Deno.test("configDump() shows every listener on ZTUNNEL_BIND_ADDRESS", () => {
  const env = { ZTUNNEL_BIND_ADDRESS: "127.0.7.2", UNSTABLE_ENABLE_SOCKS5: "true" };
  const dump = configDump(configOf({ env }));
  deepStrictEqual(dump["adminAddr"], { SocketAddr: "127.0.7.2:15000" });
  deepStrictEqual(dump["dnsProxyAddr"], { SocketAddr: "127.0.7.2:15053" });
  deepStrictEqual(dump["statsAddr"], { SocketAddr: "127.0.7.2:15020" });
  strictEqual(dump["socks5Addr"], "127.0.7.2:15080");
  strictEqual(dump["outboundAddr"], "127.0.7.2:15001");
});

Deno.test("configDump() lists the name servers over UDP and TCP", () => {
  const connection = (type: string) => ({ bind_addr: null, port: 53, protocol: { type } });
  deepStrictEqual(configDump(configOf({}))["dnsResolverCfg"], {
    domain: null,
    name_servers: [{
      connections: [connection("udp"), connection("tcp")],
      ip: "10.96.0.10",
      trust_negative_responses: true,
    }],
    search: [],
  });
});

Deno.test("configDump() shows no token, header value, local mesh or inline root", () => {
  const secret = "s3cr3t-value";
  const env = {
    AUTH_TOKEN: secret,
    XDS_HEADER_authorization: secret,
    LOCAL_XDS: secret,
    CA_ROOT_CA: `-----BEGIN CERTIFICATE-----\n${secret}`,
  };
  const config = configOf({ env });
  const text = JSON.stringify(configDump(config));
  ok(!text.includes(secret));
  match(text, /authorization/);
  strictEqual(configDump(config)["caRootCert"], "Static");
});
