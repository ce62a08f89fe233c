/**
 * What `dev --pods` builds, derived from the mesh's YAML: a pod per workload, a node per name of one, a demo service per
 * target port.
 * @module
 */
import type { Service, Workload } from "#mesh";
import { Ip } from "#values";
import { demosOf, type DevDemo } from "./dev_plan.ts";

/** More would be no laptop any more: each node is a proxy, each pod a namespace. */
export const NODES_MAX = 8;
export const PODS_MAX = 200;

/** The namespaces' network: node `n` has 10.77.n.0/24 and fd77:0:0:n::/64. */
export const NETWORK = { ip4: "10.77", ip6: "fd77" } as const;

export interface PodPlan {
  readonly workload: Workload;
  readonly ips: readonly Ip[];
  readonly isMeshed: boolean;
  readonly demos: readonly DevDemo[];
}

export interface PodsPlan {
  /** In the order of their numbers, which start at 1. */
  readonly nodes: readonly string[];
  readonly pods: readonly PodPlan[];
  readonly services: readonly Service[];
}

interface Mesh {
  readonly workloads: readonly Workload[];
  readonly services: readonly Service[];
}

/**
 * Throws an Error that says what the YAML must have for `dev --pods`. `nodes` are those that there are: they keep their
 * numbers.
 */
export function planPods(mesh: Mesh, nodes: readonly string[] = []): PodsPlan {
  const names = [...new Set([...nodes, ...mesh.workloads.map(({ node }) => node)])];
  if (mesh.workloads.length > PODS_MAX) throw new Error(`at most ${PODS_MAX} workloads`);
  if (names.length > NODES_MAX) throw new Error(`at most ${NODES_MAX} nodes`);
  if (mesh.workloads.length === 0) throw new Error("no workload: no pod to make");
  const pods = mesh.workloads.map((workload) => podOf(workload, names));
  const taken = new Map<string, string>();
  // Namespaces that are no pods have names too.
  for (const name of ["wire", ...names, ...names.map((name) => `ztunnel-${name}`)]) {
    if (pods.some(({ workload }) => workload.name === name)) {
      throw new Error(`workload "${name}": the name ${name} is taken by a node or its proxy`);
    }
  }
  for (const { workload: { name }, ips } of pods) {
    for (const key of [`the name ${name}`, ...ips]) {
      const other = taken.get(key);
      if (other !== undefined) throw new Error(`workload "${name}": "${other}" has ${key} already`);
      taken.set(key, name);
    }
  }
  return { nodes: names, pods, services: mesh.services };
}

function podOf(workload: Workload, nodes: readonly string[]): PodPlan {
  const { name, node, workloadIps } = workload;
  const wrong = (what: string) => new Error(`workload "${name}": ${what}`);
  for (const [kind, value] of [["name", name], ["node", node]] as const) {
    // It becomes a namespace's name, and a part of shell commands.
    if (!/^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/.test(value)) {
      throw wrong(`${kind} "${value}": expected a-z, 0-9, "-" and "."`);
    }
  }
  const number = nodes.indexOf(node) + 1;
  const [four, six] = [`${NETWORK.ip4}.${number}.`, `${NETWORK.ip6}:0:0:${number.toString(16)}::`];
  for (const ip of workloadIps) {
    if (!isOf(ip, four, six)) {
      throw wrong(
        `address ${ip}: node "${node}" is the ${
          ordinal(number)
        }, so expected ${four}10 to ${four}254, ` +
          `or ${six}10 and up`,
      );
    }
  }
  if (workloadIps.length === 0) throw wrong(`expected an address, as ${four}10`);
  return {
    workload,
    ips: workloadIps,
    isMeshed: workload.protocol === "HBONE",
    demos: demosOf(workload),
  };
}

/** What is below .10 belongs to the bridge and the proxy. */
const FIRST = 10;

function isOf(ip: Ip, four: string, six: string): boolean {
  if (Ip.family(ip) === 4) return ip.startsWith(four) && Number(ip.slice(four.length)) >= FIRST;
  const bytes = Ip.toBytes(ip);
  const network = Ip.toBytes(Ip.parse(six)!);
  return bytes.slice(0, 8).every((byte, at) => byte === network[at]) &&
    bytes.slice(8).some((byte, at) => at < 7 ? byte !== 0 : byte >= FIRST);
}

function ordinal(number: number): string {
  return number === 1 ? "1st" : number === 2 ? "2nd" : number === 3 ? "3rd" : `${number}th`;
}

/** What an edit means for the pods that there are. A pod of which anything has changed goes and comes. */
export function comparePods(
  before: readonly PodPlan[],
  after: readonly PodPlan[],
): { readonly gone: readonly PodPlan[]; readonly come: readonly PodPlan[] } {
  const keys = (pods: readonly PodPlan[]) => new Set(pods.map(keyOf));
  const [old, young] = [keys(before), keys(after)];
  return {
    gone: before.filter((pod) => !young.has(keyOf(pod))),
    come: after.filter((pod) => !old.has(keyOf(pod))),
  };
}

function keyOf({ workload, ips, isMeshed, demos }: PodPlan): string {
  const { name, namespace, serviceAccount, node } = workload;
  return JSON.stringify([name, namespace, serviceAccount, node, ips, isMeshed, demos]);
}

/** What to paste: each meshed pod that serves nothing asks each service, else the first pod does. */
export function podCommands({ pods, services }: PodsPlan): readonly string[] {
  const client = pods.find(({ isMeshed, demos }) => isMeshed && demos.length === 0) ?? pods[0]!;
  const commands = services.filter(({ vips }) => vips.length > 0).map(({ hostname, ports }) => {
    const port = [...ports.keys()][0] ?? 80;
    return curl(client, port === 80 ? hostname : `${hostname}:${port}`);
  });
  const outsider = pods.find(({ isMeshed }) => !isMeshed);
  const served = pods.find(({ isMeshed, demos }) => isMeshed && demos.length > 0);
  if (outsider !== undefined && served !== undefined) {
    commands.push(curl(outsider, `${served.ips[0]}:${served.demos[0]!.address.port}`));
  }
  return commands;
}

function curl({ workload }: PodPlan, host: string): string {
  return `ip netns exec ${workload.name} curl -s http://${host}/`;
}

/** For the pods' /etc/hosts: in a cluster DNS would know these names. */
export function hostLines(services: readonly Service[]): string {
  return services.flatMap(({ hostname, vips }) => vips.map(({ ip }) => `${ip} ${hostname}\n`))
    .join("");
}
