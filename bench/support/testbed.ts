/**
 * Two hosts on one machine with applications and a pair of proxies, new for each run of the benchmark, so that no
 * run meets the sockets, memory or warm code of another.
 * @module
 */
import { Host, join, type Program, redirect, until } from "../../tests/support/netns.ts";
import {
  type Carried,
  CLIENT_IP,
  HTTP_PORT,
  IPERF_PORT,
  PEER,
  type PeerName,
  SERVER_IP,
  SERVICE_IP,
  type Site,
  TUNNEL_PORT,
} from "./peers.ts";

export type Application = "http" | "iperf" | "mirror";

/** The service's port where the mirror answers: iperf3's own, so that the mesh needs no other. */
export const MIRROR_PORT = IPERF_PORT;

/** How a mirror is started, as `mirror.ts` says. */
export function mirrorCommand(): readonly string[] {
  const program = new URL("./mirror.ts", import.meta.url).pathname;
  return [Deno.execPath(), "run", "--allow-net", "--quiet", program];
}

/** What nginx answers with: small, so that requests are counted and not bytes. */
export const ANSWER_BYTES = 100;

const nginxConfig = (folder: string) => `
daemon off; master_process off; pid ${folder}/nginx.pid; error_log stderr warn;
events { worker_connections 20000; }
http {
  access_log off; keepalive_requests 100000000; default_type text/plain;
  client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi; uwsgi_temp_path ${folder}/uwsgi; scgi_temp_path ${folder}/scgi;
  server {
    listen ${HTTP_PORT} backlog=4096;
    location / { return 200 "${"0123456789".repeat(ANSWER_BYTES / 10)}"; }
  }
}
`;

/**
 * Ports that clients and proxies dial from, above all that are listened on. As many as can be: each connection that was closed
 * holds one for a minute (TIME-WAIT), and without a free one the kernel would be measured, searching.
 */
const PORTS = "16000 65000";

/** What crossed from host to host, both ways, as nftables counted it. */
export interface Crossed {
  readonly tunnelBytes: number;
  /** TCP on any other port: not through the tunnel, or plain text. */
  readonly otherBytes: number;
}

export class Testbed implements AsyncDisposable {
  private constructor(
    readonly peer: PeerName,
    readonly site: Site,
    readonly proxies: readonly Program[],
  ) {}

  /** Its files are below `dir`, which is the caller's to remove in the end. */
  static async start(peer: PeerName, application: Application, dir: string): Promise<Testbed> {
    const folder = await Deno.makeTempDir({ dir });
    const hosts: Host[] = [];
    try {
      for (let index = 0; index < 2; index++) hosts.push(await Host.create());
      const [client, server] = hosts as [Host, Host];
      for (const host of hosts) {
        await host.sh(`echo ${PORTS} > /proc/sys/net/ipv4/ip_local_port_range`);
      }
      await join({ from: client, fromIp: CLIENT_IP, to: server, toIp: SERVER_IP });
      const appPort = application === "http" ? HTTP_PORT : IPERF_PORT;
      const site = { client, server, folder, appPort };
      await countCrossings(server);
      await startApplication(site, application);
      if (peer === "direct") return new Testbed(peer, site, []);
      for (const host of hosts) await redirect(host);
      return new Testbed(peer, site, await PEER[peer].start(site));
    } catch (error) {
      await removeAll(hosts);
      throw error;
    }
  }

  /** Where the client goes: the service, or the pod itself where no proxy knows of services. */
  get target(): string {
    const isHttp = this.site.appPort === HTTP_PORT;
    if (this.peer === "direct") return isHttp ? `${SERVER_IP}:${HTTP_PORT}` : SERVER_IP;
    return SERVICE_IP;
  }

  get pids(): readonly number[] {
    return this.proxies.map((proxy) => proxy.pid);
  }

  async carried(): Promise<Carried> {
    if (this.peer === "direct") return { outbound: 0, inbound: 0 };
    return await PEER[this.peer].carried(this.site);
  }

  async crossed(): Promise<Crossed> {
    const counters = await this.site.server.sh("nft list counters table inet bench");
    const bytes = (name: string) =>
      Number(new RegExp(`counter ${name} \\{[^}]*bytes (\\d+)`).exec(counters)?.[1] ?? NaN);
    return { tunnelBytes: bytes("tunnel"), otherBytes: bytes("other") };
  }

  /** What the proxies wrote, for the case that something went wrong. */
  logs(): string {
    return this.proxies.map((proxy) => proxy.output().slice(-2_000)).join("\n---\n");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await removeAll([this.site.client, this.site.server]);
  }
}

async function removeAll(hosts: readonly Host[]): Promise<void> {
  for (const host of hosts) await host.remove();
}

async function startApplication(site: Site, application: Application): Promise<void> {
  const { server, folder, appPort } = site;
  const config = `${folder}/nginx.conf`;
  await Deno.writeTextFile(config, nginxConfig(folder));
  const command: Readonly<Record<Application, readonly string[]>> = {
    http: ["nginx", "-c", config, "-p", folder],
    iperf: ["iperf3", "-s"],
    mirror: [...mirrorCommand(), "serve", String(appPort)],
  };
  const app = await server.start(command[application]);
  await until(
    `${application} server listens on ${appPort}`,
    async () => (await server.try("ss -Hltn")).out.includes(`:${appPort} `),
    () => app.output(),
  );
}

async function countCrossings(host: Host): Promise<void> {
  await host.sh(
    "nft -f -",
    `table inet bench {
      counter tunnel {}
      counter other {}
      chain arriving {
        type filter hook prerouting priority -400;
        iifname "lo" accept
        tcp dport ${TUNNEL_PORT} counter name tunnel accept
        meta l4proto tcp counter name other
      }
      chain leaving {
        type filter hook postrouting priority 400;
        oifname "lo" accept
        tcp sport ${TUNNEL_PORT} counter name tunnel accept
        meta l4proto tcp counter name other
      }
    }`,
  );
}
