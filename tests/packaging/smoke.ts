/**
 * What a packaged program must do to be worth shipping: two proxies in dedicated mode carry a connection through mutual TLS,
 * count it, log it and end with 0.
 * @module
 */
import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { doublingServer, ProxyProcess, readToEnd, socksConnect } from "../support/proxy_process.ts";
import { until } from "../support/netns.ts";

export interface Smoke {
  /** How the program is started, without its arguments. */
  readonly program: readonly string[];
  /** Where the mesh is written, and the same place as the program sees it; a folder for temporary files if absent. */
  readonly meshFolder?: { readonly outside: string; readonly inside: string };
  readonly env?: Readonly<Record<string, string>>;
  /** Lines of /proc/PID/status that must be so, e.g. CapEff. */
  readonly status?: Readonly<Record<string, string>>;
}

/**
 * Runs it in a network namespace of its own, with nothing but a loopback device: whatever would have to be fetched fails.
 * Throws what is wrong. Needs root, `ip` and `unshare`.
 */
export async function smokeOffline(options: Smoke): Promise<void> {
  const { code, stdout, stderr } = await new Deno.Command("unshare", {
    args: [
      "--net",
      "sh",
      "-c",
      'ip link set lo up && exec "$@"',
      "sh",
      Deno.execPath(),
      "run",
      "-A",
      "--quiet",
      import.meta.filename!,
      JSON.stringify(options),
    ],
    stdin: "null",
  }).output();
  const text = new TextDecoder();
  strictEqual(code, 0, text.decode(stdout) + text.decode(stderr));
  match(text.decode(stdout), /^carried, counted, logged, ended$/m);
}

const [CLIENT, SERVER] = ["127.3.1.1", "127.3.1.2"] as const;
const MESH = `
workloads:
- { uid: c//Pod/shop/client, name: client, namespace: shop, serviceAccount: client, trustDomain: cluster.local,
    workloadIps: ["${CLIENT}"], protocol: HBONE }
- { uid: c//Pod/shop/server, name: server, namespace: shop, serviceAccount: server, trustDomain: cluster.local,
    workloadIps: ["${SERVER}"], protocol: HBONE }
`;

async function smoke({ program, meshFolder, env, status }: Smoke): Promise<void> {
  const folder = meshFolder?.outside ?? await Deno.makeTempDir();
  const file = "mesh.yaml";
  await Deno.writeTextFile(`${folder}/${file}`, MESH);
  const meshPath = `${meshFolder?.inside ?? folder}/${file}`;
  const start = (ip: string, workload: string) =>
    ProxyProcess.start({ ip, workload, meshPath, program, env: env ?? {} });
  await using _application = doublingServer(SERVER, 8080);
  await using near = await start(CLIENT, "client");
  await using far = await start(SERVER, "server");

  const connection = await socksConnect(CLIENT, SERVER, 8080);
  await connection.write(new TextEncoder().encode("ping"));
  await connection.closeWrite();
  deepStrictEqual(new TextDecoder().decode(await readToEnd(connection)), "pingping");
  connection.close();

  await until("both have written their line", () => near.lines.length > 0 && far.lines.length > 0);
  match(far.lines[0]!, /src\.identity="spiffe:\/\/cluster\.local\/ns\/shop\/sa\/client"/);
  const secure = 'connection_security_policy="mutual_tls"';
  strictEqual(await far.sum("istio_tcp_connections_opened_total", secure), 1);
  const dump = await (await fetch(`http://${SERVER}:15000/config_dump`)).json();
  strictEqual(dump.workloads.length, 2);
  for (const proxy of [near, far]) {
    const lines = await Deno.readTextFile(`/proc/${proxy.pid}/status`);
    for (const [name, value] of Object.entries(status ?? {})) {
      ok(lines.includes(`\n${name}:\t${value}`), `${name} is not ${value} in\n${lines}`);
    }
    proxy.signal("SIGTERM");
    strictEqual((await proxy.exited).code, 0, proxy.output);
    ok(proxy.output.includes("shutdown complete"), proxy.output);
  }
}

if (import.meta.main) {
  await smoke(JSON.parse(Deno.args[0]!));
  console.log("carried, counted, logged, ended");
}
