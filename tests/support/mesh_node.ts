/**
 * Nodes with a real proxy each, in shared mode: pods by our stand-in for istio-cni, the mesh from a test
 * control plane that follows them.
 * @module
 */
import type { Pod, PodSpec, RuleFlavour } from "#standin";
import { appPath, Nodes } from "./cni.ts";
import { type Program, until } from "./netns.ts";

/** On the wire between the nodes. */
const CONTROL_PLANE_IP = "10.77.0.253";
const CONTROL_PLANE_URL = `https://${CONTROL_PLANE_IP}:15012`;
const deno = [Deno.execPath(), "run", "--allow-all", "--quiet"];
const main = new URL("../../main.ts", import.meta.url).pathname;

export interface MeshOptions {
  readonly nodes?: readonly string[];
  readonly flavour?: RuleFlavour;
  /** Of the local YAML, as JSON. */
  readonly services?: readonly unknown[];
  readonly policies?: readonly unknown[];
  /** Workloads that the mesh knows beside the pods that there are. */
  readonly workloads?: readonly unknown[];
  readonly env?: Readonly<Record<string, string>>;
  /** Another ztunnel, without its arguments. */
  readonly command?: readonly string[];
}

/** What a pod is in the mesh, beside what the agent knows. */
export interface MeshPod extends Partial<PodSpec> {
  /** `demo/web.demo.svc.cluster.local` and its ports, service port to target port. */
  readonly services?: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly policies?: readonly string[];
}

/** Everything ends with it. */
export class MeshNodes implements AsyncDisposable {
  readonly #proxies = new Map<string, Program>();
  readonly #about = new Map<string, MeshPod>();
  #successors = 2;
  services: readonly unknown[];
  policies: readonly unknown[];

  private constructor(readonly nodes: Nodes, private readonly options: MeshOptions) {
    this.services = options.services ?? [];
    this.policies = options.policies ?? [];
  }

  static async start(options: MeshOptions = {}): Promise<MeshNodes> {
    const { nodes = ["node1"], flavour = "nftables" } = options;
    const mesh = new MeshNodes(await Nodes.start({ nodes, flavour }), options);
    await mesh.publish();
    await mesh.nodes.run("wire", [
      ...deno,
      appPath("control_plane.ts"),
      CONTROL_PLANE_IP,
      mesh.nodes.folder,
      mesh.meshPath,
      ...nodes,
    ], { ready: /listening/ });
    for (const [at, node] of nodes.entries()) {
      await mesh.nodes.pod(`ztunnel-${node}`, {
        node,
        meshed: false,
        ips: [`10.77.${at + 1}.2`] as unknown as Pod["ips"],
      });
    }
    return mesh;
  }

  /** A pod of the mesh (or, with `meshed: false`, of the workloads it knows). Written down first, then made, then told. */
  async pod(name: string, about: MeshPod = {}): Promise<Pod> {
    const { services: _, policies: __, ...spec } = about;
    const pod = await this.nodes.cni.makePod({
      name,
      namespace: "demo",
      serviceAccount: name,
      node: "node1",
      ...spec,
    });
    this.#about.set(name, about);
    await this.publish();
    if (pod.meshed) await this.nodes.cni.announce(pod);
    return pod;
  }

  async remove(name: string): Promise<void> {
    this.#about.delete(name);
    await this.nodes.cni.removePod(name);
    await this.publish();
  }

  /** Starts the proxies that do not run yet, and waits until each is ready. */
  async ready(): Promise<void> {
    for (const node of this.options.nodes ?? ["node1"]) {
      if (!this.#proxies.has(node)) this.#proxies.set(node, await this.startProxy(node));
    }
    for (const node of this.#proxies.keys()) await this.untilReady(`ztunnel-${node}`);
  }

  /** `pod`: where the proxy runs. */
  async untilReady(pod = "ztunnel-node1"): Promise<void> {
    await until(
      `the proxy in ${pod} is ready`,
      async () => {
        const url = "http://127.0.0.1:15021/healthz/ready";
        const { out } = await this.nodes.try(
          pod,
          `curl -s -o /dev/null -w %{http_code} -m 10 ${url}`,
        );
        return out === "200";
      },
      () => this.logs(),
      40_000,
    );
  }

  /** One more proxy on a node, in a pod of its own: in an upgrade there are two. Gives the pod's name with it. */
  async startSuccessor(node: string): Promise<readonly [pod: string, proxy: Program]> {
    const name = `ztunnel-${node}-${this.#successors++}`;
    await this.nodes.pod(name, { node, meshed: false });
    return [name, await this.startProxy(node, name)];
  }

  async startProxy(node: string, pod = `ztunnel-${node}`): Promise<Program> {
    const command = [...this.options.command ?? [...deno, main], "proxy", "ztunnel"];
    return await this.nodes.run(pod, command, {
      env: {
        PROXY_MODE: "shared",
        INPOD_UDS: this.nodes.cni.socketOf(node),
        NODE_NAME: node,
        XDS_ADDRESS: CONTROL_PLANE_URL,
        CA_ADDRESS: CONTROL_PLANE_URL,
        XDS_ROOT_CA: `${this.nodes.folder}/root.pem`,
        CA_ROOT_CA: `${this.nodes.folder}/root.pem`,
        AUTH_TOKEN: `${this.nodes.folder}/token.${node}`,
        CLUSTER_ID: "c",
        ZTUNNEL_WORKER_THREADS: "1",
        ISTIO_META_DNS_CAPTURE: "false",
        RUST_LOG: "info",
        ...this.options.env,
      },
    });
  }

  /** Waits until every proxy knows the workload `name`. */
  async settled(name: string): Promise<void> {
    for (const node of this.#proxies.keys()) {
      await until(`${node} knows ${name}`, async () => {
        const { workloads } = await this.dump(node) as { readonly workloads: readonly unknown[] };
        return JSON.stringify(workloads).includes(`"name":"${name}"`);
      }, () => this.logs());
    }
  }

  proxy(node = "node1"): Program {
    return this.#proxies.get(node)!;
  }

  /** From now on this is the node's proxy. */
  replaceProxy(node: string, proxy: Program): void {
    this.#proxies.set(node, proxy);
  }

  get meshPath(): string {
    return `${this.nodes.folder}/mesh.yaml`;
  }

  /** Lines of the proxies that match. */
  lines(pattern: RegExp, node?: string): readonly string[] {
    const proxies = node === undefined ? [...this.#proxies.values()] : [this.proxy(node)];
    return proxies.flatMap((proxy) => proxy.output().split("\n")).filter((line) =>
      pattern.test(line)
    );
  }

  logs(): string {
    return [...this.#proxies].map(([node, proxy]) => `${node}:\n${proxy.output().slice(-4_000)}`)
      .join("\n");
  }

  /** What /config_dump says of a node. */
  async dump(node = "node1"): Promise<Record<string, unknown>> {
    const { out } = await this.nodes.try(
      `ztunnel-${node}`,
      "curl -s -m 60 http://127.0.0.1:15000/config_dump",
    );
    return JSON.parse(out);
  }

  /** Writes the mesh as it is now; the control plane follows the file. */
  async publish(): Promise<void> {
    const workloads = this.nodes.cni.pods.filter(({ name }) => this.#about.has(name)).map((pod) => {
      const { services = {}, policies = [] } = this.#about.get(pod.name)!;
      return {
        uid: `c//Pod/${pod.namespace}/${pod.name}`,
        name: pod.name,
        namespace: pod.namespace,
        serviceAccount: pod.serviceAccount,
        trustDomain: "cluster.local",
        clusterId: "c",
        node: pod.node,
        workloadIps: pod.ips,
        protocol: pod.meshed ? "HBONE" : "TCP",
        workloadName: pod.name,
        canonicalName: pod.name,
        services,
        authorizationPolicies: policies,
      };
    });
    const { services, policies } = this;
    // JSON is YAML, but for ports as keys: those are numbers.
    const all = [...workloads, ...this.options.workloads ?? []];
    const text = JSON.stringify({ workloads: all, services, policies }).replaceAll(
      /"(\d+)":/g,
      "$1: ",
    );
    await Deno.writeTextFile(`${this.meshPath}.new`, text);
    await Deno.rename(`${this.meshPath}.new`, this.meshPath);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.nodes[Symbol.asyncDispose]();
  }
}
