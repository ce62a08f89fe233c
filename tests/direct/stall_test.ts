/** Bounded memory with stalled peers on either side: 64 transfers of 100 MB that nobody takes. */
import { ok, strictEqual } from "node:assert/strict";
import { until } from "../support/netns.ts";
import { ProxyProcess, socksConnect } from "../support/proxy_process.ts";
import { standstill } from "../support/waiting.ts";

const CLIENT = "127.1.4.1";
const SERVER = "127.1.4.2";
const TRANSFERS = 64;
const TRANSFER_BYTES = 100e6;
/** An idle process is 110 to 130 MB; what stalls is bounded by one connection's window (16 MiB), and measured 190 in all. */
const RSS_BYTES_MAX = 260e6;

const MESH = `
workloads:
- { uid: c//Pod/shop/client, name: client, namespace: shop, serviceAccount: client, trustDomain: cluster.local,
    workloadIps: ["${CLIENT}"], protocol: HBONE }
- { uid: c//Pod/shop/server, name: server, namespace: shop, serviceAccount: server, trustDomain: cluster.local,
    workloadIps: ["${SERVER}"], protocol: HBONE }
`;

/** Writes until all is written, or the connection is closed. */
async function pushUntilStuck(connection: Deno.Conn, left: { bytes: number }): Promise<void> {
  const chunk = new Uint8Array(65_536);
  try {
    while (left.bytes > 0) left.bytes -= await connection.write(chunk);
  } catch {
    // Closed at the end of the test.
  }
}

for (const direction of ["upload", "download"] as const) {
  Deno.test({
    name: `64 stalled ${direction}s of 100 MB keep both proxies under 260 MB`,
    sanitizeOps: false,
    sanitizeResources: false,
  }, async () => {
    const meshPath = await Deno.makeTempFile({ suffix: ".yaml" });
    await Deno.writeTextFile(meshPath, MESH);
    const port = direction === "upload" ? 8080 : 8081;
    const listener = Deno.listen({ hostname: SERVER, port });
    const accepted: Deno.Conn[] = [];
    const lefts: { bytes: number }[] = [];
    const push = (connection: Deno.Conn) => {
      const left = { bytes: TRANSFER_BYTES };
      lefts.push(left);
      void pushUntilStuck(connection, left);
    };
    void (async () => {
      for await (const connection of listener) {
        accepted.push(connection);
        if (direction === "download") push(connection);
      }
    })().catch(() => {});
    // Each thread is 17 MB, however little it does.
    const env = { ZTUNNEL_WORKER_THREADS: "2" };
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
    const connections = await Promise.all(
      Array.from({ length: TRANSFERS }, () => socksConnect(CLIENT, SERVER, port)),
    );
    if (direction === "upload") { for (const connection of connections) push(connection); }
    else {
      // A first byte makes sure that every tunnel is up before the sender is stuck.
      await Promise.all(connections.map((connection) => connection.read(new Uint8Array(1))));
    }
    await standstill(() => lefts.reduce((sum, { bytes }) => sum + bytes, 0), {
      lookMs: 300,
      looks: 3,
    });
    strictEqual(lefts.length, TRANSFERS);
    for (const left of lefts) ok(left.bytes > 0, "nobody took the whole of it");
    for (const proxy of [client, server]) {
      // What it needed to get here is collected when all is quiet, which is later on a busy machine.
      let rss = 0;
      await until(
        `${direction}: ${proxy.ip} holds less than ${RSS_BYTES_MAX / 1e6} MB`,
        async () => (rss = await proxy.rssBytes()) < RSS_BYTES_MAX,
        () => `${Math.round(rss / 1e6)} MB`,
      );
      ok(await proxy.isReady(), "and it answers");
    }
    for (const connection of [...connections, ...accepted]) connection.close();
    listener.close();
    await Deno.remove(meshPath);
  });
}
