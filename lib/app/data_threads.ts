import type { InstanceReport, ToData } from "#link";
import { createKernel } from "#linux";
import type { WorkloadInfo } from "#mesh";
import { THREAD_LIMITS } from "./limits.ts";
import { type InstanceOrder, Opened } from "./opened.ts";
import { instanceOptions } from "./settings.ts";
import { type SlotDeps, ThreadSlot } from "./thread_slot.ts";

export interface DataThreadsDeps
  extends Omit<SlotDeps, "instances" | "isStarted" | "onDeath" | "onStuck" | "isReplaced"> {
  /** Told of each pod whose proxy runs, and of its end. */
  readonly pods: {
    podOpened(pod: WorkloadInfo): void;
    podClosed(pod: WorkloadInfo): void;
  };
}

/** A proxy instance that is open on every data thread. */
export interface OpenInstance {
  readonly id: number;
  /** Resolves when no thread has anything of it left. A deadline of 0 cuts its connections at once. */
  close(deadlineMs: number): Promise<void>;
}

/** More threads have died than can be an accident, or one neither lives nor dies. */
export class ThreadsLost extends Error {
  override readonly name = "ThreadsLost";
}

/** All data threads, as control sees them: one to talk to, whoever of them has died lately. */
export class DataThreads implements AsyncDisposable {
  readonly count: number;
  /** Rejects with a ThreadsLost when threads die faster than they can be replaced, or one hangs; never resolves. */
  readonly lost: Promise<never>;
  readonly #slots: readonly ThreadSlot[];
  readonly #instances = new Map<number, Opened>();
  readonly #lost = Promise.withResolvers<never>();
  #deathsMs: number[] = [];
  #lastId = 0;
  #started = false;
  #isDraining = false;

  constructor(private readonly deps: DataThreadsDeps) {
    const { count, metrics, hub } = deps;
    this.count = count;
    this.lost = this.#lost.promise;
    // Whoever waits for something else too may have stopped listening.
    this.lost.catch(() => {});
    const slotDeps: SlotDeps = {
      ...deps,
      instances: this.#instances,
      isStarted: () => this.#started,
      onDeath: (reason) => this.#onDeath(reason),
      onStuck: (reason) => this.#lost.reject(new ThreadsLost(reason)),
      // Whoever is leaving needs no successor.
      isReplaced: () => !this.#isDraining && this.#deathsMs.length < THREAD_LIMITS.deathsMax,
    };
    this.#slots = Array.from({ length: count }, (_, index) => new ThreadSlot(index, slotDeps));
    metrics.onExpose = () => this.tell({ tell: "sweep_series" });
    hub.onChange = () => this.tell({ tell: "log_filter", filter: hub.filter });
  }

  tell(word: ToData): void {
    for (const slot of this.#slots) slot.tell(word);
  }

  /** From now on instances accept. */
  start(): void {
    this.#started = true;
    this.tell({ tell: "start" });
  }

  /**
   * Opens an instance on every thread, and on their replacements. Rejects with a ListenError with nothing of it left
   * open. `netnsFd` is lent until the instance is closed.
   */
  async open(
    order: InstanceOrder,
    { netnsFd }: { readonly netnsFd?: number } = {},
  ): Promise<OpenInstance> {
    const { config, clock } = this.deps;
    const instance = new Opened(++this.#lastId, order, netnsFd);
    const { listeners } = instanceOptions(config, order, clock);
    const isShared = order.kind !== "pod" || !config.inpodPortReuse;
    if (isShared) {
      const netns = netnsFd === undefined ? {} : { netns: netnsFd };
      instance.share(createKernel({ clock, ...netns }), listeners);
    }
    this.#instances.set(instance.id, instance);
    if (order.kind === "pod") this.deps.pods.podOpened(order.info);
    const opened = await Promise.allSettled(this.#slots.map((slot) => slot.open(instance)));
    const failed = opened.find((each) => each.status === "rejected");
    if (failed !== undefined) {
      await this.#close(instance, 0);
      throw failed.reason;
    }
    return { id: instance.id, close: (deadlineMs) => this.#close(instance, deadlineMs) };
  }

  /** All instances on all threads, with one deadline. */
  async drain(deadlineMs: number): Promise<void> {
    this.#isDraining = true;
    for (const instance of this.#instances.values()) instance.close();
    await Promise.all(this.#slots.map((slot) => slot.drain(deadlineMs)));
  }

  /** What every instance knows of its peers, thread after thread. */
  async report(): Promise<readonly InstanceReport[]> {
    return (await Promise.all(this.#slots.map((slot) => slot.report()))).flat();
  }

  /** Ends all threads as they are; resolves when nothing of theirs is open any more. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isDraining = true;
    for (const instance of this.#instances.values()) instance.close();
    await Promise.all(this.#slots.map((slot) => slot.stop()));
  }

  async #close(instance: Opened, deadlineMs: number): Promise<void> {
    const wasOpen = this.#instances.delete(instance.id);
    instance.close();
    await Promise.all(this.#slots.map((slot) => slot.close(instance.id, deadlineMs)));
    const { kind, info } = instance.order;
    if (wasOpen && kind === "pod") this.deps.pods.podClosed(info);
  }

  #onDeath(reason: string): void {
    const nowMs = this.deps.clock.monotonicMs();
    const { deathsMax, deathsWindowMs } = THREAD_LIMITS;
    this.#deathsMs = [...this.#deathsMs.filter((each) => nowMs - each < deathsWindowMs), nowMs];
    if (this.#isDraining || this.#deathsMs.length < deathsMax) return;
    this.#lost.reject(
      new ThreadsLost(
        `${deathsMax} data threads have died in ${deathsWindowMs / 1_000} s; the last: ${reason}`,
      ),
    );
  }
}
