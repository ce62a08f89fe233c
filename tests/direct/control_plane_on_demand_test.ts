/** On-demand mode through two real proxies: what nobody asks for never comes (behaviour.md 3.8, 17.1). */
import { deepStrictEqual, match, ok, rejects, strictEqual } from "node:assert/strict";
import { until } from "../support/netns.ts";
import { readExactly, socksConnect } from "../support/proxy_process.ts";
import { pause } from "../support/waiting.ts";
import { meshYaml, wireMesh, XdsMesh } from "../support/xds_mesh.ts";

const test = (name: string, fn: () => Promise<void>) =>
  Deno.test({ name, fn, sanitizeOps: false, sanitizeResources: false });

const CLIENT = "c//Pod/shop/client";
const SERVER = "c//Pod/shop/server";

/** The client's proxy runs on n1, as its pod does; the server is elsewhere. */
function start(network: string): Promise<XdsMesh> {
  const yaml = meshYaml(network)
    .replace("name: client, namespace", "name: client, node: n1, namespace")
    .replace(
      "name: server, namespace: shop, serviceAccount",
      "name: server, node: n2, namespace: shop, serviceAccount",
    )
    .replace(
      "services:\n-",
      '- { uid: c//Pod/shop/other, name: other, namespace: shop, workloadIps: ["10.7.7.7"] }\nservices:\n-',
    );
  return XdsMesh.start({
    network,
    plane: { mesh: wireMesh(yaml) },
    env: { XDS_ON_DEMAND: "true" },
    envOf: { client: { NODE_NAME: "n1" }, server: { NODE_NAME: "n2" } },
  });
}

async function exchange(mesh: XdsMesh, host: string, port: number): Promise<string> {
  const connection = await socksConnect(mesh.client.ip, host, port);
  try {
    await connection.write(new TextEncoder().encode("ping"));
    return new TextDecoder().decode(await readExactly(connection, 8));
  } finally {
    connection.close();
  }
}

test("3.8 a proxy knows its own node, asks for what is dialled, and is told what became of it", async () => {
  await using mesh = await start("127.7.11");
  const { plane, client, server } = mesh;
  deepStrictEqual(await mesh.workloadsOf(client), [CLIENT]);
  deepStrictEqual(await mesh.workloadsOf(server), [SERVER]);

  strictEqual(await exchange(mesh, server.ip, 8080), "pingping");
  deepStrictEqual(await mesh.workloadsOf(client), [CLIENT, SERVER]);
  const asked = () => plane.records.heard("asked").flatMap(({ names }) => names);
  ok(asked().includes(`/${server.ip}`), asked().join());
  await until("the line is written", () => client.lines.length > 0);
  match(client.lines[0]!, /dst\.workload="server"/);

  // The service's address, and once more: what is known is not asked for again.
  strictEqual(await exchange(mesh, "10.96.1.1", 80), "pingping");
  const askedCount = asked().length;
  strictEqual(await exchange(mesh, "10.96.1.1", 80), "pingping");
  strictEqual(asked().length, askedCount);

  // A change of what was asked for is pushed; of what was not, never.
  plane.records.clear();
  plane.setMesh(wireMesh(
    meshYaml("127.7.11").replace("action: Allow", "action: Deny")
      .replace("name: client, namespace", "name: client, node: n1, namespace")
      .replace(
        "name: server, namespace: shop, serviceAccount",
        "name: server, node: n2, canonicalName: x, namespace: shop, serviceAccount",
      ),
  ));
  await until("it is refused", async () => {
    try {
      await exchange(mesh, server.ip, 8080);
      return false;
    } catch {
      return true;
    }
  });
  ok(!(await mesh.workloadsOf(client)).includes("c//Pod/shop/other"));
});

test("3.8 an address that nobody has is answered, not waited for, and passes as plain TCP", async () => {
  await using mesh = await start("127.7.12");
  const listener = Deno.listen({ hostname: "127.7.12.9", port: 0 });
  try {
    const { port } = listener.addr as Deno.NetAddr;
    const startedMs = performance.now();
    (await socksConnect(mesh.client.ip, "127.7.12.9", port)).close();
    (await listener.accept()).close();
    // Nobody answered would be ten seconds.
    ok(performance.now() - startedMs < 9_000, "istiod's answer ends the wait");
  } finally {
    listener.close();
  }
});

test("3.7, 3.8 what was asked for is followed on the next stream too, and asked while istiod is away is answered then", async () => {
  await using mesh = await start("127.7.13");
  const { plane, client, server } = mesh;
  strictEqual(await exchange(mesh, server.ip, 8080), "pingping");
  await plane.suspend();
  strictEqual(await exchange(mesh, server.ip, 8080), "pingping", "known, so nobody is asked");
  const listener = Deno.listen({ hostname: "127.7.13.9", port: 0 });
  try {
    const { port } = listener.addr as Deno.NetAddr;
    const waiting = socksConnect(client.ip, "127.7.13.9", port);
    await pause(200);
    await plane.resume();
    (await waiting).close();
  } finally {
    listener.close();
  }
  deepStrictEqual(await mesh.workloadsOf(client), [CLIENT, SERVER]);
  plane.setMesh(wireMesh(meshYaml("127.7.13").replace(/- \{ uid: c\/\/Pod\/shop\/server.*\n/, "")));
  await until("it goes", async () => !(await mesh.workloadsOf(client)).includes(SERVER));
  await rejects(exchange(mesh, "10.96.1.1", 80));
});
