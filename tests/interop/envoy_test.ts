/** A real Envoy at the other end of HBONE, in network namespaces; applications are plain curl and echo programs. */
import { deepStrictEqual, match, strictEqual } from "node:assert/strict";
import { envoyBinary, envoyClient, envoyServer, writeIdentity } from "../support/envoy.ts";
import { testAsRoot } from "../support/needs.ts";
import { Host, join, type Program, redirect, until } from "../support/netns.ts";

const A = "10.9.0.1";
const B = "10.9.0.2";
const PROGRAMS = ["ip", "nft", "curl"];
const deno = [Deno.execPath(), "run", "--allow-all", "--quiet"];
const main = new URL("../../main.ts", import.meta.url).pathname;
const app = (name: string) => new URL(`../support/apps/${name}`, import.meta.url).pathname;
const id = (account: string) => `spiffe://cluster.local/ns/shop/sa/${account}`;

const mesh = `
workloads:
- { uid: c//Pod/shop/a, name: a, namespace: shop, serviceAccount: a, trustDomain: cluster.local,
    workloadIps: ["${A}"], protocol: HBONE, workloadName: a, canonicalName: a, clusterId: c }
- { uid: c//Pod/shop/b, name: b, namespace: shop, serviceAccount: b, trustDomain: cluster.local,
    workloadIps: ["${B}"], protocol: HBONE, workloadName: b, canonicalName: b, clusterId: c }
`;

async function startOurs(host: Host, name: string, meshPath: string): Promise<Program> {
  const proxy = await host.start([...deno, main, "proxy"], {
    env: {
      PROXY_MODE: "dedicated",
      PROXY_WORKLOAD_INFO: `shop/${name}/${name}`,
      FAKE_CA: "true",
      XDS_ADDRESS: "",
      LOCAL_XDS_PATH: meshPath,
      PACKET_MARK: "1337",
      CONNECTION_TERMINATION_DEADLINE: "60s",
    },
  });
  await until(
    "our proxy is ready",
    async () => (await host.try("curl -s -f http://127.0.0.1:15021/healthz/ready")).code === 0,
    () => proxy.output(),
  );
  return proxy;
}

async function startEnvoy(
  host: Host,
  folder: string,
  config: unknown,
  port: number,
): Promise<Program> {
  const path = `${folder}/envoy.json`;
  await Deno.writeTextFile(path, JSON.stringify(config));
  const command = [await envoyBinary(), "-c", path, "--concurrency", "1", "-l", "warn"];
  const envoy = await host.start([...command, "--use-dynamic-base-id"]);
  await until(
    "Envoy listens",
    async () => (await host.try("ss -ltn")).out.includes(`:${port} `),
    () => envoy.output(),
  );
  return envoy;
}

async function ask(host: Host, logs: () => string, ...args: string[]): Promise<unknown> {
  const { out } = await host.try([...deno, app("echo_client.ts"), ...args].join(" "));
  try {
    return JSON.parse(out);
  } catch {
    throw new Error(`${out}\n${logs()}`);
  }
}

/** Data both ways, half closes, resets, frames of all sizes; afterwards our proxy on `ours` has nothing left open. */
async function talk(
  host: Host,
  ip: string,
  port: number,
  ours: Host,
  logs: () => string,
): Promise<void> {
  const bytes = 5_000_000;
  const run = (...args: string[]) => ask(host, logs, ...args);
  deepStrictEqual(await run("half-close", ip, `${port}`, `${bytes}`), {
    sent: bytes,
    received: bytes,
    same: true,
  }, logs());
  deepStrictEqual(await run("parallel", ip, `${port}`, "80"), { opened: 80, right: 80 }, logs());
  deepStrictEqual(await run("small", ip, `${port}`, "1000"), { sent: 20_000, same: true }, logs());
  deepStrictEqual(await run("aborts", ip, `${port}`, "20"), { aborted: 20 }, logs());
  await until("no tunnel is left", async () => {
    const open = await openTunnels(ours);
    return open.length > 0 && open.every((count) => count === 0);
  }, logs);
}

/** How many there are in each state, as our proxy on `ours` counts them. */
async function openTunnels(ours: Host): Promise<number[]> {
  const { out } = await ours.try("curl -s http://127.0.0.1:15020/metrics");
  const open = out.split("\n").filter((line) =>
    /^ztunnel_sockets\{.*state="(connecting|established|half_closed)"/.test(line)
  );
  return open.map((line) => Number(line.slice(line.lastIndexOf(" "))));
}

testAsRoot("Envoy as HBONE client reaches an application behind our 15008", PROGRAMS, async () => {
  const [a, b] = [await Host.create(), await Host.create()];
  const folder = await Deno.makeTempDir();
  try {
    await join({ from: a, fromIp: A, to: b, toIp: B });
    await Deno.writeTextFile(`${folder}/mesh.yaml`, mesh);
    await writeIdentity(folder, "a");
    await redirect(b);
    await b.start([...deno, app("echo_server.ts"), "0.0.0.0", "9000"], { ready: /listening/ });
    const ours = await startOurs(b, "b", `${folder}/mesh.yaml`);
    const envoy = await startEnvoy(
      a,
      folder,
      envoyClient(
        folder,
        { ip: "127.0.0.1", port: 10_001 },
        { ip: B, port: 15_008 },
        `${B}:9000`,
        id("b"),
      ),
      10_001,
    );
    const logs = () => `--- ours\n${ours.output()}\n--- envoy\n${envoy.output()}`;
    await talk(a, "127.0.0.1", 10_001, b, logs);
    match(ours.output(), /src\.identity="spiffe:\/\/cluster\.local\/ns\/shop\/sa\/a"/);
    match(ours.output(), /dst\.hbone_addr=10\.9\.0\.2:9000/);
    // We say GOAWAY, and what runs is served to its end.
    const slow = ask(a, logs, "slow", "127.0.0.1", "10001", "4");
    await until("it is open", async () => (await openTunnels(b)).some((count) => count > 0), logs);
    ours.signal("SIGTERM");
    deepStrictEqual(await slow, { rounds: 40, wrong: 0, rest: 0 }, logs());
    strictEqual((await ours.ended).code, 0, logs());
  } finally {
    for (const host of [a, b]) await host.remove();
    await Deno.remove(folder, { recursive: true });
  }
});

testAsRoot("an application behind our 15001 reaches Envoy as HBONE server", PROGRAMS, async () => {
  const [a, b] = [await Host.create(), await Host.create()];
  const folder = await Deno.makeTempDir();
  try {
    await join({ from: a, fromIp: A, to: b, toIp: B });
    await Deno.writeTextFile(`${folder}/mesh.yaml`, mesh);
    await writeIdentity(folder, "b");
    await redirect(a);
    await b.start([...deno, app("echo_server.ts"), "127.0.0.1", "9000"], { ready: /listening/ });
    const envoy = await startEnvoy(
      b,
      folder,
      envoyServer(
        folder,
        { ip: "0.0.0.0", port: 15_008 },
        { ip: "127.0.0.1", port: 9000 },
        id("a"),
        // A GOAWAY in the middle of what follows.
        30,
      ),
      15_008,
    );
    const ours = await startOurs(a, "a", `${folder}/mesh.yaml`);
    const logs = () => `--- ours\n${ours.output()}\n--- envoy\n${envoy.output()}`;
    await talk(a, B, 9_000, a, logs);
    match(ours.output(), /dst\.addr=10\.9\.0\.2:15008 dst\.hbone_addr=10\.9\.0\.2:9000/);
    // Somebody else's name behind that address is refused by us, however valid its certificate.
    await Deno.writeTextFile(
      `${folder}/mesh.yaml`,
      mesh.replaceAll("serviceAccount: b", "serviceAccount: other"),
    );
    await until("the reload", () => /mesh reloaded/.test(ours.output()), logs);
    const refused = await a.try([...deno, app("echo_client.ts"), "outcome", B, "9000"].join(" "));
    strictEqual(JSON.parse(refused.out).ended, "reset", logs());
    const said = () => /error="tls handshake failed: .*sa\/other/.test(ours.output());
    await until("it says why", said, logs);
  } finally {
    for (const host of [a, b]) await host.remove();
    await Deno.remove(folder, { recursive: true });
  }
});
