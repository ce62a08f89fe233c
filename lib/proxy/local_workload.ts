import { identityOf, type MeshView, type Workload, type WorkloadInfo } from "#mesh";
import type { Clock } from "#system";
import { type Ip, Refusal, type SpiffeId } from "#values";

export interface LocalWorkloadOptions {
  readonly view: MeshView;
  readonly info: WorkloadInfo;
  readonly network: string;
  readonly clock: Clock;
  /** How long a connection waits for the control plane to tell of our workload. */
  readonly waitMs: number;
  /** Whether the control plane can tell us anything now. */
  readonly isControlPlaneConnected: () => boolean;
}

/**
 * The workload that a proxy instance serves, looked up once per epoch of the mesh. A connection that comes before
 * the control plane has told of it waits a bounded time (behaviour.md 4.2).
 */
export class LocalWorkload {
  #epoch = -1;
  #workload: Workload | undefined;
  /** Whose name was asked for last: each connection asks several times, mostly for the same one. */
  #named: Workload | undefined;
  #name: SpiffeId | undefined;
  readonly #waiters = new Set<(workload: Workload | undefined) => void>();

  constructor(private readonly options: LocalWorkloadOptions) {}

  /** Now, without waiting. */
  get current(): Workload | undefined {
    const { view, info } = this.options;
    if (this.#epoch !== view.epoch) {
      this.#epoch = view.epoch;
      this.#workload = view.localWorkload(info);
    }
    return this.#workload;
  }

  /** Rejects with a Refusal (unknown_workload) after the wait. `ip` is ours, as the connection has it. */
  async get(ip: Ip): Promise<Workload> {
    const workload = this.current ?? await this.#wait();
    if (workload !== undefined) return workload;
    throw new Refusal({
      kind: "unknown_workload",
      workload: describe(this.options.info),
      cause: this.#causeAt(ip),
    });
  }

  /** Whoever is on call wants to know whose fault it is (users.md 1, 17). */
  #causeAt(ip: Ip): string {
    const { view, network, waitMs, isControlPlaneConnected } = this.options;
    const other = view.workloadAt(network, ip);
    const known = other === undefined
      ? `it knows nobody at ${ip}`
      : `it knows ${ip} as ${describe(other)} on node "${other.node}"`;
    if (isControlPlaneConnected()) {
      return `not told by the control plane within ${waitMs} ms; ${known}`;
    }
    return `the control plane is not connected, and from before ${known}`;
  }

  /** Our own name: the trust domain is the record's, the rest is what the node calls us (behaviour.md 9.7). */
  identityOf(workload: Workload): SpiffeId {
    if (workload !== this.#named || this.#name === undefined) {
      this.#name = identityOf({ ...workload, ...this.options.info });
      this.#named = workload;
    }
    return this.#name;
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
      const { clock, waitMs } = this.options;
      const timer = clock.after(waitMs, () => wake(undefined));
      this.#waiters.add(wake);
    });
  }
}

/** As ztunnel prints it (behaviour.md 15.1). */
function describe({ name, namespace, serviceAccount }: WorkloadInfo): string {
  return `${serviceAccount}.${namespace} (${name})`;
}
