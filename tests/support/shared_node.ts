/**
 * A node with a proxy in shared mode: a network namespace for the proxy and its control plane, one for each pod, joined by
 * veths, and an agent that does what the test says.
 * @module
 */
import { app, deno } from "./node.ts";
import { Host, join, type Program, redirect, until } from "./netns.ts";
import { TestAgent, Zds } from "./zds_agent.ts";

export const SHARED_PROGRAMS = ["ip", "nft", "curl", "python3"];

const main = new URL("../../main.ts", import.meta.url).pathname;

const CONTROL_PLANE_IP = "10.67.0.1";

/** A pod with its network namespace; `index` is its place in addresses. */
export interface Pod {
  readonly uid: string;
  readonly name: string;
  readonly ip: string;
  readonly host: Host;
}

export const podIp = (index: number): string => `10.66.${index}.2`;
export const podIp6 = (index: number): string => `fd66:${index}::2`;

/** A line of the mesh's YAML for a pod. */
export const workloadLine = (name: string, ips: readonly string[], serviceAccount = name): string =>
  `- { uid: c//Pod/shop/${name}, name: ${name}, namespace: shop, serviceAccount: ${serviceAccount}, ` +
  `trustDomain: cluster.local, workloadIps: [${
    ips.map((ip) => `"${ip}"`).join(", ")
  }], protocol: HBONE, node: n1, ` +
  `workloadName: ${name}, canonicalName: ${name}, clusterId: c }`;

export class SharedNode implements AsyncDisposable {
  readonly pods: Pod[] = [];
  readonly proxies: Program[] = [];
  readonly #places: Host[] = [];

  private constructor(
    readonly host: Host,
    readonly folder: string,
    readonly agent: TestAgent,
  ) {}

  /** With a mesh of pods `a`, `b`… at podIp(1), podIp(2)…; the control plane runs, the proxy does not yet. */
  static async start(names: readonly string[], more = ""): Promise<SharedNode> {
    const host = await Host.create();
    await host.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    // Reached from every namespace by way of the node.
    await host.sh(`ip addr add ${CONTROL_PLANE_IP}/32 dev lo`);
    const folder = await Deno.makeTempDir();
    const agent = await TestAgent.start(`${folder}/ztunnel.sock`);
    const node = new SharedNode(host, folder, agent);
    const workloads = names.map((name, at) => workloadLine(name, [podIp(at + 1), podIp6(at + 1)]));
    await node.setMesh(`workloads:\n${[...workloads, more].join("\n")}\n`);
    await host.start([...deno, app("control_plane.ts"), CONTROL_PLANE_IP, folder, node.meshPath], {
      ready: /listening/,
    });
    return node;
  }

  get meshPath(): string {
    return `${this.folder}/mesh.yaml`;
  }

  /** Written at once, so that nobody reads half of it. */
  async setMesh(yaml: string): Promise<void> {
    await Deno.writeTextFile(`${this.meshPath}.new`, yaml);
    await Deno.rename(`${this.meshPath}.new`, this.meshPath);
  }

  /** Its first word to the agent is still to be heard. `wrap` is put before the command, `at` is where it runs. */
  async startProxy(
    env: Readonly<Record<string, string>> = {},
    { wrap = [], at = this.host }: { readonly wrap?: readonly string[]; readonly at?: Host } = {},
  ): Promise<Program> {
    const program = await at.start([...wrap, ...deno, main, "proxy", "ztunnel"], {
      env: { ...this.environment(), ...env },
    });
    this.proxies.push(program);
    return program;
  }

  /** Hears the hello of the newest proxy, which says it when it knows the mesh. */
  async greet(): Promise<void> {
    try {
      await this.agent.greet();
    } catch (error) {
      throw new Error(`no proxy has come: ${error}\n${this.logs()}`);
    }
  }

  /** Another namespace for a proxy: its own ports are taken beside the first one's. */
  async place(): Promise<Host> {
    const host = await Host.create();
    this.#places.push(host);
    const net = `10.68.${this.#places.length}`;
    await join({ from: host, fromIp: `${net}.2`, to: this.host, toIp: `${net}.1` });
    return host;
  }

  environment(): Readonly<Record<string, string>> {
    return {
      INPOD_UDS: this.agent.path,
      XDS_ADDRESS: `https://${CONTROL_PLANE_IP}:15012`,
      CA_ADDRESS: `https://${CONTROL_PLANE_IP}:15012`,
      XDS_ROOT_CA: `${this.folder}/root.pem`,
      CA_ROOT_CA: `${this.folder}/root.pem`,
      AUTH_TOKEN: `${this.folder}/token`,
      NODE_NAME: "n1",
      ZTUNNEL_WORKER_THREADS: "1",
    };
  }

  /** A pod that nobody has told the proxy of. Serves 8080 (HTTP) and 9000 (echo). */
  async addPod(name: string, index: number, serves = true): Promise<Pod> {
    const host = await Host.create();
    const ip = podIp(index);
    const ip6 = [podIp6(index), `fd66:${index}::1`] as const;
    await join({ from: host, fromIp: ip, to: this.host, toIp: `10.66.${index}.1`, ip6 });
    await redirect(host);
    if (serves) {
      for (const [program, port] of [["http_server.ts", "8080"], ["echo_server.ts", "9000"]]) {
        await host.start([...deno, app(program!), "::", port!], { ready: /listening/ });
      }
    }
    const pod = { uid: `uid-${name}-${index}`, name, ip, host };
    this.pods.push(pod);
    return pod;
  }

  /** Its network is gone, with its address; its namespace and what runs in it stay. */
  async unplug(pod: Pod): Promise<void> {
    await pod.host.sh(
      "ip -o link | sed -n 's/^[0-9]*: \\(v[^@:]*\\).*/\\1/p' | xargs -n1 ip link del",
    );
  }

  /** What the proxy answers: empty for an ACK. */
  async add(pod: Pod, serviceAccount = pod.name): Promise<string> {
    const message = Zds.add(pod.uid, pod.name, "shop", serviceAccount);
    return await this.agent.ask(message, [`/var/run/netns/${pod.host.namespace}`]);
  }

  async del(pod: Pod): Promise<string> {
    return await this.agent.ask(Zds.del(pod.uid));
  }

  async snapshotSent(): Promise<string> {
    return await this.agent.ask(Zds.snapshotSent);
  }

  /** Of the proxy there. */
  async readiness(at = this.host): Promise<string> {
    return (await at.try("curl -s http://127.0.0.1:15021/healthz/ready")).out;
  }

  async ready(at = this.host): Promise<void> {
    await until(
      "the proxy is ready",
      async () => (await this.readiness(at)) === "ready\n",
      () => this.logs(),
    );
  }

  async metrics(): Promise<string> {
    return await this.host.sh("curl -s http://127.0.0.1:15020/metrics");
  }

  async dump(): Promise<Record<string, unknown>> {
    return JSON.parse(await this.host.sh("curl -s http://127.0.0.1:15000/config_dump"));
  }

  logs(): string {
    return this.proxies.map((proxy) => proxy.output().slice(-6_000)).join("\n---\n");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const host of [...this.pods.map((pod) => pod.host), ...this.#places]) await host.remove();
    await this.host.remove();
    await this.agent[Symbol.asyncDispose]();
    await Deno.remove(this.folder, { recursive: true });
  }
}
