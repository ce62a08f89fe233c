/**
 * A node on which pods come and go all the time, under traffic of others that stay: with agents that restart, namespaces that
 * are dead, listeners that cannot bind, addresses used again and pods told twice. Nothing of a living pod may fail, and
 * nothing of a dead one may be left.
 * @module
 */
import type { Pod } from "#standin";
import { seededRng } from "#system";
import { Ip } from "#values";
import { appPath } from "../../tests/support/cni.ts";
import { MeshNodes } from "../../tests/support/mesh_node.ts";
import { type Program, sh, until } from "../../tests/support/netns.ts";
import type { Scenario, Soaked } from "../support/soak.ts";

/** Pods that come and go, each with an address of its own, and how many of them there may be at once. */
const SLOTS = 200;
const PODS_MAX = 40;
/** Of connections between pods that stay. */
const PER_SECOND = 100;
/** At a time: making a pod is work for the machine, not for the proxy. */
const MAKERS = 2;
const TRAFFIC_FIRST_MS = 10_000;
const RESTART_AFTER_MS = 2_500;
/**
 * What a process holds after everything has gone, against what it held before anything came. V8 collects when it likes: the
 * same rest twice differs by the slack.
 */
const RSS_FACTOR_MAX = 1.3;
const RSS_SLACK_KB = 24_000;
const PORT = 8080;

const nameOf = (slot: number) => `p${slot}`;
const ipOf = (slot: number) => Ip.parse(`10.77.1.${30 + slot}`)!;

/** Ways of a pod to come and to go, in turns. */
const LIVES = [
  "usual",
  "usual",
  "told twice",
  "usual",
  "port taken",
  "usual",
  "dead from the start",
  "usual",
] as const;

const COUNTED_LIVES = [
  ["told twice", "pods told twice"],
  ["port taken", "pods that could not bind at first"],
  ["dead from the start", "namespaces dead from the start"],
] as const;

export const churn: Scenario = { name: "churn", start: () => Churn.start() };

class Churn implements Soaked {
  readonly processes: readonly { readonly name: string; readonly pid: number }[];
  readonly #counts: Record<string, number> = {
    "connections of pods that stay": 0,
    "pods that came and went": 0,
    "pods told twice": 0,
    "pods that could not bind at first": 0,
    "namespaces that went first": 0,
    "namespaces dead from the start": 0,
    "agents restarted": 0,
  };
  readonly #wrong: string[] = [];
  readonly #rng = seededRng(0x90d);
  #lives = 0;
  #rssLast = 0;
  #threadsFirst = 0;
  #namespacesFirst = 0;

  /** Before any pod comes or goes, but after traffic: what code and buffers need is there then. */
  #rssBefore = 0;

  private constructor(private readonly mesh: MeshNodes, private readonly server: Pod) {
    this.processes = [{ name: "proxy", pid: mesh.proxy().pid }];
  }

  static async start(): Promise<Churn> {
    const mesh = await MeshNodes.start({
      // Tunnels that nobody uses are given up soon, so that a rest shows what is left.
      env: { RUST_LOG: "warn", POOL_UNUSED_RELEASE_TIMEOUT: "2s" },
      workloads: Array.from({ length: SLOTS }, (_, slot) => ({
        uid: `c//Pod/demo/${nameOf(slot)}`,
        name: nameOf(slot),
        namespace: "demo",
        // Some share an account, as pods of one deployment do.
        serviceAccount: `p${slot % 20}`,
        trustDomain: "cluster.local",
        node: "node1",
        workloadIps: [ipOf(slot)],
        protocol: "HBONE",
        services: {},
      })),
    });
    try {
      await mesh.pod("client");
      await mesh.pod("outsider", { meshed: false });
      const server = await mesh.pod("server");
      await mesh.nodes.serve("server", `${PORT}`);
      await mesh.ready();
      const churn = new Churn(mesh, server);
      const storms = await Promise.all(["client", "outsider"].map((from) => churn.#storm(from)));
      await sleep(TRAFFIC_FIRST_MS, new AbortController().signal);
      for (const storm of storms) await churn.#endStorm(storm);
      churn.#rssBefore = await rssOf(mesh.proxy().pid);
      return churn;
    } catch (error) {
      await mesh[Symbol.asyncDispose]();
      throw error;
    }
  }

  async load(stop: AbortSignal): Promise<void> {
    const storms = await Promise.all(["client", "outsider"].map((from) => this.#storm(from)));
    const free = Array.from({ length: SLOTS }, (_, slot) => slot);
    const living: number[] = [];
    await Promise.all([
      this.#restartAgents(stop),
      ...Array.from({ length: MAKERS }, () => this.#makePods(stop, free, living)),
    ]);
    await this.#makeUp(free, living);
    for (const slot of living) await this.#end(slot);
    for (const storm of storms) await this.#endStorm(storm);
  }

  async remains(): Promise<string> {
    const wrong: string[] = [];
    const { workloadState } = await this.mesh.dump() as {
      readonly workloadState: Readonly<Record<string, unknown>>;
    };
    const uids = Object.keys(workloadState);
    if (uids.length !== 2) wrong.push(`the proxy has ${uids.length} pods: ${uids.join(" ")}`);
    const { pid } = this.processes[0]!;
    const namespaces = await namespacesHeld(pid);
    // One for each pod and, per thread, the proxy's own.
    if (this.#threadsFirst !== 0 && namespaces > this.#namespacesFirst) {
      wrong.push(`${namespaces} namespaces are held, and ${this.#namespacesFirst} at the start`);
    }
    const threads = await threadsOf(pid);
    if (this.#threadsFirst !== 0 && threads > this.#threadsFirst + THREADS_SLACK) {
      wrong.push(`${threads} threads, and ${this.#threadsFirst} at the start`);
    }
    if (wrong.length === 0) {
      this.#rssLast = await rssOf(pid);
      if (this.#threadsFirst === 0) {
        this.#threadsFirst = threads;
        this.#namespacesFirst = namespaces;
      }
    }
    return wrong.join("; ");
  }

  done(): Readonly<Record<string, number>> {
    return this.#counts;
  }

  complaints(): readonly string[] {
    return this.#wrong;
  }

  grown(): string {
    const limit = this.#rssBefore * RSS_FACTOR_MAX + RSS_SLACK_KB;
    return this.#rssLast <= limit
      ? ""
      : `RSS is ${this.#rssLast} kB after ${this.#rssBefore} kB, over ${Math.round(limit)} kB`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.mesh[Symbol.asyncDispose]();
  }

  async #storm(from: string): Promise<Program> {
    const { nodes } = this.mesh;
    const [ip4, ip6] = this.server.ips;
    return await nodes.run(from, [
      "python3",
      appPath("storm.py"),
      `${PER_SECOND / 2}`,
      ...[`${ip4}`, `${PORT}`, `${ip6}`, `${PORT}`],
    ], { ready: /ready/ });
  }

  async #endStorm(storm: Program): Promise<void> {
    storm.signal("SIGTERM");
    await storm.ended;
    const { ok, ...bad } = JSON.parse(storm.output().trim().split("\n").at(-1)!);
    this.#count("connections of pods that stay", ok);
    for (const [how, count] of Object.entries(bad)) this.#wrong.push(`${count} times ${how}`);
  }

  async #restartAgents(stop: AbortSignal): Promise<void> {
    while (!stop.aborted) {
      await sleep(RESTART_AFTER_MS, stop);
      if (stop.aborted) return;
      const { cni } = this.mesh.nodes;
      // Now and then the new one has lost a namespace, so that a pod is only kept.
      if (this.#rng.below(3) === 0) cni.agent("node1").forgetNamespace(this.server.uid);
      await cni.agent("node1").restart(this.#rng.below(1_500));
      this.#count("agents restarted");
    }
  }

  async #makePods(stop: AbortSignal, free: number[], living: number[]): Promise<void> {
    while (!stop.aborted) {
      const grows = living.length < PODS_MAX && this.#rng.below(PODS_MAX) >= living.length / 2;
      const from = grows ? free : living;
      // The address that was freed last is used again first, as some CNI plugins do.
      const at = this.#rng.below(4) === 0 ? from.length - 1 : this.#rng.below(from.length);
      const slot = from[at];
      if (slot === undefined) continue;
      from.splice(at, 1);
      if (grows) {
        await this.#begin(slot);
        living.push(slot);
      } else {
        await this.#end(slot);
        free.push(slot);
      }
    }
  }

  /** What a slow machine has not come to, or only while the agent was away: each kind has to be seen. */
  async #makeUp(free: number[], living: number[]): Promise<void> {
    const agent = this.mesh.nodes.cni.agent("node1");
    for (const [life, kind] of COUNTED_LIVES) {
      if (this.#counts[kind] !== 0) continue;
      await until("the proxy is connected", () => agent.readyCount === 1, () => this.mesh.logs());
      const slot = free.pop()!;
      await this.#begin(slot, life);
      living.push(slot);
    }
  }

  async #begin(slot: number, life = LIVES[this.#lives++ % LIVES.length]!): Promise<void> {
    const { cni } = this.mesh.nodes;
    const name = nameOf(slot);
    const pod = await cni.makePod({
      name,
      namespace: "demo",
      serviceAccount: `p${slot % 20}`,
      node: "node1",
      ips: [ipOf(slot)],
    });
    if (life === "dead from the start") {
      await sh(`ip -n ${pod.netns} link del eth0; ip -n ${pod.netns} link set dev lo down`);
      this.#count("namespaces dead from the start");
      await cni.announce(pod);
      return;
    }
    if (life === "port taken") return await this.#beginWithPortTaken(pod);
    await this.#announce(pod);
    if (life === "told twice") {
      await this.#announce(pod);
      this.#count("pods told twice");
    }
    await this.#use(pod);
  }

  /** A pod that its agent has told and its proxy has taken. The agent may be away: the pod is in its snapshot then. */
  async #announce(pod: Pod): Promise<void> {
    const { cni } = this.mesh.nodes;
    const answer = await cni.announce(pod);
    if (answer.kind === "refused" || answer.kind === "unanswered") {
      this.#wrong.push(`${pod.name}: ${JSON.stringify(answer)}`);
    }
    if (answer.kind === "gone") await this.#untilUp(pod);
  }

  async #beginWithPortTaken(pod: Pod): Promise<void> {
    const { cni } = this.mesh.nodes;
    const taker = await this.mesh.nodes.serve(pod.name, "15008");
    const answer = await cni.announce(pod);
    taker.signal("SIGKILL");
    await taker.ended;
    if (answer.kind === "ok") this.#wrong.push(`${pod.name}: took a pod whose port is taken`);
    if (answer.kind === "refused") this.#count("pods that could not bind at first");
    await this.#untilUp(pod);
    await this.#use(pod);
  }

  async #untilUp(pod: Pod): Promise<void> {
    await until(
      `the proxy has ${pod.uid}`,
      async () => {
        const { workloadState } = await this.mesh.dump() as {
          readonly workloadState: Readonly<Record<string, { readonly state: string }>>;
        };
        return workloadState[pod.uid]?.state === "Up";
      },
      () => this.mesh.logs(),
      30_000,
    );
  }

  /** Once it is taken, what it sends arrives. */
  async #use(pod: Pod): Promise<void> {
    const answer = await this.mesh.nodes.ask(pod.name, `${this.server.ips[0]}`, PORT);
    if (!answer.includes(`caller=${pod.ips[0]} `)) this.#wrong.push(`${pod.name} heard ${answer}`);
  }

  async #end(slot: number): Promise<void> {
    const first = this.#counts["namespaces that went first"] === 0 || this.#rng.below(4) === 0;
    await this.mesh.nodes.cni.removePod(nameOf(slot), first ? "told last" : "told first");
    if (first) this.#count("namespaces that went first");
    this.#count("pods that came and went");
  }

  #count(what: string, by = 1): void {
    this.#counts[what] = (this.#counts[what] ?? 0) + by;
  }
}

/** The runtime's pool grows and shrinks by itself. */
const THREADS_SLACK = 4;

async function namespacesHeld(pid: number): Promise<number> {
  return Number(await sh(`ls -l /proc/${pid}/fd | grep -c net: || true`));
}

async function threadsOf(pid: number): Promise<number> {
  return Number(await sh(`ls /proc/${pid}/task | wc -l`));
}

async function rssOf(pid: number): Promise<number> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]);
}

async function sleep(ms: number, stop: AbortSignal): Promise<void> {
  if (stop.aborted) return;
  const over = Promise.withResolvers<void>();
  const timer = setTimeout(over.resolve, ms);
  stop.addEventListener("abort", () => over.resolve(), { once: true });
  await over.promise;
  clearTimeout(timer);
}
