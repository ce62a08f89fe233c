/** The same program on the main thread alone, on one data thread and on several. */
import { match, ok, strictEqual } from "node:assert/strict";
import { bundle } from "../../tools/bundle.ts";
import { until } from "../support/netns.ts";
import {
  doublingServer,
  ProxyProcess,
  readExactly,
  socksConnect,
} from "../support/proxy_process.ts";
import { KERNEL_GRANTS_SLICES, schedField, SHORT_SLICE_NS } from "../support/slices.ts";

const CLIENT = "127.1.8.1";
const SERVER = "127.1.8.2";
const CONNECTIONS_COUNT = 24;

const MESH = `
workloads:
- { uid: c//Pod/shop/client, name: client, namespace: shop, serviceAccount: client, trustDomain: cluster.local,
    workloadIps: ["${CLIENT}"], protocol: HBONE }
- { uid: c//Pod/shop/server, name: server, namespace: shop, serviceAccount: server, trustDomain: cluster.local,
    workloadIps: ["${SERVER}"], protocol: HBONE }
`;
const DENY =
  "policies: [{ name: no, namespace: shop, scope: Namespace, action: Deny, rules: [[[{ destinationPorts: [8080] }]]] }]";

async function ask(connection: Deno.TcpConn): Promise<void> {
  await connection.write(Uint8Array.of(7));
  strictEqual((await readExactly(connection, 2))[1], 7);
}

/** Data threads are woken up soon, and no other thread at their expense. */
function assertShortSlices(pid: number, threadsCount: number): void {
  if (!KERNEL_GRANTS_SLICES) return;
  const textOf = (thread: string, name: string) =>
    Deno.readTextFileSync(`/proc/${pid}/task/${thread}/${name}`);
  const slicesNs = [...Deno.readDirSync(`/proc/${pid}/task`)]
    .filter(({ name }) => name === String(pid) || /^worker-\d/.test(textOf(name, "comm")))
    .map(({ name }) => schedField(textOf(name, "sched"), "se.slice"));
  strictEqual(slicesNs.filter((sliceNs) => sliceNs === SHORT_SLICE_NS).length, threadsCount);
  strictEqual(slicesNs.length, threadsCount + 1);
}

async function connectAll(): Promise<Deno.TcpConn[]> {
  const connections = [];
  for (let each = 0; each < CONNECTIONS_COUNT; each++) {
    const connection = await socksConnect(CLIENT, SERVER, 8080);
    await ask(connection);
    connections.push(connection);
  }
  return connections;
}

for (
  const [how, env, threadsCount] of [
    ["on the main thread", { ZTUNNEL_INLINE: "true", ZTUNNEL_WORKER_THREADS: "3" }, 1],
    ["on one data thread", { ZTUNNEL_WORKER_THREADS: "1" }, 1],
    ["on three data threads", { ZTUNNEL_WORKER_THREADS: "3" }, 3],
  ] as const
) {
  Deno.test(`${how}: traffic, its counters, the dump, levels, policies and the drain`, async () => {
    const meshPath = await Deno.makeTempFile({ suffix: ".yaml" });
    await Deno.writeTextFile(meshPath, MESH);
    await using _application = doublingServer(SERVER, 8080);
    await using client = await ProxyProcess.start({
      ip: CLIENT,
      workload: "client",
      meshPath,
      env,
    });
    await using server = await ProxyProcess.start({
      ip: SERVER,
      workload: "server",
      meshPath,
      env,
    });

    const connections = await connectAll();
    if (!("ZTUNNEL_INLINE" in env)) assertShortSlices(client.pid, threadsCount);
    match(await client.metrics(), new RegExp(`^tokio_num_workers ${threadsCount}$`, "m"));
    strictEqual(await client.sum("istio_tcp_connections_opened_total"), CONNECTIONS_COUNT);
    strictEqual(await server.sum("istio_tcp_received_bytes_total"), CONNECTIONS_COUNT);
    strictEqual(await client.sum("istio_tcp_sockets_open", "source"), CONNECTIONS_COUNT);
    const dump = await (await fetch(`http://${CLIENT}:15000/config_dump`)).json();
    strictEqual(dump.connections.outbound.length, CONNECTIONS_COUNT);
    strictEqual(dump.config.numWorkerThreads, "ZTUNNEL_INLINE" in env ? 0 : threadsCount);
    strictEqual(
      client.output.split(/listener established\taddress=\S+ component="outbound"/).length,
      2,
      "what is the same on all threads is said once",
    );

    ok(!client.output.includes("connection opened"));
    const level = await fetch(`http://${CLIENT}:15000/logging?level=access=debug`, {
      method: "POST",
    });
    await level.body?.cancel();
    connections.push(...await connectAll());
    await until(
      "all threads say more",
      () => client.output.split("connection opened").length === CONNECTIONS_COUNT + 1,
      () => client.output,
    );

    await Deno.writeTextFile(meshPath, MESH + DENY);
    await until(
      "every live connection is cut by the policy",
      () =>
        server.output.split("connection closed due to policy change").length ===
          2 * CONNECTIONS_COUNT + 1,
      () => server.output,
    );
    const clientLines = () => client.output.split("connection complete").length - 1;
    await until("every line", () => clientLines() === 2 * CONNECTIONS_COUNT, () => client.output);
    await until(
      "no socket is left",
      async () => await client.sum("istio_tcp_sockets_open", "source") === 0,
    );
    for (const connection of connections) connection.close();

    await Deno.writeTextFile(meshPath, MESH);
    await until(
      "the policy is gone",
      () => /removed="policy shop\/no"/.test(server.output),
      () => server.output,
    );
    const last = await connectAll();
    client.signal("SIGTERM");
    await until("it drains", () => /shutdown requested/.test(client.output));
    await Promise.all(last.map(ask));
    for (const connection of last) connection.close();
    strictEqual((await client.exited).code, 0, client.output);
    strictEqual(clientLines(), 3 * CONNECTIONS_COUNT, "no line is lost at the end");
    ok(!/bug:/.test(client.output + server.output), client.output + server.output);
    await Deno.remove(meshPath);
  });
}

Deno.test("a process whose data threads cannot live says why, and ends with 70", async () => {
  const folder = await Deno.makeTempDir();
  await bundle(`${folder}/app`);
  // As if somebody had copied only half of it.
  await Deno.remove(`${folder}/app/lib/app/data_worker.js`);
  const meshPath = `${folder}/mesh.yaml`;
  await Deno.writeTextFile(meshPath, MESH);
  await using proxy = await ProxyProcess.start({
    ip: CLIENT,
    workload: "client",
    meshPath,
    program: [Deno.execPath(), "run", "--allow-all", "--quiet", `${folder}/app/main.js`],
    env: { ZTUNNEL_WORKER_THREADS: "1", DENO_DIR: folder, PATH: "/usr/bin:/bin" },
    mayFail: true,
  });
  strictEqual((await proxy.exited).code, 70, proxy.output);
  strictEqual(proxy.output.split("bug: a data thread has died").length, 6, proxy.output);
  match(proxy.output, /Module not found.*data_worker\.js/);
  match(
    proxy.output,
    /error\tztunnel\tbug: the proxy cannot go on\terror="ThreadsLost: 5 data threads/,
  );
  await Deno.remove(folder, { recursive: true });
});

Deno.test("a taken port refuses the start on the main thread too", async () => {
  const meshPath = await Deno.makeTempFile({ suffix: ".yaml" });
  await Deno.writeTextFile(meshPath, MESH);
  using _taken = Deno.listen({ hostname: CLIENT, port: 15001 });
  await using proxy = await ProxyProcess.start({
    ip: CLIENT,
    workload: "client",
    meshPath,
    env: { ZTUNNEL_INLINE: "true" },
    mayFail: true,
  });
  strictEqual((await proxy.exited).code, 1, proxy.output);
  match(proxy.output, /cannot listen on 127\.1\.8\.1:15001: .*EADDRINUSE/);
  await Deno.remove(meshPath);
});
