/** The whole program as a process: what a user sends, reads in the log and scrapes (behaviour.md 16.1). */
import { deepStrictEqual, match, ok, rejects, strictEqual } from "node:assert/strict";
import { doublingServer, ProxyProcess, readToEnd, socksConnect } from "../support/proxy_process.ts";
import { until } from "../support/netns.ts";

const CLIENT = "127.1.1.1";
const SERVER = "127.1.1.2";
const PLAIN = "127.1.1.3";

const mesh = (policies = "[]") => `
workloads:
- { uid: c//Pod/shop/client, name: client, namespace: shop, serviceAccount: client, trustDomain: cluster.local,
    workloadIps: ["${CLIENT}"], protocol: HBONE, workloadName: client, canonicalName: client, canonicalRevision: v1,
    clusterId: c, locality: { region: eu, zone: eu-1, subzone: "" } }
- { uid: c//Pod/shop/server, name: server, namespace: shop, serviceAccount: server, trustDomain: cluster.local,
    workloadIps: ["${SERVER}"], protocol: HBONE, workloadName: server, canonicalName: server, canonicalRevision: v2,
    clusterId: c, services: { shop/server.shop.svc.cluster.local: { 80: 8080 } } }
- { uid: c//Pod/shop/plain, name: plain, namespace: shop, serviceAccount: plain, trustDomain: cluster.local,
    workloadIps: ["${PLAIN}"], protocol: TCP, workloadName: plain, canonicalName: plain, clusterId: c }
services:
- { name: server, namespace: shop, hostname: server.shop.svc.cluster.local, vips: ["/10.96.0.10"], ports: { 80: 8080 } }
- { name: empty, namespace: shop, hostname: empty.shop.svc.cluster.local, vips: ["/10.96.0.11"], ports: { 80: 8080 } }
- { name: behind, namespace: shop, hostname: behind.shop.svc.cluster.local, vips: ["/10.96.0.12"], ports: { 80: 8080 },
    waypoint: { destination: "/10.96.0.99", hboneMtlsPort: 15008 } }
policies: ${policies}
`;

/** A client's proxy, a server's proxy and three applications. */
async function withMesh(
  body: (client: ProxyProcess, server: ProxyProcess, meshPath: string) => Promise<void>,
  env: Readonly<Record<string, string>> = {},
): Promise<void> {
  const meshPath = await Deno.makeTempFile({ suffix: ".yaml" });
  await Deno.writeTextFile(meshPath, mesh());
  await using _application = doublingServer(SERVER, 8080);
  await using _plain = doublingServer(PLAIN, 8080);
  await using client = await ProxyProcess.start({ ip: CLIENT, workload: "client", meshPath, env });
  await using server = await ProxyProcess.start({ ip: SERVER, workload: "server", meshPath, env });
  try {
    await body(client, server, meshPath);
  } finally {
    await Deno.remove(meshPath);
  }
}

async function exchange(host: string, port: number): Promise<string> {
  const connection = await socksConnect(CLIENT, host, port);
  try {
    await connection.write(new TextEncoder().encode("hello world"));
    await connection.closeWrite();
    return new TextDecoder().decode(await readToEnd(connection));
  } finally {
    connection.close();
  }
}

const DOUBLED = "hello worldhello world";

Deno.test("a client that has finished and reads slowly gets the whole of a large answer", () =>
  withMesh(async () => {
    // Twice as much comes back: several times what all sockets on the way take.
    const whole = new Uint8Array(10 << 20);
    for (const host of [SERVER, PLAIN]) {
      const connection = await socksConnect(CLIENT, host, 8080);
      try {
        for (let at = 0; at < whole.length;) at += await connection.write(whole.subarray(at));
        await connection.closeWrite();
        await new Promise((resolve) => setTimeout(resolve, 500));
        const answer = await readToEnd(connection);
        strictEqual(answer.length, 2 * whole.length, host);
      } finally {
        connection.close();
      }
    }
  }));

Deno.test("traffic reaches an HBONE workload, a TCP workload, a VIP and a name, and is counted exactly", () =>
  withMesh(async (client, server) => {
    strictEqual(await exchange(SERVER, 8080), DOUBLED);
    strictEqual(await exchange("10.96.0.10", 80), DOUBLED);
    strictEqual(await exchange("server.shop.svc.cluster.local", 80), DOUBLED);
    strictEqual(await exchange("server", 80), DOUBLED);
    strictEqual(await exchange(PLAIN, 8080), DOUBLED);
    await until(
      "five lines",
      () => client.lines.length === 5 && server.lines.length === 4,
      () => client.output + server.output,
    );

    const tls = 'connection_security_policy="mutual_tls"';
    const counters = async (proxy: ProxyProcess, ...having: string[]) => [
      await proxy.sum("istio_tcp_connections_opened_total", ...having),
      await proxy.sum("istio_tcp_connections_closed_total", ...having),
      await proxy.sum("istio_tcp_received_bytes_total", ...having),
      await proxy.sum("istio_tcp_sent_bytes_total", ...having),
      await proxy.sum("istio_tcp_connections_failed_total", ...having),
    ];
    deepStrictEqual(await counters(client, 'reporter="source"', tls), [4, 4, 44, 88, 0]);
    deepStrictEqual(await counters(server, 'reporter="destination"', tls), [4, 4, 44, 88, 0]);
    deepStrictEqual(
      await counters(
        client,
        'destination_workload="plain"',
        'connection_security_policy="unknown"',
      ),
      [1, 1, 11, 22, 0],
    );
    match(await client.metrics(), /istio_build\{component="ztunnel",tag="unknown"\} 1/);
    match(await client.metrics(), /process_open_fds \d+/);

    const line = client.lines.find((text) => text.includes("dst.service="))!;
    match(
      line,
      /^\S+Z\tinfo\taccess\tconnection complete\tsrc\.addr=127\.0\.0\.1:\d+ src\.workload="client" src\.namespace="shop" src\.identity="spiffe:\/\/cluster\.local\/ns\/shop\/sa\/client" src\.cluster="c" dst\.addr=127\.1\.1\.2:15008 dst\.hbone_addr=127\.1\.1\.2:8080 dst\.service="server\.shop\.svc\.cluster\.local" dst\.workload="server" dst\.namespace="shop" dst\.identity="spiffe:\/\/cluster\.local\/ns\/shop\/sa\/server" dst\.cluster="c" direction="outbound" bytes_sent=11 bytes_recv=22 duration="\d+ms"$/,
    );
    match(server.lines[0]!, /direction="inbound" bytes_sent=22 bytes_recv=11 duration=/);
  }));

Deno.test("what cannot be reached is refused with its reason, never sent in clear", () =>
  withMesh(async (client) => {
    const outcome = async (host: string, port: number) => {
      await rejects(async () => {
        const answer = await exchange(host, port);
        // A closed connection without a byte is a refusal too.
        if (answer === "") throw new Error("nothing");
      });
    };
    await outcome("10.96.0.11", 80);
    await outcome("10.96.0.12", 80);
    await outcome("127.0.0.1", 15001);
    await outcome(SERVER, 8999);
    await rejects(socksConnect(CLIENT, "nobody.example.com", 80), /SOCKS5 reply 4/);
    await until("five lines", () => client.lines.length === 5, () => client.output);
    const log = client.output;
    match(log, /warn\taccess\tconnection failed\t.*error="no healthy upstream: 10\.96\.0\.11:80"/);
    match(log, /error\taccess\tconnection complete\t.*error="cannot reach .*waypoint/);
    match(log, /warn\taccess\tconnection failed\t.*error="attempted recursive call to ourselves"/);
    match(
      log,
      /error\taccess\tconnection complete\t.*error="http status: 503 Service Unavailable"/,
    );
    match(log, /the mesh has no address for \\"nobody\.example\.com\\"/);
    strictEqual(
      await client.sum("istio_tcp_connections_failed_total", 'response_flags="CONNECT"'),
      2,
      "the waypoint and the closed port",
    );
  }));

Deno.test("an edited mesh takes effect at once, a broken one is reported and changes nothing", () =>
  withMesh(async (client, server, meshPath) => {
    strictEqual(await exchange("10.96.0.10", 80), DOUBLED);
    await Deno.writeTextFile(
      meshPath,
      mesh().replace("protocol: HBONE, workloadName: server", "protocl: X"),
    );
    await until(
      "both complain",
      () => [client, server].every((proxy) => /protocl/.test(proxy.output)),
      () => client.output,
    );
    match(client.output, /error\t.*local mesh cannot be used.*:\d+:\d+: .*protocl/);
    strictEqual(await exchange("10.96.0.10", 80), DOUBLED);

    const live = await socksConnect(CLIENT, "10.96.0.10", 80);
    await live.write(new TextEncoder().encode("x"));
    ok(await live.read(new Uint8Array(8)));
    await Deno.writeTextFile(
      meshPath,
      mesh(
        "[{ name: no, namespace: shop, scope: Namespace, action: Deny, rules: [[[{ destinationPorts: [8080] }]]] }]",
      ),
    );
    // The answer may have come in two pieces.
    await rejects(async () => {
      while (await live.read(new Uint8Array(8)) !== null);
      throw new Error("ended");
    });
    live.close();
    await until("the late rejection", () => /closed due to policy change/.test(server.output));
    await rejects(async () => {
      if (await exchange("10.96.0.10", 80) === "") throw new Error("nothing");
    });
    await until(
      "the rejection",
      () =>
        /connection closed due to policy rejection: explicitly denied by: shop\/no/.test(
          server.output,
        ),
    );
    await until("the client's line", () => /http status: 401 Unauthorized/.test(client.output));
    strictEqual(await server.sum("istio_tcp_connections_failed_total", 'response_flags="DENY"'), 2);

    // SIGHUP reloads too, also what has not changed.
    server.signal("SIGHUP");
    await until("the reload", () => /nothing changed/.test(server.output), () => server.output);
  }));

Deno.test("the config dump shows what is configured, known and live", () =>
  withMesh(async (client) => {
    const live = await socksConnect(CLIENT, "10.96.0.10", 80);
    await live.write(new TextEncoder().encode("x"));
    ok(await live.read(new Uint8Array(8)));
    const dump = await (await fetch(`http://${CLIENT}:15000/config_dump`)).json();
    live.close();
    deepStrictEqual(
      dump.workloads.map((workload: { uid: string }) => workload.uid),
      ["c//Pod/shop/client", "c//Pod/shop/plain", "c//Pod/shop/server"],
    );
    strictEqual(dump.services.length, 3);
    strictEqual(dump.config.proxyMode, "Dedicated");
    strictEqual(dump.staticConfig.workloads.length, 3);
    deepStrictEqual(dump.staticConfig.workloads[1].services, {
      "shop/server.shop.svc.cluster.local": { 80: 8080 },
    });
    deepStrictEqual(dump.workloads[2].services, ["shop/server.shop.svc.cluster.local"]);
    const [certificate] = dump.certificates;
    strictEqual(certificate.identity, "spiffe://cluster.local/ns/shop/sa/client");
    strictEqual(certificate.state, "Available");
    match(certificate.certChain[0].serialNumber, /^\d+$/);
    strictEqual(dump.connections.outbound.length, 1);
    deepStrictEqual(
      { ...dump.connections.outbound[0], src: "" },
      { src: "", originalDst: "10.96.0.10:80", actualDst: `${SERVER}:15008`, protocol: "HBONE" },
    );
    ok(!JSON.stringify(dump).includes("PRIVATE KEY"));
    const level = await fetch(`http://${CLIENT}:15000/logging?level=access=debug`, {
      method: "POST",
    });
    match(await level.text(), /access=debug/);
    strictEqual(await exchange("10.96.0.10", 80), DOUBLED);
    await until("opened", () => /debug\taccess\tconnection opened/.test(client.output));
  }));

Deno.test("JSON lines have the same fields, flat", () =>
  withMesh(async (client) => {
    strictEqual(await exchange("10.96.0.10", 80), DOUBLED);
    await until("the line", () => /connection complete/.test(client.output));
    const lines = client.output.trim().split("\n").map((line) => JSON.parse(line));
    const access = lines.find((line) => line.scope === "access");
    strictEqual(access.message, "connection complete");
    strictEqual(access["dst.addr"], `${SERVER}:15008`);
    strictEqual(access.bytes_sent, 11);
    strictEqual(access.direction, "outbound");
  }, { LOG_FORMAT: "json" }));
