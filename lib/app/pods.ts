/**
 * Shared mode: a proxy instance for every pod that the node's CNI agent names (behaviour.md 10).
 * @module
 */
import type { FollowedTask, Readiness } from "#admin";
import type { Config } from "#config";
import { type PodInfo, PodManager, type RunningPod } from "#inpod";
import type { ConnectionLists, InstanceReport } from "#link";
import { type Netns, powersProblem } from "#linux";
import type { Log } from "#log";
import type { Metrics } from "#metrics";
import type { Clock, Rng } from "#system";
import type { Control } from "./control.ts";
import type { DataThreads, OpenInstance } from "./data_threads.ts";
import { StartFailure } from "./start_failure.ts";

export interface PodsDeps {
  readonly clock: Clock;
  readonly rng: Rng;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly readiness: Readiness;
  readonly threads: Pick<DataThreads, "open">;
  /** Whose certificates are fetched ahead and forgotten (behaviour.md 9.6). */
  readonly control: Pick<Control, "podOpened" | "podClosed">;
}

/** Throws a StartFailure that names the call and the capability, before anything depends on them (behaviour.md 10.10). */
export function checkPowers(config: Config): void {
  const problem = powersProblem({
    mark: config.packetMark,
    transparent: config.requireOriginalSource === true,
  });
  if (problem !== undefined) throw new StartFailure(problem);
}

/** The pods of this node and their proxies. */
export class Pods {
  readonly #manager: PodManager;
  readonly #task: FollowedTask;
  /** Which instance is whose. */
  readonly #uids = new Map<number, string>();
  readonly #started: { add(count: number): void };
  readonly #stopped: { add(count: number): void };
  readonly #gaveUp = Promise.withResolvers<string>();
  #isLeaving = false;

  constructor(config: Config, private readonly deps: PodsDeps) {
    const { clock, rng, log, metrics, readiness } = deps;
    this.#manager = new PodManager({
      path: config.inpodUds,
      clock,
      rng,
      log,
      open: (pod, netns) => this.#open(pod, netns),
      onChange: () => this.#onChange(),
      onGiveUp: (reason) => this.#gaveUp.resolve(reason),
    });
    this.#task = readiness.follow("workload proxy manager", () => this.#manager.waitsFor());
    const count = (state: "Up" | "Pending") =>
      this.#manager.pods().filter((pod) => pod.state === state).length;
    metrics.gauge("workload_manager_active_proxy_count", [], () => count("Up"));
    metrics.gauge("workload_manager_pending_proxy_count", [], () => count("Pending"));
    this.#started = metrics.series("workload_manager_proxies_started", []);
    this.#stopped = metrics.series("workload_manager_proxies_stopped", []);
  }

  /** Resolves, with the reason, if the agent speaks another protocol: drain, and end in failure (behaviour.md 10.6). */
  get gaveUp(): Promise<string> {
    return this.#gaveUp.promise;
  }

  /** The agent is told of us only once the mesh is known: it starts pods in reliance on us (behaviour.md 10.9). */
  start(): void {
    this.#manager.start();
  }

  /** First step of a drain: the agent sees us go, so that our successor is told what we would have been. */
  async leave(): Promise<void> {
    // Readiness is left as it is (behaviour.md 10.9): the probe fails because its server is gone.
    this.#isLeaving = true;
    await this.#manager.disconnect();
  }

  /** Last step: every namespace is let go of. */
  async end(): Promise<void> {
    this.#isLeaving = true;
    await this.#manager.end();
  }

  /** `workloadState` of the dump (behaviour.md 14.3). */
  state(instances: readonly InstanceReport[]): Record<string, unknown> {
    const lists = new Map<string, ConnectionLists[]>();
    for (const { instance, connections } of instances) {
      const uid = this.#uids.get(instance);
      if (uid === undefined) continue;
      lists.set(uid, [...lists.get(uid) ?? [], connections]);
    }
    return Object.fromEntries(
      this.#manager.pods().map(({ uid, info, state, reason }) => {
        const own = lists.get(uid) ?? [];
        const connections = {
          inbound: own.flatMap(({ inbound }) => inbound),
          outbound: own.flatMap(({ outbound }) => outbound),
        };
        // `reason` is ours: why it is still pending.
        return [uid, {
          ...(state === "Up" ? { connections } : {}),
          info,
          ...(reason === undefined ? {} : { reason }),
          state,
        }];
      }),
    );
  }

  async #open(
    { uid, name, namespace, serviceAccount }: PodInfo & { readonly uid: string },
    netns: Netns,
  ): Promise<RunningPod> {
    // So that a successor gets what we have not accepted when we go; where it cannot be set a moment's window is left.
    netns.migrateConnections();
    const info = { name, namespace, serviceAccount };
    const { threads, control } = this.deps;
    // First, since the proxy asks for its certificate as soon as it is open.
    control.podOpened(info);
    let instance: OpenInstance;
    try {
      instance = await threads.open({ kind: "pod", info }, { netnsFd: netns.fd });
    } catch (error) {
      control.podClosed(info);
      throw error;
    }
    this.#uids.set(instance.id, uid);
    this.#started.add(1);
    return {
      close: async () => {
        try {
          await instance.close(0);
        } finally {
          this.#uids.delete(instance.id);
          control.podClosed(info);
          this.#stopped.add(1);
        }
      },
    };
  }

  #onChange(): void {
    if (!this.#isLeaving) this.#task.changed();
  }
}
