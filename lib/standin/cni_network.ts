/**
 * Nodes and pods as network namespaces: each node has a bridge that its pods hang on, nodes reach each other over one
 * wire, and every pod has its own address, whoever asks (the model of Kubernetes).
 *
 * Node `n` of a network `10.77` / `fd77` is 10.77.0.n on the wire, and its pods are in 10.77.n.0/24 and fd77:0:0:n::/64,
 * where .1 is the bridge. What serves all nodes, such as a control plane, has a place on the wire itself: 10.77.0.253.
 * @module
 */
import { Ip } from "#values";
import { nodeRules, podRules, probeRule, ROUTING, type RuleFlavour } from "./cni_rules.ts";
import type { Ledger } from "./cni_ledger.ts";
import { fed, runScript } from "./shell.ts";

/** Where `ip netns exec` looks for files that a namespace has in the place of those in /etc. */
const NAMESPACE_FILES = "/etc/netns";
/** The third byte of an IPv4 address is the node's number. */
export const NODES_MAX = 200;

export interface NetworkOptions {
  /** Nodes by name; their order gives their number. */
  readonly nodes: readonly string[];
  /** The first two bytes of all IPv4 addresses, `10.77`. */
  readonly ip4: string;
  /** The first group of all IPv6 addresses, `fd77`. */
  readonly ip6: string;
  readonly flavour: RuleFlavour;
  readonly dns: boolean;
  /** Joins the namespace that we run in to the wire, as a host that is in no mesh. */
  readonly uplink: boolean;
  /** Put before every namespace's name. */
  readonly prefix: string;
}

/** A pod that is to be. */
export interface PodPlace {
  readonly name: string;
  readonly node: string;
  readonly ips: readonly Ip[];
  /** Whether its traffic is redirected. */
  readonly meshed: boolean;
  /** False for a kernel without IPv6. */
  readonly ipv6: boolean;
}

/** Builds and takes down; what it has built is in `names`. */
export class NodeNetwork {
  /** Namespaces that exist, in order of creation. */
  readonly names = new Set<string>();
  /** The node's end of each pod's veth. */
  readonly #links = new Map<string, string>();
  #linksCount = 0;
  #hosts = "";

  constructor(
    private readonly options: NetworkOptions,
    /** Told before a namespace is made, and when it is gone: whoever comes after a crash must know of it. */
    private readonly ledger: Pick<Ledger, "record" | "forget">,
  ) {}

  /** A pod's or node's namespace, as `ip netns` knows it. */
  namespaceOf(name: string): string {
    return `${this.options.prefix}${name}`;
  }

  /** The wire and the nodes. */
  async build(): Promise<void> {
    const { nodes, uplink, ip4, ip6 } = this.options;
    const wire = this.namespaceOf("wire");
    await this.#create(
      wire,
      `link set dev lo up
       link add wire ${bridgeMac(0)} type bridge
       link set dev wire up
       addr add ${ip4}.0.253/24 dev wire
       ${routesToPods(nodes, ip4)}`,
    );
    for (const node of nodes) await this.#buildNode(node, wire);
    if (!uplink) return;
    // The names of our own namespace are the machine's: one that says what it is.
    const link = uplinkName(this.options);
    await runScript(
      fed(
        "ip -batch -",
        `link add ${link} type veth peer name uplink netns ${wire}
         addr add ${ip4}.0.254/24 dev ${link}
         link set dev ${link} up
         addr add ${ip6}::fffe/64 dev ${link} nodad
         ${
          nodes.map((_, at) => `route add ${ip4}.${at + 1}.0/24 via ${ip4}.0.${at + 1}`).join("\n")
        }
         ${
          nodes.map((_, at) =>
            `route add ${ip6}:0:0:${hex(at + 1)}::/64 via ${ip6}::${hex(at + 1)}`
          ).join("\n")
        }`,
      ) + fed(`ip -n ${wire} -batch -`, "link set dev uplink master wire\nlink set dev uplink up"),
    );
  }

  /** Makes a pod's namespace with its veth, addresses, routes and rules. */
  async addPod(pod: PodPlace): Promise<void> {
    const { flavour, dns, ip4, ip6 } = this.options;
    const name = this.namespaceOf(pod.name);
    const node = this.namespaceOf(pod.node);
    const number = this.#numberOf(pod.node);
    const link = `pod${this.#linksCount++}`;
    const fours = pod.ips.filter((ip) => Ip.family(ip) === 4);
    const sixes = pod.ipv6 ? pod.ips.filter((ip) => Ip.family(ip) === 6) : [];
    const script = [
      fed(
        `ip -batch -`,
        `link add ${link} netns ${node} type veth peer name eth0 ${macOf(pod.ips)} netns ${name}`,
      ),
      fed(`ip -n ${node} -batch -`, `link set dev ${link} master pods\nlink set dev ${link} up`),
      fed(
        `ip -n ${name} -batch -`,
        `link set dev lo up
         link set dev eth0 up
         ${fours.map((ip) => `addr add ${ip}/24 dev eth0`).join("\n")}
         ${sixes.map((ip) => `addr add ${ip}/64 dev eth0 nodad`).join("\n")}
         ${fours.length > 0 ? `route add default via ${ip4}.${number}.1` : ""}
         ${sixes.length > 0 ? `route add default via ${ip6}:0:0:${hex(number)}::1` : ""}
         ${pod.meshed ? ROUTING : ""}`,
      ),
    ];
    if (pod.meshed && pod.ipv6) script.push(fed(`ip -6 -n ${name} -batch -`, ROUTING));
    if (pod.meshed) {
      for (const [command, input] of podRules({ flavour, dns, ipv6: pod.ipv6 })) {
        script.push(fed(`ip netns exec ${name} ${command}`, input));
      }
      script.push(this.#probes(pod, "add"));
    }
    await this.#create(name, "", pod.ipv6 ? "" : DISABLE_IPV6);
    this.#links.set(pod.name, link);
    await runScript(script.join(""));
  }

  /**
   * Ends what runs in the pod and removes its veth and the name of its namespace. Who holds the namespace open keeps it
   * alive, with nothing but loopback in it.
   */
  async removePod(pod: PodPlace): Promise<void> {
    const node = this.namespaceOf(pod.node);
    const link = this.#links.get(pod.name);
    const script = [
      pod.meshed ? this.#probes(pod, "delete") : "",
      link === undefined ? "" : `ip -n ${node} link del ${link} 2>/dev/null || true\n`,
    ];
    this.#links.delete(pod.name);
    await runScript(script.join(""));
    await this.#remove(this.namespaceOf(pod.name));
  }

  /** Everything that was built; a second time does nothing. */
  async remove(): Promise<void> {
    if (this.options.uplink) await removeLink(uplinkName(this.options));
    await Promise.all([...this.names].map((name) => this.#remove(name)));
  }

  /** What `ip netns exec` puts in the place of /etc/hosts: that of this machine, and these lines. */
  async setHosts(lines: string): Promise<void> {
    this.#hosts = `${await Deno.readTextFile("/etc/hosts").catch(() => "")}\n${lines}`;
    for (const name of this.names) await this.#writeHosts(name);
  }

  async #writeHosts(name: string): Promise<void> {
    if (this.#hosts === "") return;
    await Deno.mkdir(`${NAMESPACE_FILES}/${name}`, { recursive: true });
    await Deno.writeTextFile(`${NAMESPACE_FILES}/${name}/hosts`, this.#hosts);
  }

  async #buildNode(node: string, wire: string): Promise<void> {
    const { ip4, ip6, nodes, flavour } = this.options;
    const name = this.namespaceOf(node);
    const number = this.#numberOf(node);
    await this.#create(name, "");
    const others = nodes.map((_, at) => at + 1).filter((other) => other !== number);
    await runScript([
      fed(
        "ip -batch -",
        `link add node${number} netns ${wire} type veth peer name wire0 netns ${name}`,
      ),
      fed(
        `ip -n ${wire} -batch -`,
        `link set dev node${number} master wire\nlink set dev node${number} up`,
      ),
      fed(
        `ip -n ${name} -batch -`,
        `link set dev lo up
         link set dev wire0 up
         link add pods ${bridgeMac(number)} type bridge
         link set dev pods up
         addr add ${ip4}.0.${number}/24 dev wire0
         addr add ${ip6}::${hex(number)}/64 dev wire0 nodad
         addr add ${ip4}.${number}.1/24 dev pods
         addr add ${ip6}:0:0:${hex(number)}::1/64 dev pods nodad
         ${others.map((n) => `route add ${ip4}.${n}.0/24 via ${ip4}.0.${n}`).join("\n")}
         ${
          others.map((n) => `route add ${ip6}:0:0:${hex(n)}::/64 via ${ip6}::${hex(n)}`).join("\n")
        }`,
      ),
      fed(`ip netns exec ${name} sh -e`, FORWARD),
      ...nodeRules(flavour).map(([command, input]) =>
        fed(`ip netns exec ${name} ${command}`, input)
      ),
    ].join(""));
  }

  #probes(pod: PodPlace, act: "add" | "delete"): string {
    const { flavour } = this.options;
    // One that is not there any more need not be deleted.
    const orNot = act === "delete" ? " 2>/dev/null || true" : "";
    const commands = pod.ips.map((ip) => `${probeRule(flavour, ip, act)}${orNot}`).join("\n");
    return fed(`ip netns exec ${this.namespaceOf(pod.node)} sh -e`, commands);
  }

  #numberOf(node: string): number {
    const at = this.options.nodes.indexOf(node);
    if (at < 0) throw new Error(`there is no node "${node}"`);
    return at + 1;
  }

  async #create(name: string, batch: string, shell = ""): Promise<void> {
    await this.ledger.record(name);
    try {
      await runScript(`ip netns add ${name}\n`);
    } catch (error) {
      await this.ledger.forget(name);
      throw error;
    }
    // Ours from here on, also if what follows fails.
    this.names.add(name);
    let script = "";
    if (batch !== "") script += fed(`ip -n ${name} -batch -`, batch);
    if (shell !== "") script += fed(`ip netns exec ${name} sh -e`, shell);
    if (script !== "") await runScript(script);
    await this.#writeHosts(name);
  }

  async #remove(name: string): Promise<void> {
    if (!this.names.delete(name)) return;
    await removeNamespace(name);
    await this.ledger.forget(name);
  }
}

function routesToPods(nodes: readonly string[], ip4: string): string {
  return nodes.map((_, at) => `route add ${ip4}.${at + 1}.0/24 via ${ip4}.0.${at + 1}`).join("\n");
}

const FORWARD = `echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding`;
const DISABLE_IPV6 = `echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6
echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6`;

/** Ends what runs inside, then removes it. */
export async function removeNamespace(name: string): Promise<void> {
  await runScript(
    `for pid in $(ip netns pids ${name}); do kill -9 $pid 2>/dev/null || true; done
     ip netns del ${name}
     rm -f ${NAMESPACE_FILES}/${name}/hosts
     rmdir ${NAMESPACE_FILES}/${name} ${NAMESPACE_FILES} 2>/dev/null || true`,
  );
}

/** The link of our own namespace to the wire. */
export function uplinkName({ ip4 }: { readonly ip4: string }): string {
  return `zt-${ip4.replace(".", "-")}`;
}

/** Does nothing where there is none. */
export async function removeLink(link: string): Promise<void> {
  await runScript(`ip link del ${link} 2>/dev/null || true\n`);
}

/**
 * A hardware address that follows from the pod's address: whoever takes over an address is reached at once, while
 * neighbours still remember the one before.
 */
function macOf(ips: readonly Ip[]): string {
  const first = ips[0];
  if (first === undefined) return "";
  const bytes = Array.from(Ip.toBytes(first).slice(-4), (byte) => hex(byte).padStart(2, "0"));
  return `address 02:7a:${bytes.join(":")}`;
}

/** Without one of its own, a bridge takes that of a port, and another one whenever pods come and go. */
const bridgeMac = (number: number): string =>
  `address 02:7b:00:00:00:${hex(number).padStart(2, "0")}`;

const hex = (value: number): string => value.toString(16);
