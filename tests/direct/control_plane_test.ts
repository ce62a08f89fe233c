/** The whole program with a control plane and a CA instead of local YAML (behaviour.md 3, 9, 14.5). */
import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { CaServer, leafFor } from "../support/ca_server.ts";
import { until } from "../support/netns.ts";
import { mintCrl, mintLeaf, mintRoot } from "../support/pki.ts";
import { doublingServer, ProxyProcess, readToEnd, socksConnect } from "../support/proxy_process.ts";
import { ControlPlane } from "../unit/xds/control_plane.ts";
import { policy, workload } from "../unit/xds/messages.ts";

const HOST = "127.1.7.1";
const CLIENT = "127.1.7.2";
const SERVER = "127.1.7.3";
const root = mintRoot();
const leaf = mintLeaf(root, { ips: [Uint8Array.of(127, 1, 7, 1)] });

const test = (name: string, fn: () => Promise<void>) =>
  Deno.test({ name, fn, sanitizeOps: false, sanitizeResources: false });

const pod = (name: string, ip: string, aliases: readonly string[] = []) =>
  workload(`c//Pod/shop/${name}`, {
    name,
    serviceAccount: name,
    addresses: [Uint8Array.from(ip.split("."), Number)],
    tunnelProtocol: 1,
    workloadName: name,
  }, { aliases: [...aliases] });
const MESH = [pod("client", CLIENT), pod("server", SERVER)];

const start = (
  plane: ControlPlane,
  ca: CaServer,
  name: "client" | "server",
  env: Readonly<Record<string, string>> = {},
  mayFail = true,
) =>
  ProxyProcess.start({
    ip: name === "client" ? CLIENT : SERVER,
    workload: name,
    mayFail,
    env: {
      FAKE_CA: "false",
      XDS_ADDRESS: plane.url,
      CA_ADDRESS: ca.url,
      XDS_ROOT_CA: root.pem,
      CA_ROOT_CA: root.pem,
      AUTH_TOKEN: "the-token",
      ...env,
    },
  });

async function exchange(to: string): Promise<string> {
  const connection = await socksConnect(CLIENT, to, 8080);
  try {
    await connection.write(new TextEncoder().encode("hello"));
    await connection.closeWrite();
    return new TextDecoder().decode(await readToEnd(connection));
  } finally {
    connection.close();
  }
}

test("3.9, 9.1: two proxies get mesh and certificates from servers, are ready only then, and carry traffic", async () => {
  using plane = await ControlPlane.start(HOST, [leaf]);
  using ca = await CaServer.start(HOST, [leaf], root);
  await using _application = doublingServer(SERVER, 8080);
  await using client = await start(plane, ca, "client", { XDS_HEADER_X_Team: "shop" });
  const first = await plane.stream();
  await first.request();
  deepStrictEqual(first.metadata.get("authorization"), ["Bearer the-token"]);
  deepStrictEqual(first.metadata.get("x_team"), ["shop"]);
  await until("only the mesh is missing", async () => {
    const ready = await fetch(`http://${CLIENT}:15021/healthz/ready`);
    strictEqual(ready.status, 500);
    return await ready.text() === "not ready, pending: state manager\n";
  }, () => client.output);
  await first.request();
  first.say("address", { resources: MESH });
  await first.request();
  strictEqual(await client.isReady(), false, "policies are still missing");
  first.say("authorization", { resources: [policy("shop/a")] });
  await until("the client is ready", () => client.isReady(), () => client.output);

  await using server = await start(plane, ca, "server");
  await (await plane.stream()).greet({ resources: MESH });
  await until("the server is ready", () => server.isReady(), () => server.output);
  strictEqual(await exchange(SERVER), "hellohello");
  match(
    await server.metrics(),
    /source_principal="spiffe:\/\/cluster.local\/ns\/shop\/sa\/client"/,
  );

  const dump = await client.dump() as {
    readonly xds: Record<string, unknown>;
    readonly certificates: readonly Record<string, unknown>[];
    readonly workloads: readonly unknown[];
  };
  strictEqual(dump.workloads.length, 2);
  strictEqual(dump.xds["state"], "connected");
  strictEqual(dump.xds["ready"], true);
  strictEqual(dump.xds["stalenessSeconds"], 0);
  deepStrictEqual(dump.certificates.map(({ identity, state }) => [identity, state]), [
    ["spiffe://cluster.local/ns/shop/sa/client", "Available"],
  ]);
  ok(!JSON.stringify(dump).includes("PRIVATE KEY") && !client.output.includes("PRIVATE KEY"));
  ok(!JSON.stringify(dump).includes("the-token") && !client.output.includes("the-token"));
  match(await client.metrics(), /ztunnel_xds_resources\{url="[^"]*Address"\} 2/);
  // One that got no answer in time on a busy machine asks again.
  ok(ca.asked.length >= 2);
  for (const { request, metadata } of ca.asked) {
    deepStrictEqual(
      [request.metadata, metadata.get("clusterid")],
      [undefined, ["Kubernetes"]],
      "10.12: nobody is impersonated",
    );
  }
});

test("14.8: SIGTERM is honoured while the control plane has said nothing", async () => {
  using plane = await ControlPlane.start(HOST, [leaf]);
  using ca = await CaServer.start(HOST, [leaf], root);
  await using client = await start(plane, ca, "client", { CONNECTION_TERMINATION_DEADLINE: "60s" });
  await (await plane.stream()).request();
  client.signal("SIGTERM");
  const startMs = performance.now();
  strictEqual((await client.exited).code, 0, client.output);
  ok(performance.now() - startMs < 30_000);
});

test("3.11: the local mesh is there beside the control plane's, and is read only once", async () => {
  using plane = await ControlPlane.start(HOST, [leaf]);
  using ca = await CaServer.start(HOST, [leaf], root);
  await using client = await start(plane, ca, "client", {
    LOCAL_XDS: `workloads: [{ uid: local, name: l, namespace: shop, workloadIps: [] }]`,
  });
  await (await plane.stream()).greet({ resources: MESH });
  await until("it is ready", () => client.isReady(), () => client.output);
  const uids = async () =>
    ((await client.dump())["workloads"] as { readonly uid: string }[]).map(({ uid }) => uid);
  deepStrictEqual(await uids(), ["c//Pod/shop/client", "c//Pod/shop/server", "local"]);
  client.signal("SIGHUP");
  await until("it says so", () => /not read again/.test(client.output), () => client.output);
  strictEqual((await uids()).length, 3);
});

test("3.1: proxies that the environment names are not asked", async () => {
  using plane = await ControlPlane.start(HOST, [leaf]);
  using ca = await CaServer.start(HOST, [leaf], root);
  const listener = Deno.listen({ hostname: HOST, port: 0 });
  const asked: string[] = [];
  const accepting = (async () => {
    for await (const connection of listener) {
      const buffer = new Uint8Array(1_000);
      const count = await connection.read(buffer) ?? 0;
      asked.push(new TextDecoder().decode(buffer.subarray(0, count)));
      connection.close();
    }
  })();
  const proxy = `http://${HOST}:${(listener.addr as Deno.NetAddr).port}`;
  {
    const names = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY"];
    const env = Object.fromEntries(
      [...names, "grpc_proxy", "GRPC_PROXY"].map((name) => [name, proxy]),
    );
    // The runtime looks for newer versions of itself, and would do so through the proxy.
    const quiet = { DENO_NO_UPDATE_CHECK: "1" };
    await using client = await start(plane, ca, "client", { ...env, ...quiet });
    await (await plane.stream()).greet({ resources: MESH });
    await until("it is ready", () => client.isReady(), () => client.output);
    await until("a certificate is there", () => ca.asked.length > 0, () => client.output);
  }
  listener.close();
  await accepting;
  deepStrictEqual(asked, []);
});

test("3.8: on demand, a destination is fetched by the connection that needs it, also when it comes under another name", async () => {
  using plane = await ControlPlane.start(HOST, [leaf]);
  using ca = await CaServer.start(HOST, [leaf], root);
  await using _application = doublingServer(SERVER, 8080);
  await using server = await start(plane, ca, "server");
  await (await plane.stream()).greet({ resources: MESH });
  await using client = await start(plane, ca, "client", { XDS_ON_DEMAND: "true" });
  const stream = await plane.stream();
  const [first, second] = [await stream.request(), await stream.request()];
  deepStrictEqual([first.resourceNamesSubscribe, first.resourceNamesUnsubscribe], [["*"], ["*"]]);
  deepStrictEqual(second.resourceNamesSubscribe, []);
  stream.say("authorization");
  await until("policies are enough", () => client.isReady(), () => client.output);
  // istiod sends the workloads of our own node unasked.
  stream.say("address", { resources: [pod("client", CLIENT)] });
  strictEqual((await stream.request()).responseNonce, "n");
  await stream.request();

  const answer = exchange(SERVER);
  deepStrictEqual((await stream.request()).resourceNamesSubscribe, [`/${SERVER}`]);
  stream.say("address", { resources: [pod("server", SERVER, [`/${SERVER}`])] });
  strictEqual(await answer, "hellohello");
  await stream.request();
  strictEqual(await exchange(SERVER), "hellohello", "nobody is asked again");
  await until("two lines", () => client.lines.length === 2, () => client.output);
  match(client.lines[0]!, /dst.identity="spiffe:\/\/cluster.local\/ns\/shop\/sa\/server"/);
  match(await server.metrics(), /source_workload="client"/);

  const unknown = exchange("127.1.7.9").catch(() => "nobody there");
  deepStrictEqual((await stream.request()).resourceNamesSubscribe, ["/127.1.7.9"]);
  stream.say("address", { removed: ["/127.1.7.9"] });
  strictEqual(await unknown, "nobody there");
});

test("9.8: a revoked peer loses its live tunnel, and gets no new one, when the file says so", async () => {
  using plane = await ControlPlane.start(HOST, [leaf]);
  using ca = await CaServer.start(HOST, [leaf], root);
  let serial = 7_000;
  ca.answer = ({ request }) => [leafFor(request.csr, root, { serial: serial++ }).pem, root.pem];
  const folder = await Deno.makeTempDir();
  const crl = `${folder}/ca-crl.pem`;
  await Deno.writeTextFile(crl, mintCrl(root, []));
  await using _application = doublingServer(SERVER, 8080);
  await using client = await start(plane, ca, "client");
  await (await plane.stream()).greet({ resources: MESH });
  await until("the client has its certificate", () => ca.asked.length === 1, () => client.output);
  await using server = await start(plane, ca, "server", { CRL_PATH: crl });
  await (await plane.stream()).greet({ resources: MESH });
  await until("the server is ready", () => server.isReady(), () => server.output);
  const connection = await socksConnect(CLIENT, SERVER, 8080);
  await connection.write(new TextEncoder().encode("x"));
  ok(await connection.read(new Uint8Array(8)));

  // One serial among so many others as a large mesh's CA has revoked.
  const others = Array.from({ length: 100_000 }, (_, index) => 1_000_000 + index);
  await Deno.writeTextFile(crl, mintCrl(root, [...others, 7_000]));
  const rejections = () => server.sum("istio_crl_policy_rejections_total", "destination");
  await until("the tunnel is cut", async () => await rejections() === 1, () => server.output);
  await readToEnd(connection).catch(() => {});
  connection.close();
  await until("the line is there", () => server.lines.length === 1, () => server.output);
  match(server.lines[0]!, /error="connection closed: a certificate of the peer was revoked"/);
  strictEqual(
    await server.sum("istio_tcp_connections_closed_total", 'response_flags="CERT_REVOKED"'),
    1,
  );
  await exchange(SERVER).catch(() => {});
  await until("the next is refused", async () => await rejections() >= 2, () => server.output);
  await until("and told", () => /is revoked by its issuer/.test(server.output));
  await Deno.remove(folder, { recursive: true });
});

test("no key and no token is in a log of any level, in a dump, in a metric or in an error", async () => {
  using plane = await ControlPlane.start(HOST, [leaf]);
  using ca = await CaServer.start(HOST, [leaf], root);
  await using _application = doublingServer(SERVER, 8080);
  const env = { RUST_LOG: "trace" };
  await using server = await start(plane, ca, "server", env);
  await (await plane.stream()).greet({ resources: MESH });
  const good = ca.answer;
  // First what a CA should not send: the reason is told, and the request is made again with another key.
  ca.answer = ({ request }) => [leafFor(request.csr, mintRoot()).pem, root.pem];
  await using client = await start(plane, ca, "client", env);
  await (await plane.stream()).greet({ resources: MESH });
  await until(
    "it is told",
    () => /certificate unavailable/.test(client.output),
    () => client.output,
  );
  ca.answer = good;
  await until("traffic goes", async () => {
    const answer = await exchange(SERVER).catch(() => "");
    return answer === "hellohello";
  }, () => client.output);
  for (const proxy of [client, server]) {
    const dump = await (await fetch(`http://${proxy.ip}:15000/config_dump`)).text();
    match(dump, /"state": "Available"/);
    const said = [proxy.output, dump, await proxy.metrics()].join("\n");
    // The words around a key, how every P-256 key in PKCS#8 begins, and the same once more in base64.
    for (const secret of ["PRIVATE KEY", "MIGHAgEAMBMGByqGSM49", "the-token"]) {
      for (const text of [secret, btoa(secret).replace(/=+$/, "").slice(0, -1)]) {
        ok(!said.includes(text), `${text} was told by ${proxy.ip}`);
      }
    }
  }
});
