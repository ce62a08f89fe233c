/** Control's half of the link, with real threads, a mesh of one workload and one application. */
import { deepStrictEqual } from "node:assert/strict";
import { DataThreads, type ThreadSpawner, workerSpawner } from "#app";
import { createLogHub, type LogHub } from "#log";
import { createMesh } from "#mesh";
import { Metrics } from "#metrics";
import { realClock, realRng } from "#system";
import type { WatchLimits } from "../../../lib/app/thread_watch.ts";
import { readExactly, socksConnect } from "../../support/proxy_process.ts";
import { until } from "../../support/netns.ts";
import { configOf } from "../config/support.ts";
import { workload } from "../mesh/builders.ts";
import { HANGING } from "./hanging.ts";

export const INFO = { name: "web-1", namespace: "shop", serviceAccount: "web" };
export const MORTAL = new URL("./mortal_worker.ts", import.meta.url);
const ENV = { ZTUNNEL_BIND_ADDRESS: "127.71.1.1", UNSTABLE_ENABLE_SOCKS5: "true" };
export const APP = { ip: "127.71.1.9", port: 8080 };

interface WorldOptions {
  readonly count?: number;
  readonly spawn?: ThreadSpawner;
  readonly env?: Readonly<Record<string, string>>;
  readonly watch?: WatchLimits;
}

/** Control's half of the link, with a mesh of one workload and one application. */
export class World implements AsyncDisposable {
  readonly metrics = new Metrics({ nowMs: () => realClock.monotonicMs() });
  readonly mesh = createMesh({});
  readonly threads: DataThreads;
  readonly hub: LogHub;
  readonly orders = new BroadcastChannel("mortal");
  log = "";

  constructor(
    { count = 2, spawn = workerSpawner(MORTAL), env = {}, watch }: WorldOptions = {},
  ) {
    const hub = this.hub = createLogHub({
      write: (bytes) => this.log += new TextDecoder().decode(bytes),
      nowMs: () => realClock.nowMs(),
      filter: "info",
      format: "plain",
    });
    const { writer } = this.mesh;
    writer.upsertWorkload(workload("web-1", {
      namespace: "shop",
      serviceAccount: "web",
      workloadIps: ["127.71.1.1" as never],
    }));
    writer.upsertWorkload(workload("app-1", {
      namespace: "shop",
      serviceAccount: "app",
      workloadIps: [APP.ip as never],
      protocol: "TCP",
    }));
    writer.commit();
    this.threads = new DataThreads({
      config: configOf({ env: { ...ENV, ...env } }),
      count,
      spawn,
      ...(watch && { watch }),
      clock: realClock,
      rng: realRng,
      hub,
      log: hub.scope("ztunnel::app"),
      mesh: this.mesh,
      metrics: this.metrics,
      onWish: (wish) => {
        if (wish.tell !== "want_cert") return;
        const { identity } = wish;
        this.threads.tell({ tell: "cert_failed", identity, reason: "no CA in this test" });
      },
      greeting: () => [],
      pods: { podOpened: () => {}, podClosed: () => {} },
    });
  }

  /** No thread hangs any more. */
  goOn(): void {
    Deno.env.delete(HANGING);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.goOn();
    this.orders.close();
    await this.threads[Symbol.asyncDispose]();
  }

  order(thread: number, how: "die" | "hang"): void {
    if (how === "hang") Deno.env.set(HANGING, `data-${thread}`);
    this.orders.postMessage({ thread: `data-${thread}`, how });
  }

  async dies(thread: number): Promise<void> {
    const before = this.deathsCount;
    // Who answers listens for orders too.
    await this.threads.report();
    this.order(thread, "die");
    await until("the thread has died", () => this.deathsCount > before, () => this.log);
  }

  get deathsCount(): number {
    return this.log.split("a data thread has died").length - 1;
  }

  /** There are as many threads as before `count` deaths, and all of them serve. */
  async isReplaced(count: number): Promise<boolean> {
    if (this.log.split("another data thread is started").length - 1 < count) return false;
    return (await this.threads.report()).length === this.threads.count;
  }

  async sum(sample: string): Promise<number> {
    let text = "";
    for await (const piece of this.metrics.expose("openmetrics", () => Promise.resolve())) {
      text += piece;
    }
    return text.split("\n").filter((line) => line.startsWith(`${sample}{`))
      .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
  }

  /** Live connections of each thread. */
  async spread(): Promise<number[]> {
    return (await this.threads.report()).map(({ connections }) => connections.outbound.length);
  }
}

export async function ask(connection: Deno.TcpConn): Promise<void> {
  await connection.write(Uint8Array.of(7));
  deepStrictEqual([...await readExactly(connection, 2)], [7, 7]);
}

export async function connectAll(count: number): Promise<Deno.TcpConn[]> {
  const connections = [];
  for (let each = 0; each < count; each++) {
    const connection = await socksConnect("127.71.1.1", APP.ip, APP.port);
    await ask(connection);
    connections.push(connection);
  }
  return connections;
}

export function closeAll(connections: readonly Deno.TcpConn[]): void {
  for (const connection of connections) connection.close();
}

/** What is open, sockets of the runtime's own left out. */
export function openFds(): string[] {
  const open: string[] = [];
  for (const { name } of Deno.readDirSync("/proc/self/fd")) {
    try {
      open.push(`${name} ${Deno.readLinkSync(`/proc/self/fd/${name}`)}`);
    } catch {
      // The listing's own.
    }
  }
  return open;
}

export async function untilFdsAre(count: number): Promise<void> {
  await until(
    `${count} descriptors are open`,
    () => openFds().length <= count,
    () => openFds().join("\n"),
  );
}
