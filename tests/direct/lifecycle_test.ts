/** Starting, refusing to start, and ending (behaviour.md 14, 16.1, C.12). */
import { match, ok, strictEqual } from "node:assert/strict";
import { until } from "../support/netns.ts";
import { doublingServer, ProxyProcess, socksConnect } from "../support/proxy_process.ts";

const CLIENT = "127.1.2.1";
const SERVER = "127.1.2.2";

const MESH = `
workloads:
- { uid: c//Pod/shop/client, name: client, namespace: shop, serviceAccount: client, trustDomain: cluster.local,
    workloadIps: ["${CLIENT}"], protocol: HBONE }
- { uid: c//Pod/shop/server, name: server, namespace: shop, serviceAccount: server, trustDomain: cluster.local,
    workloadIps: ["${SERVER}"], protocol: HBONE }
`;

async function meshFile(text = MESH): Promise<string> {
  const path = await Deno.makeTempFile({ suffix: ".yaml" });
  await Deno.writeTextFile(path, text);
  return path;
}

async function start(
  name: "client" | "server",
  env: Readonly<Record<string, string>> = {},
): Promise<ProxyProcess> {
  const meshPath = await meshFile();
  const ip = name === "client" ? CLIENT : SERVER;
  return await ProxyProcess.start({ ip, workload: name, meshPath, env });
}

/** Who waits for the deadline of a drain is told from who does not, however slow the machine is. */
const DRAIN_MS = 60_000;
const LONG_DRAIN = { CONNECTION_TERMINATION_DEADLINE: `${DRAIN_MS}ms` };

Deno.test("an idle proxy ends at once and with 0 on SIGTERM, on SIGINT and on /quitquitquit", async () => {
  for (
    const stop of [
      (proxy: ProxyProcess) => Promise.resolve(proxy.signal("SIGTERM")),
      (proxy: ProxyProcess) => Promise.resolve(proxy.signal("SIGINT")),
      async (proxy: ProxyProcess) => {
        const url = `http://${proxy.ip}:15000/quitquitquit`;
        strictEqual((await (await fetch(url)).body?.cancel(), (await fetch(url)).status), 405);
        strictEqual(await (await fetch(url, { method: "POST" })).text(), "shutdown now\n");
      },
    ]
  ) {
    await using proxy = await start("client", LONG_DRAIN);
    const startMs = performance.now();
    await stop(proxy);
    strictEqual((await proxy.exited).code, 0, proxy.output);
    ok(performance.now() - startMs < DRAIN_MS / 2, "long before its deadline");
  }
});

Deno.test("a proxy without threads of its own waits for none when it ends", async () => {
  await using proxy = await start("client", { ZTUNNEL_INLINE: "true" });
  proxy.signal("SIGTERM");
  strictEqual((await proxy.exited).code, 0, proxy.output);
  ok(!/data thread/.test(proxy.output), proxy.output);
});

Deno.test("a drain waits for an open connection, and ends as soon as it is over", async () => {
  await using _application = doublingServer(SERVER, 8080);
  await using client = await start("client");
  await using server = await start("server", LONG_DRAIN);
  const connection = await socksConnect(CLIENT, SERVER, 8080);
  await connection.write(new TextEncoder().encode("x"));
  ok(await connection.read(new Uint8Array(8)));
  let over = false;
  const exited = server.exited.then((status) => {
    over = true;
    return status;
  });
  server.signal("SIGTERM");
  await new Promise((resolve) => setTimeout(resolve, 700));
  ok(!over, "it must wait");
  await connection.write(new TextEncoder().encode("y"));
  ok(await connection.read(new Uint8Array(8)), "the connection works on");
  connection.close();
  const startMs = performance.now();
  strictEqual((await exited).code, 0, server.output);
  ok(performance.now() - startMs < DRAIN_MS / 2, `took ${performance.now() - startMs} ms`);
  await until("the client's line", () => client.lines.length === 1, () => client.output);
});

Deno.test("a drain that nobody heeds is forced at its deadline, with the line saying so", async () => {
  await using _application = doublingServer(SERVER, 8080);
  await using _client = await start("client");
  await using server = await start("server", { CONNECTION_TERMINATION_DEADLINE: "1s" });
  const connection = await socksConnect(CLIENT, SERVER, 8080);
  await connection.write(new TextEncoder().encode("x"));
  ok(await connection.read(new Uint8Array(8)));
  const startMs = performance.now();
  server.signal("SIGTERM");
  strictEqual((await server.exited).code, 0, server.output);
  const tookMs = performance.now() - startMs;
  // Nobody ends the connection: without the deadline it would take for ever.
  ok(tookMs > 900 && tookMs < 30_000, `took ${tookMs} ms`);
  match(server.output, /error="connection closed due to connection drain"/);
  connection.close();
});

Deno.test("a drain ends probes and new connections at once, and a second SIGINT ends it too", async () => {
  await using _application = doublingServer(SERVER, 8080);
  await using _client = await start("client");
  await using server = await start("server", LONG_DRAIN);
  const connection = await socksConnect(CLIENT, SERVER, 8080);
  await connection.write(new TextEncoder().encode("x"));
  ok(await connection.read(new Uint8Array(8)));
  server.signal("SIGINT");
  await until("it drains", () => /shutdown requested by SIGINT/.test(server.output));
  for (const port of [15001, 15006, 15008, 15080, 15000, 15020, 15021]) {
    await until(`${port} is closed`, async () => {
      try {
        (await Deno.connect({ hostname: SERVER, port })).close();
        return false;
      } catch {
        return true;
      }
    });
  }
  await connection.write(new TextEncoder().encode("y"));
  ok(await connection.read(new Uint8Array(8)), "what was open works on");
  const startMs = performance.now();
  server.signal("SIGINT");
  strictEqual((await server.exited).code, 0, server.output);
  ok(performance.now() - startMs < DRAIN_MS / 2, "long before its deadline");
  connection.close();
});

Deno.test("a taken port refuses the start with one line that names it", async () => {
  for (const port of [15008, 15006, 15001, 15080, 15000, 15020, 15021]) {
    const taken = Deno.listen({ hostname: CLIENT, port });
    try {
      const meshPath = await meshFile();
      await using proxy = await ProxyProcess.start({
        ip: CLIENT,
        workload: "client",
        meshPath,
        mayFail: true,
      });
      strictEqual((await proxy.exited).code, 1, proxy.output);
      match(proxy.output, new RegExp(`${CLIENT.replaceAll(".", "\\.")}:${port}`));
      match(proxy.output, /already|in use|EADDRINUSE/i);
      ok(!/\n\s+at /.test(proxy.output), `no stack trace: ${proxy.output}`);
    } finally {
      taken.close();
    }
  }
});

Deno.test("a mesh file that cannot be used refuses the start, naming what and where", async () => {
  const table: readonly (readonly [string | undefined, RegExp])[] = [
    [undefined, /no-such-file\.yaml/],
    ["workloads: [", /:\d+:\d+: /],
    ["workloads:\n- { uid: x, nmespace: a, workloadIps: [] }", /:2:\d+: .*nmespace/],
    ["workloads: 5", /:1:\d+: workloads/],
    [
      "policies:\n- { name: a, namespace: b, scope: Global, action: Allow, rules: [[[{ principal: [] }]]] }",
      /:2:\d+: .*principal/,
    ],
    ["a: &a [x, x]\nb: &b [*a, *a]\n", /:\d+:\d+: /],
  ];
  for (const [text, expected] of table) {
    const meshPath = text === undefined ? "/no-such-file.yaml" : await meshFile(text);
    await using proxy = await ProxyProcess.start({
      ip: CLIENT,
      workload: "client",
      meshPath,
      mayFail: true,
    });
    strictEqual((await proxy.exited).code, 1, `${text}: ${proxy.output}`);
    match(proxy.output, expected);
    ok(!/\n\s+at /.test(proxy.output), `no stack trace: ${proxy.output}`);
  }
});

Deno.test("a filter that shows nothing does not hide why the start was refused", async () => {
  await using proxy = await ProxyProcess.start({
    ip: CLIENT,
    workload: "client",
    meshPath: "/no-such-file.yaml",
    env: { RUST_LOG: "off" },
    mayFail: true,
  });
  strictEqual((await proxy.exited).code, 1);
  match(proxy.output, /no-such-file\.yaml/);
});

Deno.test("the development CA warns at each start, and an unknown variable gets a hint", async () => {
  await using proxy = await start("client", { ZTUNNEL_BIND_ADRESS: "x" });
  await until(
    "the warnings",
    () =>
      /warn\t.*FAKE_CA|warn\t.*development/i.test(proxy.output) &&
      /ZTUNNEL_BIND_ADRESS.*ZTUNNEL_BIND_ADDRESS/.test(proxy.output),
    () => proxy.output,
  );
});

Deno.test("a proxy that was told to ends with the process that started it", async () => {
  const meshPath = await meshFile();
  const main = new URL("../../main.ts", import.meta.url).pathname;
  const parent = new Deno.Command("sh", {
    args: [
      "-c",
      `"${Deno.execPath()}" run -A --quiet "${main}" proxy & echo $!; sleep 300`,
    ],
    env: {
      PROXY_MODE: "dedicated",
      PROXY_WORKLOAD_INFO: "shop/client/client",
      FAKE_CA: "true",
      XDS_ADDRESS: "",
      LOCAL_XDS_PATH: meshPath,
      ZTUNNEL_BIND_ADDRESS: CLIENT,
      ZTUNNEL_EXIT_WITH_PARENT: "true",
    },
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const reader = parent.stdout.getReader();
  const pid = Number(new TextDecoder().decode((await reader.read()).value).split("\n")[0]);
  ok(pid > 1);
  await until("it is ready", async () => {
    try {
      return (await fetch(`http://${CLIENT}:15021/healthz/ready`)).ok;
    } catch {
      return false;
    }
  });
  parent.kill("SIGKILL");
  await until("the child is gone", async () => {
    try {
      return /State:\s+Z/.test(await Deno.readTextFile(`/proc/${pid}/status`));
    } catch {
      return true;
    }
  });
  await reader.cancel();
  await parent.status;
});
