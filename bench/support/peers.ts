/**
 * The proxies that are compared: how each is started in a client host and a server host, and where it says what it carried.
 * @module
 */
import { envoyBinary, envoyClient, envoyServer, writeIdentity } from "../../tests/support/envoy.ts";
import { type Host, type Program, until } from "../../tests/support/netns.ts";
import { bundle, MAIN } from "../../tools/bundle.ts";
import { RUN_FLAGS } from "../../tools/single_file.ts";

export const PEERS = ["ours", "ours-1", "envoy", "rust", "direct"] as const;
export type PeerName = (typeof PEERS)[number];

export const CLIENT_IP = "10.9.0.1";
export const SERVER_IP = "10.9.0.2";
export const SERVICE_IP = "10.96.0.10";
/** The service's port 80 is this port of the pod. */
export const HTTP_PORT = 8080;
export const IPERF_PORT = 5201;
export const TUNNEL_PORT = 15_008;

/** Both hosts, a folder for files, and the application's port: Envoy's static tunnel leads to one. */
export interface Site {
  readonly client: Host;
  readonly server: Host;
  readonly folder: string;
  readonly appPort: number;
}

/** Connections that the two proxies say they carried. */
export interface Carried {
  readonly outbound: number;
  readonly inbound: number;
}

interface Peer {
  start(site: Site): Promise<readonly Program[]>;
  carried(site: Site): Promise<Carried>;
}

/** `direct` has no proxy, hence no row. */
export const PEER: Readonly<Record<Exclude<PeerName, "direct">, Peer>> = {
  ours: {
    start: async (site) => await startZtunnels(site, await oursCommand()),
    carried: carriedByZtunnels,
  },
  "ours-1": {
    start: async (site) => await startZtunnels(site, await oursCommand(), "1"),
    carried: carriedByZtunnels,
  },
  rust: {
    start: (site) => startZtunnels(site, [rustBinary(), "proxy", "ztunnel"]),
    carried: carriedByZtunnels,
  },
  envoy: { start: startEnvoys, carried: carriedByEnvoys },
};

/** Fails if a peer's program is missing, saying what to do. */
export async function checkPeer(peer: PeerName): Promise<void> {
  const binary = peer === "rust"
    ? rustBinary()
    : peer === "envoy"
    ? await envoyBinary()
    : undefined;
  if (binary === undefined) return;
  const info = await Deno.stat(binary).catch(() => undefined);
  if (info?.isFile !== true || ((info.mode ?? 0) & 0o111) === 0) {
    throw new Error(`cannot run ${peer}: ${binary} is not a program`);
  }
}

/** The threads that each proxy may use; `ours-1` has one. */
const THREADS_COUNT = "2";

let program: Promise<string> | undefined;

/** What the image and the single file start. */
async function oursCommand(): Promise<string[]> {
  program ??= shipped();
  return [Deno.execPath(), "run", ...RUN_FLAGS, await program, "proxy", "ztunnel"];
}

/** The path of the bundle, which is there until this process ends. */
async function shipped(): Promise<string> {
  const folder = await Deno.makeTempDir({ prefix: "ztunnel-bench-bundle-" });
  globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));
  await bundle(folder);
  return `${folder}/${MAIN}`;
}

function rustBinary(): string {
  const binary = Deno.env.get("ZTUNNEL_BIN");
  if (binary !== undefined && binary !== "") return binary;
  throw new Error("peer rust: name a Rust ztunnel binary (built with FAKE_CA) in ZTUNNEL_BIN");
}

const SERVICE = "bench/server.bench.svc.cluster.local";

const MESH = `
workloads:
- { uid: c//Pod/bench/client, name: client, namespace: bench, serviceAccount: client,
    workloadName: client, clusterId: c, trustDomain: cluster.local, workloadIps: ["${CLIENT_IP}"], protocol: HBONE, node: node-1,
    network: "", services: {} }
- { uid: c//Pod/bench/server, name: server, namespace: bench, serviceAccount: server,
    workloadName: server, clusterId: c, trustDomain: cluster.local, workloadIps: ["${SERVER_IP}"], protocol: HBONE, node: node-2,
    network: "", services: { ${SERVICE}: { 80: ${HTTP_PORT}, ${IPERF_PORT}: ${IPERF_PORT} } } }
services:
- { name: server, namespace: bench, hostname: server.bench.svc.cluster.local,
    vips: ["/${SERVICE_IP}"], ports: { 80: ${HTTP_PORT}, ${IPERF_PORT}: ${IPERF_PORT} } }
policies: []
`;

/** What tells this benchmark where its peers are would be a setting unknown to a proxy. */
const WITHOUT_OUR_OWN = ["env", "-u", "ZTUNNEL_BIN", "-u", "ZTUNNEL_TEST_PYTHON"];

async function startZtunnels(
  site: Site,
  command: readonly string[],
  threads = THREADS_COUNT,
): Promise<readonly Program[]> {
  const mesh = `${site.folder}/mesh.yaml`;
  await Deno.writeTextFile(mesh, MESH);
  const hosts = [
    { host: site.client, name: "client", node: "node-1", ip: CLIENT_IP },
    { host: site.server, name: "server", node: "node-2", ip: SERVER_IP },
  ];
  return await Promise.all(hosts.map(async ({ host, name, node, ip }) => {
    const proxy = await host.start([...WITHOUT_OUR_OWN, ...command], {
      env: {
        PROXY_MODE: "dedicated",
        PROXY_WORKLOAD_INFO: `bench/${name}/${name}`,
        NODE_NAME: node,
        INSTANCE_IP: ip,
        FAKE_CA: "true",
        XDS_ADDRESS: "",
        CA_ADDRESS: "",
        LOCAL_XDS_PATH: mesh,
        PACKET_MARK: "1337",
        ENABLE_ORIG_SRC: "true",
        ISTIO_META_DNS_CAPTURE: "false",
        ZTUNNEL_WORKER_THREADS: threads,
        // No access lines: Envoy writes none as configured here.
        RUST_LOG: "warn",
      },
    });
    const isReady = async () =>
      (await host.try("curl -s -f -m 2 http://127.0.0.1:15021/healthz/ready")).code === 0;
    await ready(`the proxy in the ${name}'s host is ready`, proxy, isReady);
    return proxy;
  }));
}

/** Connections under mutual TLS, from the metrics that the proxies export. */
async function carriedByZtunnels(site: Site): Promise<Carried> {
  const count = async (host: Host, reporter: string) => {
    const { out } = await host.try("curl -s -m 5 http://127.0.0.1:15020/metrics");
    return sumOf(
      out.split("\n").filter((line) =>
        line.startsWith("istio_tcp_connections_opened_total{") &&
        line.includes(`reporter="${reporter}"`) &&
        line.includes('connection_security_policy="mutual_tls"')
      ),
    );
  };
  return {
    outbound: await count(site.client, "source"),
    inbound: await count(site.server, "destination"),
  };
}

const ENVOY_ADMIN_PORT = 15_000;

async function startEnvoys(site: Site): Promise<readonly Program[]> {
  const identity = (name: string) => `spiffe://cluster.local/ns/shop/sa/${name}`;
  const folders = { client: `${site.folder}/client`, server: `${site.folder}/server` };
  for (const name of ["client", "server"] as const) {
    await Deno.mkdir(folders[name]);
    await writeIdentity(folders[name], name);
  }
  // Envoy marks no packets, so its way to the next hop must be let through by port.
  await site.client.sh(
    `nft insert rule inet mesh nat_out tcp dport ${TUNNEL_PORT} counter accept`,
  );
  const app = { ip: "127.0.0.1", port: site.appPort };
  const hop = { ip: SERVER_IP, port: TUNNEL_PORT };
  const authority = `${SERVER_IP}:${site.appPort}`;
  const client = await startEnvoy(
    site.client,
    folders.client,
    envoyClient(
      folders.client,
      { ip: "0.0.0.0", port: 15_001 },
      hop,
      authority,
      identity("server"),
    ),
  );
  const server = await startEnvoy(
    site.server,
    folders.server,
    envoyServer(
      folders.server,
      { ip: "0.0.0.0", port: TUNNEL_PORT },
      app,
      identity("client"),
    ),
  );
  return [client, server];
}

async function startEnvoy(host: Host, folder: string, config: unknown): Promise<Program> {
  const path = `${folder}/envoy.json`;
  const address = { socket_address: { address: "127.0.0.1", port_value: ENVOY_ADMIN_PORT } };
  await Deno.writeTextFile(path, JSON.stringify({ ...config as object, admin: { address } }));
  const command = [await envoyBinary(), "-c", path, "--concurrency", THREADS_COUNT, "-l", "warn"];
  const envoy = await host.start([...command, "--use-dynamic-base-id"]);
  const isReady = async () =>
    (await host.try(
      `curl -s -f -m 2 http://127.0.0.1:${ENVOY_ADMIN_PORT}/ready`,
    )).code === 0;
  await ready("Envoy is ready", envoy, isReady);
  return envoy;
}

async function carriedByEnvoys(site: Site): Promise<Carried> {
  const count = async (host: Host, stat: string) => {
    const { out } = await host.try(
      `curl -s -m 5 'http://127.0.0.1:${ENVOY_ADMIN_PORT}/stats?filter=^${stat}$'`,
    );
    return sumOf(out.split("\n").filter((line) => line.startsWith(stat)));
  };
  return {
    outbound: await count(site.client, "tcp.plain.downstream_cx_total"),
    inbound: await count(site.server, "http.hbone.downstream_rq_total"),
  };
}

/** Lines of counters, each ending in its number. */
function sumOf(lines: readonly string[]): number {
  return lines.reduce((total, line) => total + Number(/(\d+(?:\.\d+)?)$/.exec(line)?.[1] ?? 0), 0);
}

/** Waits until a program is ready; its early end fails at once, with what it wrote. */
async function ready(
  what: string,
  program: Program,
  isReady: () => Promise<boolean>,
): Promise<void> {
  let status: Deno.CommandStatus | undefined;
  program.ended.then((ended) => status = ended, () => {});
  await until(
    what,
    async () => {
      if (status !== undefined) {
        throw new Error(`${what}: it ended (${status.code}). ${program.output().slice(-2_000)}`);
      }
      return await isReady();
    },
    () => program.output().slice(-2_000),
  );
}
