/**
 * A stand-in for istio-cni: pods as network namespaces with redirect rules, and one ZDS agent per node that tells its
 * ztunnel of them. For `dev --pods` and for tests.
 * @module
 */
import { agentSide } from "#linux";
import { type Clock, realClock, realRng, type Rng } from "#system";
import { Ip } from "#values";
import { type Answer, ZdsAgent } from "./cni_agent.ts";
import { Ledger, removeStale } from "./cni_ledger.ts";
import {
  type NetworkOptions,
  NodeNetwork,
  NODES_MAX,
  type PodPlace,
  uplinkName,
} from "./cni_network.ts";
import { missingPrograms } from "./shell.ts";

/** Where `ip netns` keeps its names. */
const NAMESPACES = "/run/netns";
/** Pods of a node take addresses from here on; below are the bridge and whoever has a fixed place. */
const FIRST_POD_ADDRESS = 10;
const LAST_POD_ADDRESS = 254;

export interface CniOptions extends Partial<NetworkOptions> {
  readonly nodes: readonly string[];
  /** Where the agents' sockets are: `<folder>/<node>.sock`. */
  readonly folder: string;
  /** Where runs note what they made; what dead ones have left there is removed first. */
  readonly ledger: string;
  /** A folder of the caller's that the next run is to remove if this one does not live to do so. */
  readonly scratch?: string;
  readonly clock?: Clock;
  readonly rng?: Rng;
  /** For people: what an agent sees, and what was removed of an earlier run. */
  readonly onEvent?: (text: string) => void;
}

/** A pod that is wanted. */
export interface PodSpec {
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly node: string;
  /** Default: the next free ones of the node, one of each family. */
  readonly ips?: readonly Ip[];
  /** Default true: redirected, and told to the node's ztunnel. */
  readonly meshed?: boolean;
  /** Default true. */
  readonly ipv6?: boolean;
}

/** A pod that exists. */
export interface Pod extends PodPlace {
  readonly uid: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  /** As `ip netns exec` wants it. */
  readonly netns: string;
}

/** Several nodes and their pods. Disposing takes everything down. */
export class Cni implements AsyncDisposable {
  readonly #pods = new Map<string, Pod>();
  readonly #agents = new Map<string, ZdsAgent>();
  #uids = 0;

  private constructor(
    private readonly network: NodeNetwork,
    private readonly ledger: Ledger,
    private readonly options: CniOptions & NetworkOptions,
  ) {}

  /** Why this machine cannot have namespaces and rules, and what to do about it; undefined where it can. */
  static async problemOfMachine(): Promise<string | undefined> {
    if (Deno.build.os !== "linux") return `needs Linux, and this is ${Deno.build.os}`;
    if (Deno.uid() !== 0) {
      return "makes network namespaces and firewall rules, which needs root: try it with sudo";
    }
    const missing = await missingPrograms(["ip", "nft"]);
    if (missing.length === 0) return undefined;
    return `needs ${missing.join(" and ")}; on Debian: apt-get install iproute2 nftables`;
  }

  /** Builds the nodes. Throws an Error that says what is in the way; nothing is left then. */
  static async start(given: CniOptions): Promise<Cni> {
    const options = { ...DEFAULTS, ...given };
    if (options.nodes.length > NODES_MAX) throw new Error(`at most ${NODES_MAX} nodes`);
    for (const name of await removeStale(options.ledger)) {
      options.onEvent?.(`removed namespace "${name}", which an earlier run had left`);
    }
    const ledger = new Ledger(options.ledger, {
      link: options.uplink ? uplinkName(options) : undefined,
      scratch: options.scratch,
    });
    const network = new NodeNetwork(options, ledger);
    const cni = new Cni(network, ledger, options);
    try {
      await network.build();
      for (const node of options.nodes) cni.#startAgent(node);
    } catch (error) {
      await cni[Symbol.asyncDispose]();
      throw error;
    }
    return cni;
  }

  get pods(): readonly Pod[] {
    return [...this.#pods.values()];
  }

  agent(node: string): ZdsAgent {
    const agent = this.#agents.get(node);
    if (agent === undefined) throw new Error(`there is no node "${node}"`);
    return agent;
  }

  /** For INPOD_UDS. */
  socketOf(node: string): string {
    return `${this.options.folder}/${node}.sock`;
  }

  /** A node's or pod's namespace for `ip netns exec`. */
  netnsOf(name: string): string {
    return this.network.namespaceOf(name);
  }

  /** Makes a pod; undefined as an answer where no ztunnel is told, because it is in no mesh. */
  async addPod(spec: PodSpec): Promise<{ readonly pod: Pod; readonly answer: Answer | undefined }> {
    const pod = await this.makePod(spec);
    if (!pod.meshed) return { pod, answer: undefined };
    return { pod, answer: await this.announce(pod) };
  }

  /** A pod with namespace and rules of which nobody knows yet. */
  async makePod(spec: PodSpec): Promise<Pod> {
    if (this.#pods.has(spec.name)) throw new Error(`there is a pod "${spec.name}" already`);
    const pod: Pod = {
      ...spec,
      uid: `uid-${spec.name}-${this.#uids++}`,
      netns: this.network.namespaceOf(spec.name),
      ips: spec.ips ?? this.#freeAddresses(spec.node),
      meshed: spec.meshed ?? true,
      ipv6: spec.ipv6 ?? true,
    };
    // Noted before anything is awaited: two that come at once take different addresses.
    this.#pods.set(pod.name, pod);
    try {
      await this.network.addPod(pod);
    } catch (error) {
      await this.network.removePod(pod).catch(() => {});
      this.#pods.delete(pod.name);
      throw error;
    }
    return pod;
  }

  /** Runs `work` in a pod's namespace: what it listens on is there. It must not wait for anything. */
  within<T>(pod: Pod, work: () => T extends PromiseLike<unknown> ? never : T): T {
    return agentSide.within(`${NAMESPACES}/${pod.netns}`, work);
  }

  /** Lines for the pods' /etc/hosts, behind those of this machine: in a cluster DNS would know the names. */
  async setHosts(lines: string): Promise<void> {
    await this.network.setHosts(lines);
  }

  /** Tells the node's ztunnel of it, again if it was told already. */
  async announce(pod: Pod): Promise<Answer> {
    const { uid, name, namespace, serviceAccount, netns } = pod;
    return await this.agent(pod.node).add({
      uid,
      name,
      namespace,
      serviceAccount,
      netns: `${NAMESPACES}/${netns}`,
    });
  }

  /** Removes a pod; by default its ztunnel hears of it before its namespace goes. */
  async removePod(name: string, order: "told first" | "told last" = "told first"): Promise<void> {
    const pod = this.#pods.get(name);
    if (pod === undefined) return;
    if (order === "told last") await this.network.removePod(pod);
    if (pod.meshed) await this.agent(pod.node).remove(pod.uid);
    if (order === "told first") await this.network.removePod(pod);
    this.#pods.delete(name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const agent of this.#agents.values()) agent[Symbol.dispose]();
    this.#agents.clear();
    await this.network.remove();
    await this.ledger.close();
  }

  #startAgent(node: string): void {
    this.#agents.set(
      node,
      new ZdsAgent({
        path: this.socketOf(node),
        clock: this.options.clock ?? realClock,
        rng: this.options.rng ?? realRng,
        onEvent: (text) => this.options.onEvent?.(`agent of ${node}: ${text}`),
      }),
    );
  }

  #freeAddresses(node: string): readonly Ip[] {
    const { nodes, ip4, ip6 } = this.options;
    const number = nodes.indexOf(node) + 1;
    if (number === 0) throw new Error(`there is no node "${node}"`);
    const taken = new Set(this.pods.flatMap((pod) => pod.ips));
    for (let host = FIRST_POD_ADDRESS; host <= LAST_POD_ADDRESS; host++) {
      const four = Ip.parse(`${ip4}.${number}.${host}`)!;
      const six = Ip.parse(`${ip6}:0:0:${number.toString(16)}::${host.toString(16)}`)!;
      if (!taken.has(four) && !taken.has(six)) return [four, six];
    }
    throw new Error(`node "${node}" has no address left`);
  }
}

const DEFAULTS = {
  ip4: "10.77",
  ip6: "fd77",
  flavour: "nftables",
  dns: false,
  uplink: false,
  prefix: "",
} as const;
