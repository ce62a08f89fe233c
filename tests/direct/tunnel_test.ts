/** What a peer is answered that speaks HBONE itself, well or badly (behaviour.md 8.2, 8.3, 8.4, 16.2). */
import { match, ok, strictEqual } from "node:assert/strict";
import { createDevAuthority } from "#certs";
import { TunnelPool } from "#hbone";
import { createKernel } from "#linux";
import { realClock } from "#system";
import { createTls } from "#tls";
import { Ip, Refusal, type SocketAddress, SpiffeId } from "#values";
import { until } from "../support/netns.ts";
import { doublingServer, ProxyProcess } from "../support/proxy_process.ts";
import { fields, FLAG, frame, RawPeer, TYPE } from "../support/h2_raw.ts";
import { SETTINGS } from "../unit/hbone/support.ts";

const IP = "127.1.6.1";
const HOP: SocketAddress = { ip: Ip.parse(IP)!, port: 15008 };
const SERVER = SpiffeId.of("cluster.local", "shop", "server");
const PEER = SpiffeId.of("cluster.local", "shop", "peer");
const FOREIGNER = SpiffeId.of("other.test", "shop", "peer");
const HOSTNAME = "server.shop.svc.cluster.local";

const MESH = `
workloads:
- { uid: c//Pod/shop/server, name: server, namespace: shop, serviceAccount: server, trustDomain: cluster.local,
    workloadIps: ["${IP}"], protocol: HBONE, workloadName: server, canonicalName: server, clusterId: c,
    services: { shop/${HOSTNAME}: { 80: 8080, 81: 8080 } } }
services:
- { name: server, namespace: shop, hostname: ${HOSTNAME}, vips: ["/10.96.0.10"], ports: { 80: 8080, 81: 0 } }
policies:
- { name: no, namespace: shop, scope: Namespace, action: Deny, rules: [[[{ destinationPorts: [8081] }]]] }
`;

/** The parts of a client proxy, with a certificate for whoever is asked for. */
async function clientParts() {
  const authority = await createDevAuthority(realClock);
  return {
    bundleOf: (identity: SpiffeId) => authority.sign(identity, 3_600_000),
    dialer: createKernel({ clock: realClock }).dialer({}),
    tls: createTls(realClock, {}),
  };
}

async function withServer(body: (server: ProxyProcess) => Promise<void>): Promise<void> {
  const meshPath = await Deno.makeTempFile({ suffix: ".yaml" });
  await Deno.writeTextFile(meshPath, MESH);
  await using _application = doublingServer(IP, 8080);
  await using server = await ProxyProcess.start({ ip: IP, workload: "server", meshPath });
  try {
    await body(server);
  } finally {
    await Deno.remove(meshPath);
  }
}

Deno.test("a CONNECT gets the status of its case, and the log says why", () =>
  withServer(async (server) => {
    const { bundleOf, dialer, tls } = await clientParts();
    const pool = new TunnelPool({
      bundleOf,
      dialer,
      tls,
      clock: realClock,
      settings: SETTINGS,
      streamsPerConnectionMax: 100,
      idleReleaseMs: 60_000,
    });
    const key = { source: PEER, expected: [SERVER], hop: HOP, client: Ip.parse("127.0.0.1")! };
    const table: readonly (readonly [authority: string, status: number, line?: RegExp])[] = [
      [`${IP}:8080`, 200],
      // A port by number, and one that only the workload knows.
      [`${HOSTNAME}:80`, 200],
      [`${HOSTNAME}:81`, 200],
      ["127.1.6.9:8080", 400, /warn.*error="ip mismatch: 127\.1\.6\.1 != 127\.1\.6\.9"/],
      ["[fd00::9]:8080", 400, /warn.*error="ip mismatch: 127\.1\.6\.1 != fd00::9"/],
      ["no-port", 400, /warn.*error="cannot use authority \\"no-port\\"/],
      [`${IP}:8081`, 401, /error.*policy rejection: explicitly denied by: shop\/no"/],
      [`${IP}:8082`, 503, /error.*error="connection failed: /],
      [`${IP}:15001`, 503, /warn.*error="attempted recursive call to ourselves"/],
      [`${IP}:15080`, 503, /warn.*error="attempted recursive call to ourselves"/],
      [`${HOSTNAME}:82`, 503, /warn.*has no usable port 82"/],
      ["nobody.shop.svc.cluster.local:80", 503, /warn.*no service named/],
    ];
    for (const [authority, status, line] of table) {
      const request = { authority, headers: new Map<string, string[]>() };
      try {
        const { stream, headers } = await pool.open(key, request);
        strictEqual(status, 200, authority);
        match(
          headers.get("baggage")?.[0] ?? "",
          /^k8s\.cluster\.name=c,k8s\.namespace\.name=shop,/,
        );
        await stream.write(new TextEncoder().encode("ab"));
        await stream.closeWrite();
        let text = "";
        for (let chunk = await stream.read(); chunk !== null; chunk = await stream.read()) {
          text += new TextDecoder().decode(chunk);
        }
        strictEqual(text, "abab", authority);
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        const { failure } = error;
        strictEqual(
          failure.kind === "http_status" && failure.status,
          status,
          `${authority}: ${error}`,
        );
      }
      if (line !== undefined) {
        await until(
          authority,
          () => server.lines.some((text) => line.test(text)),
          () => server.output,
        );
      }
    }
    // One connection carried them all: a refused request concerns no other.
    strictEqual(pool.connectionsCount, 1);
    pool.destroy();
    strictEqual(await server.sum("istio_tcp_connections_failed_total", 'response_flags="DENY"'), 1);
    // What is refused before there is a request is in the log alone.
    strictEqual(await server.sum("istio_tcp_connections_opened_total"), 5);
  }));

Deno.test("a method other than CONNECT is answered 400, and the connection goes on", () =>
  withServer(async (server) => {
    const { bundleOf, dialer, tls } = await clientParts();
    const { stream } = await tls.client(
      await dialer.dial(HOP, { timeoutMs: 30_000 }),
      await bundleOf(PEER),
      [SERVER],
    );
    const peer = await RawPeer.client(stream);
    const get = fields([":method", "GET"], [":scheme", "https"], [":path", "/"], [
      ":authority",
      "a",
    ]);
    await peer.send(frame(TYPE.headers, FLAG.endHeaders | FLAG.endStream, 1, get));
    const answer = await peer.of(TYPE.headers, 1);
    // 0x8c is ":status: 400" in HPACK's static table (RFC 7541 appendix A).
    ok(answer?.payload.includes(0x8c), `${answer?.payload}`);
    const connect = fields([":method", "CONNECT"], [":authority", `${IP}:8080`]);
    await peer.send(frame(TYPE.headers, FLAG.endHeaders, 3, connect));
    // 0x88 is ":status: 200".
    ok((await peer.of(TYPE.headers, 3))?.payload.includes(0x88));
    stream.abort();
    await stream.closed;
    const line = /warn\taccess\tconnection failed\t.*error="cannot serve method \\"GET\\"/;
    await until("its line", () => line.test(server.output), () => server.output);
  }));

Deno.test("a peer of another trust domain is cut off at its handshake", () =>
  withServer(async (server) => {
    const { bundleOf, dialer, tls } = await clientParts();
    let isCutOff = false;
    try {
      const { stream } = await tls.client(
        await dialer.dial(HOP, { timeoutMs: 30_000 }),
        await bundleOf(FOREIGNER),
        [SERVER],
      );
      // TLS 1.3 lets a client finish before the server has judged it.
      while (await stream.read() !== null);
      isCutOff = true;
    } catch {
      isCutOff = true;
    }
    ok(isCutOff);
    await until("the line", () => /trust domain/.test(server.output), () => server.output);
    match(server.output, /warn\taccess\tconnection failed\t.*spiffe:\/\/other\.test.*trust domain/);
  }));
