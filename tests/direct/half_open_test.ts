/** Connections that nobody ends, through two real proxies: half-closed ones, and idle ones where somebody asks for it. */
import { match, ok, strictEqual } from "node:assert/strict";
import { until } from "../support/netns.ts";
import { ProxyProcess, readToEnd, socksConnect } from "../support/proxy_process.ts";

const CLIENT = "127.1.11.1";
const SERVER = "127.1.11.2";
/** Keeps what it accepts and never finishes; with `drip` it sends a byte now and then. */
const PORTS = { holding: 8080, dripping: 8081 } as const;
/** So long that a busy machine neither makes a drip come too late nor lets the linger pass before the gauge is read. */
const LINGER_MS = 6_000;
const DRIP_MS = 600;
const DRIPS = 12;
const IDLE_MS = 4_000;
const BYTES = 9;

const MESH = `
workloads:
- { uid: c//Pod/shop/client, name: client, namespace: shop, serviceAccount: client, trustDomain: cluster.local,
    workloadIps: ["${CLIENT}"], protocol: HBONE }
- { uid: c//Pod/shop/server, name: server, namespace: shop, serviceAccount: server, trustDomain: cluster.local,
    workloadIps: ["${SERVER}"], protocol: HBONE }
`;

function application(port: number): AsyncDisposable {
  const listener = Deno.listen({ hostname: SERVER, port });
  const held: Deno.Conn[] = [];
  const accepting = (async () => {
    for await (const connection of listener) {
      held.push(connection);
      void (async () => {
        while (await connection.read(new Uint8Array(100)) !== null);
        for (let drips = 0; port === PORTS.dripping && drips < DRIPS; drips++) {
          await new Promise((resolve) => setTimeout(resolve, DRIP_MS));
          await connection.write(Uint8Array.of(drips));
        }
        if (port === PORTS.dripping) await connection.closeWrite();
      })().catch(() => {});
    }
  })();
  return {
    [Symbol.asyncDispose]: async () => {
      listener.close();
      for (const connection of held) connection.close();
      await accepting.catch(() => {});
    },
  };
}

async function withProxies(
  env: Readonly<Record<string, string>>,
  body: (client: ProxyProcess, server: ProxyProcess) => Promise<void>,
): Promise<void> {
  const meshPath = await Deno.makeTempFile({ suffix: ".yaml" });
  await Deno.writeTextFile(meshPath, MESH);
  await using _holding = application(PORTS.holding);
  await using _dripping = application(PORTS.dripping);
  await using client = await ProxyProcess.start({ ip: CLIENT, workload: "client", meshPath, env });
  await using server = await ProxyProcess.start({ ip: SERVER, workload: "server", meshPath, env });
  await body(client, server);
  await Deno.remove(meshPath);
}

const LEAKLESS = { sanitizeOps: false, sanitizeResources: false };

Deno.test({
  name: "a half-closed pair is ended when it has been silent for the linger, and not before",
  ...LEAKLESS,
}, () =>
  withProxies({ ZTUNNEL_HALF_CLOSED_LINGER: `${LINGER_MS}ms` }, async (client, server) => {
    const dripping = await socksConnect(CLIENT, SERVER, PORTS.dripping);
    const silent = await socksConnect(CLIENT, SERVER, PORTS.holding);
    const whole = await socksConnect(CLIENT, SERVER, PORTS.holding);
    await Promise.all([dripping.closeWrite(), silent.write(Uint8Array.of(1))]);
    await silent.closeWrite();
    const startMs = performance.now();
    for (const proxy of [client, server]) {
      const open = (state: string) => proxy.sum("ztunnel_sockets", `state="${state}"`);
      await until("the gauge", async () => await open("half_closed") === 2, () => proxy.output);
      strictEqual(await open("established"), 1);
    }
    const end = await readToEnd(silent).then(() => "end", () => "reset");
    const tookMs = performance.now() - startMs;
    strictEqual(end, "reset");
    ok(tookMs > LINGER_MS - 200, `ended after ${tookMs} ms`);
    // It was never silent for as long as the linger, although it took longer than that in all.
    strictEqual((await readToEnd(dripping)).length, DRIPS);
    const said = () => client.lines.concat(server.lines).filter((line) => /half-closed/.test(line));
    await until("the line", () => said().length > 0, () => client.output + server.output);
    match(said()[0]!, /error="connection closed: half-closed, and no byte for 6 s"/);
    for (const proxy of [client, server]) {
      await until(
        "the gauge is down",
        async () => await proxy.sum("ztunnel_sockets", 'state="half_closed"') === 0,
        () => proxy.output,
      );
      strictEqual(await proxy.sum("istio_tcp_connections_failed_total"), 0);
    }
    // Whole, and as silent: it is still there.
    await whole.write(Uint8Array.of(1));
    for (const connection of [dripping, silent, whole]) connection.close();
  }));

Deno.test({
  name: "an idle timeout ends whole connections too, where somebody asks for it",
  ...LEAKLESS,
}, () =>
  withProxies({ ZTUNNEL_IDLE_TIMEOUT: `${IDLE_MS}ms` }, async (client, server) => {
    const connection = await socksConnect(CLIENT, SERVER, PORTS.holding);
    const startMs = performance.now();
    for (let bytes = 0; bytes < BYTES; bytes++) {
      await connection.write(Uint8Array.of(bytes));
      await new Promise((resolve) => setTimeout(resolve, DRIP_MS));
    }
    const end = await readToEnd(connection).then(() => "end", () => "reset");
    strictEqual(end, "reset");
    const tookMs = performance.now() - startMs;
    const lastMs = (BYTES - 1) * DRIP_MS;
    ok(
      tookMs > lastMs + IDLE_MS - 300,
      `ended after ${tookMs} ms, and a byte moved after ${lastMs}`,
    );
    const said = () =>
      client.lines.concat(server.lines).filter((line) => /no byte for 4 s/.test(line));
    await until("the line", () => said().length > 0, () => client.output + server.output);
    connection.close();
  }));
