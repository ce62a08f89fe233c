/** HBONE connections in the dump: to whom, how many tunnels are in each, how far away it is. */
import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { until } from "../support/netns.ts";
import {
  doublingServer,
  ProxyProcess,
  readExactly,
  socksConnect,
} from "../support/proxy_process.ts";

const CLIENT = "127.1.23.1";
const SERVER = "127.1.23.2";
const CONNECTIONS_COUNT = 6;

const MESH = `
workloads:
- { uid: c//Pod/shop/client, name: client, namespace: shop, serviceAccount: client, trustDomain: cluster.local,
    workloadIps: ["${CLIENT}"], protocol: HBONE }
- { uid: c//Pod/shop/server, name: server, namespace: shop, serviceAccount: server, trustDomain: cluster.local,
    workloadIps: ["${SERVER}"], protocol: HBONE }
`;

interface Row {
  readonly direction: string;
  readonly peer: string;
  readonly identity: string | null;
  readonly streams: number;
  readonly roundTripMs: number | null;
}

async function tunnelsOf(ip: string): Promise<readonly Row[]> {
  return (await (await fetch(`http://${ip}:15000/config_dump`)).json()).tunnels;
}

Deno.test({
  name:
    "the dump lists HBONE connections with their peer, their tunnels and the round trip of a PING",
  sanitizeOps: false,
  sanitizeResources: false,
}, async () => {
  const meshPath = await Deno.makeTempFile({ suffix: ".yaml" });
  await Deno.writeTextFile(meshPath, MESH);
  await using _application = doublingServer(SERVER, 8080);
  await using client = await ProxyProcess.start({ ip: CLIENT, workload: "client", meshPath });
  await using server = await ProxyProcess.start({ ip: SERVER, workload: "server", meshPath });
  deepStrictEqual(await tunnelsOf(CLIENT), []);
  const connections = [];
  for (let each = 0; each < CONNECTIONS_COUNT; each++) {
    const connection = await socksConnect(CLIENT, SERVER, 8080);
    await connection.write(Uint8Array.of(7));
    await readExactly(connection, 2);
    connections.push(connection);
  }
  const logs = () => client.output + server.output;
  for (
    const [ip, direction, account] of [
      [CLIENT, "outbound", "server"],
      [SERVER, "inbound", "client"],
    ] as const
  ) {
    let rows = await tunnelsOf(ip);
    ok(rows.length >= 1 && rows.length < CONNECTIONS_COUNT, `${rows.length} of ${direction}`);
    strictEqual(rows.reduce((sum, { streams }) => sum + streams, 0), CONNECTIONS_COUNT);
    for (const row of rows) {
      strictEqual(row.direction, direction);
      strictEqual(row.identity, `spiffe://cluster.local/ns/shop/sa/${account}`);
      ok(
        direction === "inbound"
          ? row.peer.startsWith(`${CLIENT}:`)
          : row.peer === `${SERVER}:15008`,
      );
    }
    // The first PING is after ten seconds.
    await until("each was measured", async () => {
      rows = await tunnelsOf(ip);
      return rows.every(({ roundTripMs }) => roundTripMs !== null);
    }, logs);
    ok(rows.every(({ roundTripMs }) => roundTripMs! >= 0 && roundTripMs! < 5_000));
  }
  for (const connection of connections) connection.close();
  await until("no tunnel is left in them", async () => {
    return (await tunnelsOf(SERVER)).every(({ streams }) => streams === 0);
  }, logs);
  await Deno.remove(meshPath);
});
