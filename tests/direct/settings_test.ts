/** Settings of the environment that show in what the process does, not only in what it has parsed (behaviour.md 1.2). */
import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { createDevAuthority } from "#certs";
import { createKernel } from "#linux";
import { realClock } from "#system";
import { createTls } from "#tls";
import { Ip, SpiffeId } from "#values";
import { until } from "../support/netns.ts";
import { doublingServer, ProxyProcess, socksConnect } from "../support/proxy_process.ts";
import { fields, FLAG, frame, RawPeer, TYPE } from "../support/h2_raw.ts";

const IP = "127.1.7.1";
const HOSTNAME = "one.shop.svc.mesh.test";
const ONE = SpiffeId.of("cluster.local", "shop", "one");
const MESH = `
workloads:
- { uid: c//Pod/shop/one, name: one, namespace: shop, serviceAccount: one, trustDomain: cluster.local, node: local,
    workloadIps: ["${IP}"], protocol: HBONE, workloadName: one, services: { shop/${HOSTNAME}: { 80: 8080 } } }
services:
- { name: one, namespace: shop, hostname: ${HOSTNAME}, vips: ["/10.96.0.10"], ports: { 80: 8080 } }
policies:
- { name: trial, namespace: shop, scope: Namespace, action: Deny, dryRun: true, rules: [[[{ destinationPorts: [8080] }]]] }
`;

async function withProxy(
  env: Readonly<Record<string, string>>,
  body: (proxy: ProxyProcess) => Promise<void>,
): Promise<void> {
  const meshPath = await Deno.makeTempFile({ suffix: ".yaml" });
  await Deno.writeTextFile(meshPath, MESH);
  await using _application = doublingServer(IP, 8080);
  await using proxy = await ProxyProcess.start({ ip: IP, workload: "one", meshPath, env });
  try {
    await body(proxy);
  } finally {
    await Deno.remove(meshPath);
  }
}

/** A connection by SOCKS5 that has carried a byte each way. */
async function opened(host: string): Promise<Deno.TcpConn> {
  const connection = await socksConnect(IP, host, 80);
  await connection.write(Uint8Array.of(1));
  ok(await connection.read(new Uint8Array(9)));
  return connection;
}

/** An HBONE connection that has been answered one CONNECT. */
async function rawTunnel(): Promise<RawPeer> {
  const dialer = createKernel({ clock: realClock }).dialer({});
  const stream = await dialer.dial({ ip: Ip.parse(IP)!, port: 15008 }, { timeoutMs: 30_000 });
  const authority = await createDevAuthority(realClock);
  const bundle = await authority.sign(SpiffeId.of("cluster.local", "shop", "peer"), 3_600_000);
  const peer = await RawPeer.client(
    (await createTls(realClock, {}).client(stream, bundle, [ONE])).stream,
  );
  const connect = fields([":method", "CONNECT"], [":authority", `${IP}:8080`], [
    "baggage",
    "k8s.namespace.name=elsewhere",
  ]);
  await peer.send(frame(TYPE.headers, FLAG.endHeaders, 1, connect));
  ok(await peer.of(TYPE.headers, 1));
  return peer;
}

/** Seconds until the kernel's keepalive timer fires on connections to the application. */
async function keepaliveSeconds(): Promise<number[]> {
  const address = [...Ip.toBytes(Ip.parse(IP)!)].reverse()
    .map((byte) => byte.toString(16).padStart(2, "0").toUpperCase()).join("");
  const port = (8080).toString(16).toUpperCase().padStart(4, "0");
  const rows = (await Deno.readTextFile("/proc/net/tcp")).split("\n").map((row) =>
    row.trim().split(/\s+/)
  );
  // Columns: remote address, state (01: established), timer (02: keepalive) with its time in hundredths.
  return rows.filter((row) =>
    row[2] === `${address}:${port}` && row[3] === "01" && row[5]?.startsWith("02:")
  )
    .map((row) => Math.round(parseInt(row[5]!.slice(3), 16) / 100));
}

Deno.test("names, node, keepalive, policy notes and the version are as the environment says", () =>
  withProxy({
    NODE_NAME: "local",
    CLUSTER_DOMAIN: "mesh.test",
    KEEPALIVE_TIME: "77s",
    AUTHZ_POLICY_INFO_LOGGING: "true",
    ISTIO_META_ISTIO_VERSION: "1.2.3",
  }, async (proxy) => {
    const connection = await opened("one.shop");
    const seconds = await keepaliveSeconds();
    ok(seconds.length > 0 && seconds.every((each) => each > 70 && each <= 77), `${seconds}`);
    connection.close();
    await until("the lines", () => proxy.lines.length === 2, () => proxy.output);
    match(proxy.output, /info\tproxy:inbound\{.*dry.?run.*policy="?shop\/trial/i);
    match(await proxy.metrics(), /istio_build\{component="ztunnel",tag="1\.2\.3"\} 1/);
  }));

Deno.test("without keepalive the kernel has no timer for connections of ours", () =>
  withProxy({ KEEPALIVE_ENABLED: "false" }, async (proxy) => {
    const connection = await opened(HOSTNAME);
    deepStrictEqual(await keepaliveSeconds(), []);
    connection.close();
    await until("the lines", () => proxy.lines.length === 2, () => proxy.output);
  }));

Deno.test("HTTP/2 windows and frames are announced as set, and baggage is sent and believed only if allowed", async () => {
  const setting = (payload: Uint8Array, id: number): number | undefined => {
    const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
    for (let at = 0; at < payload.length; at += 6) {
      if (view.getUint16(at) === id) return view.getUint32(at + 2);
    }
  };
  const sizes = {
    HTTP2_STREAM_WINDOW_SIZE: "1111111",
    HTTP2_CONNECTION_WINDOW_SIZE: "2222222",
    HTTP2_FRAME_SIZE: "33333",
  };
  for (const allowed of [true, false]) {
    await withProxy({ ...sizes, ENABLE_RESPONSE_BAGGAGE: String(allowed) }, async (proxy) => {
      const peer = await rawTunnel();
      const settings = await peer.next(({ type, flags }) => type === TYPE.settings && flags === 0);
      const update = await peer.next(({ type, id }) => type === TYPE.windowUpdate && id === 0);
      const found = [3, 4, 5, 6].map((id) => setting(settings!.payload, id));
      deepStrictEqual(found, [200, 1_111_111, 33_333, 65_536]);
      strictEqual(new DataView(update!.payload.buffer).getUint32(0) + 65_535, 2_222_222);
      // Literal or Huffman-coded, an answer with baggage is longer than its status and little else.
      const { payload } = (await peer.of(TYPE.headers, 1))!;
      strictEqual(payload.length > 20, allowed, `${payload.length} bytes of headers`);
      peer.stream.abort();
      await peer.stream.closed;
      await until("the line", () => proxy.lines.length === 1, () => proxy.output);
      strictEqual(/src\.namespace="elsewhere"/.test(proxy.output), allowed, proxy.output);
    });
  }
});
