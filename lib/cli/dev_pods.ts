/**
 * `ztunnel dev --pods`: a whole node on this machine. Pods are network namespaces whose traffic is redirected as
 * istio-cni does it, one real `proxy ztunnel` per node is told of them by our CNI agent, and mesh and certificates come
 * from the test control plane.
 * @module
 */
import { type Clock, realClock, realRng } from "#system";
import { Ip, SocketAddress } from "#values";
import type { LocalMesh } from "#xds";
import { type RunningProxy, startChild } from "./dev_child.ts";
import { controlPlaneLog, type Paint, readable } from "./dev_lines.ts";
import {
  comparePods,
  hostLines,
  NETWORK,
  planPods,
  podCommands,
  type PodPlan,
  type PodsPlan,
} from "./dev_pods_plan.ts";
import { loadMesh } from "./dev_session.ts";

/** Where a run notes what it has made, for the run after a crash. */
const LEDGER = "/run/ztunnel-dev";
/** This machine, seen from the pods. */
const OURS = Ip.parse(`${NETWORK.ip4}.0.254`)!;
const CONTROL_PLANE_PORT = 15012;
const CONTROL_PORT = 15014;
const READY_PORT = 15021;

export interface PodsOptions {
  readonly path: string;
  readonly paint: Paint;
  readonly print: (line: string) => void;
  readonly printError: (line: string) => void;
}

type Standin = typeof import("#standin");
type Cni = Awaited<ReturnType<Standin["Cni"]["start"]>>;
type Host = Awaited<ReturnType<Standin["hostControlPlane"]>>;

/** Runs until a signal or a proxy's end; returns the exit code. Whatever happens, what it made is taken away again. */
export async function runPods(options: PodsOptions): Promise<number> {
  const { printError, paint } = options;
  const { Cni } = await import("#standin");
  const problem = await Cni.problemOfMachine();
  if (problem !== undefined) {
    printError(paint("red", `dev: --pods ${problem}`));
    return 1;
  }
  const stop = Promise.withResolvers<number>();
  const onSignal = () => stop.resolve(0);
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    Deno.addSignalListener(name, onSignal);
  }
  const session = new PodsSession(options, realClock);
  let code: number;
  try {
    await Promise.race([session.start(), stop.promise]);
    code = await Promise.race([stop.promise, session.running()]);
  } catch (error) {
    printError(paint("red", `dev: ${messageOf(error)}`));
    code = 1;
  }
  await session.end();
  return code;
}

class PodsSession {
  #plan: PodsPlan | undefined;
  #folder: string | undefined;
  #cni: Cni | undefined;
  #host: Host | undefined;
  readonly #proxies: RunningProxy[] = [];
  readonly #demos = new Map<string, AsyncDisposable[]>();
  #ending = false;
  #starting: Promise<void> = Promise.resolve();
  /** Edits are followed one after another. */
  #following: Promise<void> = Promise.resolve();

  constructor(private readonly options: PodsOptions, private readonly clock: Clock) {}

  start(): Promise<void> {
    return this.#starting = this.#start();
  }

  /** Resolves with 1 when a proxy ends by itself. */
  async running(): Promise<number> {
    const proxy = await Promise.race(
      this.#proxies.map((proxy) => proxy.ended.then(() => proxy)),
    );
    if (!this.#ending) {
      this.options.printError(`dev: ${proxy.name} ended by itself\n${proxy.lastWords()}`);
    }
    return 1;
  }

  async end(): Promise<void> {
    this.#ending = true;
    await Promise.all(this.#proxies.map((proxy) => proxy.end()));
    // What was being made when the end came is taken down too.
    await this.#starting.catch(() => {});
    await this.#following;
    for (const name of [...this.#demos.keys()]) await this.#stopDemos(name);
    await this.#host?.[Symbol.asyncDispose]();
    await this.#cni?.[Symbol.asyncDispose]();
    if (this.#folder !== undefined) await Deno.remove(this.#folder, { recursive: true });
  }

  async #start(): Promise<void> {
    const { path, print } = this.options;
    const plan = this.#plan = planPods(await loadMesh(path));
    const { Cni } = await import("#standin");
    const folder = this.#folder = await Deno.makeTempDir({ prefix: "ztunnel-dev-" });
    const cni = this.#cni = await Cni.start({
      nodes: plan.nodes,
      folder,
      ledger: LEDGER,
      scratch: folder,
      uplink: true,
      onEvent: (text) => this.#note(text),
      ...NETWORK,
    });
    await cni.setHosts(hostLines(plan.services));
    const host = await this.#startControlPlane(folder);
    for (const pod of plan.pods) await this.#addPod(pod);
    for (const node of plan.nodes) await this.#startNode(node, cni, host);
    await Promise.all(this.#proxies.map((proxy) => proxy.ready()));
    if (this.#ending) return;
    for (const line of this.#introduction(plan, host)) print(line);
  }

  async #startControlPlane(folder: string): Promise<Host> {
    const { hostControlPlane } = await import("#standin");
    const { path, paint, print } = this.options;
    const log = controlPlaneLog(this.clock, paint, (line) => {
      if (!this.#ending) print(line);
    });
    return this.#host = await hostControlPlane({
      clock: this.clock,
      rng: realRng,
      log,
      source: {
        kind: "file",
        path,
        onMesh: (mesh) => {
          this.#following = this.#following.then(() => this.#follow(mesh));
        },
      },
      ip: OURS,
      port: CONTROL_PLANE_PORT,
      controlPort: CONTROL_PORT,
      folder,
    });
  }

  /** A node's proxy is a pod of its own, as in a cluster. */
  async #startNode(node: string, cni: Cni, { plane, credentials }: Host): Promise<void> {
    const number = this.#plan!.nodes.indexOf(node) + 1;
    const ip = Ip.parse(`${NETWORK.ip4}.${number}.2`)!;
    const name = `ztunnel-${node}`;
    const owner = { namespace: "istio-system", serviceAccount: "ztunnel", node };
    const tokenPath = await credentials.addToken(owner);
    const spec = { name, ...owner, ips: [ip], meshed: false };
    const { pod } = await cni.addPod(spec);
    if (this.#ending) return;
    const { paint, print } = this.options;
    this.#proxies.push(startChild({
      name: `the proxy of ${node}`,
      within: ["ip", "netns", "exec", pod.netns],
      readyUrl: `http://${ip}:${READY_PORT}/healthz/ready`,
      env: {
        PROXY_MODE: "shared",
        INPOD_UDS: cni.socketOf(node),
        NODE_NAME: node,
        INSTANCE_IP: ip,
        XDS_ADDRESS: plane.url,
        CA_ADDRESS: plane.url,
        XDS_ROOT_CA: credentials.rootsPath,
        CA_ROOT_CA: credentials.rootsPath,
        AUTH_TOKEN: tokenPath,
        CLUSTER_ID: this.#plan!.pods[0]?.workload.clusterId || "Kubernetes",
        // The names of /etc/hosts are enough for a laptop.
        ISTIO_META_DNS_CAPTURE: "false",
        RUST_LOG: "info",
        LOG_FORMAT: "json",
        // One person's connections: one thread for them is enough.
        ZTUNNEL_WORKER_THREADS: "1",
      },
      clock: this.clock,
      onLine: (line) => {
        const text = readable(node, line, paint);
        if (text !== undefined && !this.#ending) print(text);
      },
    }));
  }

  async #addPod(plan: PodPlan): Promise<void> {
    const { name, namespace, serviceAccount, node } = plan.workload;
    const { pod, answer } = await this.#cni!.addPod({
      name,
      namespace,
      serviceAccount,
      node,
      ips: plan.ips,
      meshed: plan.isMeshed,
    });
    // `gone`: no proxy is there yet; it will be told when it comes.
    if (answer !== undefined && answer.kind !== "ok" && answer.kind !== "gone") {
      const why = answer.kind === "refused" ? answer.text : "it did not answer";
      this.#note(`the proxy of ${node} has not taken ${name}: ${why}`);
    }
    const { startDemoService } = await import("#standin");
    const services = plan.demos.map(({ name, address: { port } }) =>
      this.#cni!.within(pod, () => startDemoService(name, { ip: Ip.unspecified(6), port }))
    );
    this.#demos.set(name, services);
  }

  async #removePod({ workload: { name } }: PodPlan): Promise<void> {
    await this.#stopDemos(name);
    await this.#cni!.removePod(name);
  }

  async #stopDemos(name: string): Promise<void> {
    const services = this.#demos.get(name) ?? [];
    this.#demos.delete(name);
    await Promise.all(services.map((service) => service[Symbol.asyncDispose]()));
  }

  /** The proxies are told of the mesh by the control plane; pods follow here. */
  async #follow(mesh: LocalMesh): Promise<void> {
    if (this.#ending) return;
    const { print, printError, paint } = this.options;
    const before = this.#plan!;
    try {
      const plan = planPods(mesh, before.nodes);
      const unknown = plan.nodes[before.nodes.length];
      if (unknown !== undefined) {
        throw new Error(`node "${unknown}" is new: restart dev for its proxy`);
      }
      const { gone, come } = comparePods(before.pods, plan.pods);
      this.#plan = plan;
      await this.#cni!.setHosts(hostLines(plan.services));
      for (const pod of gone) {
        await this.#removePod(pod);
        print(`dev: removed pod "${pod.workload.name}"`);
      }
      for (const pod of come) {
        await this.#addPod(pod);
        print(`dev: added pod "${pod.workload.name}" ${pod.ips.join(" ")}`);
      }
    } catch (error) {
      printError(paint("yellow", `dev: ${messageOf(error)}`));
    }
  }

  #note(text: string): void {
    if (!this.#ending) this.options.print(this.options.paint("dim", `dev: ${text}`));
  }

  #introduction(plan: PodsPlan, host: Host): string[] {
    const { paint, path } = this.options;
    const cyan = (text: string) => paint("cyan", text.padEnd(10));
    const node = plan.nodes[0]!;
    return [
      "",
      paint("bold", `${plan.nodes.length === 1 ? "A node is" : "Nodes are"} running here.`),
      "",
      `  istiod   ${cyan("")} ${host.plane.url.slice("https://".length)}  xDS and CA`,
      ...plan.nodes.map((name, at) => `  proxy    ${cyan(name)} ${NETWORK.ip4}.${at + 1}.2`),
      ...plan.pods.map(({ workload, ips, isMeshed }) =>
        `  pod      ${cyan(workload.name)} ${ips.join(" ")}  on ${workload.node}, ` +
        (isMeshed ? `${workload.namespace}/${workload.serviceAccount}` : "in no mesh")
      ),
      ...plan.pods.flatMap(({ demos }) => demos).map(({ name, address }) =>
        `  service  ${cyan(name)} ${SocketAddress.format(address)}`
      ),
      "",
      "Paste these as root into another terminal; what a policy refuses ends in a reset:",
      ...podCommands(plan).map((command) => `  ${paint("bold", command)}`),
      "Then look:",
      `  curl -s http://${NETWORK.ip4}.1.2:15020/metrics | grep istio_tcp`,
      `  ip netns exec ztunnel-${node} curl -s http://127.0.0.1:15000/config_dump`,
      `Edit ${paint("bold", path)} while this runs: pods come and go. Ctrl-C ends everything.`,
      "",
    ];
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
