import { identityOf, type MeshView, type Workload, type WorkloadInfo } from "#mesh";
import type { Clock } from "#system";
import { Refusal, type SpiffeId } from "#values";
import { PROXY_LIMITS } from "./parts.ts";

/**
 * The workload that a proxy instance serves, looked up once per epoch of the mesh. A connection that comes before
 * the control plane has told of it waits a bounded time (behaviour.md 4.2).
 */
export class LocalWorkload {
  #epoch = -1;
  #workload: Workload | undefined;
  readonly #waiters = new Set<(workload: Workload | undefined) => void>();

  constructor(
    private readonly view: MeshView,
    private readonly info: WorkloadInfo,
    private readonly clock: Clock,
  ) {}

  /** Now, without waiting. */
  get current(): Workload | undefined {
    if (this.#epoch !== this.view.epoch) {
      this.#epoch = this.view.epoch;
      this.#workload = this.view.localWorkload(this.info);
    }
    return this.#workload;
  }

  /** Rejects with a Refusal (unknown_workload) after the wait. */
  async get(): Promise<Workload> {
    const workload = this.current ?? await this.#wait();
    if (workload !== undefined) return workload;
    const { name, namespace, serviceAccount } = this.info;
    throw new Refusal({
      kind: "unknown_workload",
      workload: `${serviceAccount}.${namespace} (${name})`,
    });
  }

  /** Our own name: the trust domain is the record's, the rest is what the node calls us (behaviour.md 9.7). */
  identityOf(workload: Workload): SpiffeId {
    return identityOf({ ...workload, ...this.info });
  }

  /** The mesh has changed. */
  recheck(): void {
    if (this.#waiters.size === 0) return;
    const workload = this.current;
    if (workload === undefined) return;
    for (const wake of this.#waiters) wake(workload);
  }

  #wait(): Promise<Workload | undefined> {
    return new Promise((resolve) => {
      const wake = (workload: Workload | undefined): void => {
        this.#waiters.delete(wake);
        timer.cancel();
        resolve(workload);
      };
      const timer = this.clock.after(PROXY_LIMITS.localWorkloadWaitMs, () => wake(undefined));
      this.#waiters.add(wake);
    });
  }
}
