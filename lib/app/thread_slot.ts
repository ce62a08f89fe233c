import type { Config } from "#config";
import type { InstanceReport, ToControl, ToData } from "#link";
import { FdLedger } from "#linux";
import type { Log, LogHub } from "#log";
import type { Mesh, MeshHandles } from "#mesh";
import { type Metrics, newCells, type ThreadCells } from "#metrics";
import { ListenError } from "#stream";
import { Backoff, type Clock, type Rng, type Timer } from "#system";
import { THREAD_LIMITS, WATCH_LIMITS } from "./limits.ts";
import type { Opened } from "./opened.ts";
import type { SpawnedThread, ThreadSpawner } from "./spawn.ts";
import { ThreadWatch, type WatchLimits } from "./thread_watch.ts";

/** What a data thread wants of the control side. */
export type Wish = Extract<ToControl, { readonly tell: "want_cert" | "want_address" }>;

export interface SlotDeps {
  readonly config: Config;
  /** How many threads there are. */
  readonly count: number;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly hub: LogHub;
  readonly log: Log;
  readonly mesh: Pick<Mesh, "lend" | "retract">;
  readonly metrics: Metrics;
  readonly spawn: ThreadSpawner;
  readonly onWish: (wish: Wish) => void;
  /** What a new thread has to know before anything else. */
  readonly greeting: () => readonly ToData[];
  /** What has to be open, also on a replacement. */
  readonly instances: ReadonlyMap<number, Opened>;
  readonly isStarted: () => boolean;
  readonly onDeath: (reason: string) => void;
  /** The thread is there and will never answer again; nothing can end it. */
  readonly onStuck: (reason: string) => void;
  /** WATCH_LIMITS if absent. */
  readonly watch?: WatchLimits;
  /** Whether somebody is to take a dead thread's place. */
  readonly isReplaced: () => boolean;
}

/** One thread, from its birth to its death. */
interface Life {
  readonly thread: SpawnedThread;
  readonly handles: MeshHandles;
  readonly cells: ThreadCells;
  readonly ledger: FdLedger;
  readonly bornMs: number;
  /** None where the thread is our own. */
  readonly watch: ThreadWatch | undefined;
}

/** Who waits for what a thread knows of its peers, and what came of it so far. */
interface Listing {
  readonly answer: PromiseWithResolvers<readonly InstanceReport[]>;
  readonly parts: (readonly InstanceReport[])[];
  /** Until the next part has to be there. */
  giveUp: Timer;
}

/** The place of one data thread: whoever lives in it, now and after a death. */
export class ThreadSlot {
  #life: Life | undefined;
  readonly #backoff: Backoff;
  /** Who waits until this thread, or the one after it, has opened an instance. */
  readonly #opening = new Map<number, PromiseWithResolvers<void>>();
  readonly #closing = new Map<number, PromiseWithResolvers<void>>();
  readonly #listing = new Map<number, Listing>();
  #lastListing = 0;
  #draining: PromiseWithResolvers<void> | undefined;
  #isStopped = false;
  /** It has not ended its drain in time: nothing that it may still say is waited for. */
  #isGivenUp = false;
  readonly #silence: Disposable;

  constructor(private readonly index: number, private readonly deps: SlotDeps) {
    this.#backoff = new Backoff(
      { firstMs: THREAD_LIMITS.restartFirstMs, maxMs: THREAD_LIMITS.restartMaxMs },
      deps.rng,
    );
    this.#silence = deps.metrics.gauge(
      "ztunnel_data_thread_silence_seconds",
      [String(index)],
      () => (this.#life?.watch?.silentMs ?? 0) / 1_000,
    );
    this.#begin();
  }

  tell(word: ToData): void {
    this.#life?.thread.port.post(word);
  }

  /** Resolves when the thread has it open, be it after a death or two; rejects with a ListenError. */
  open(instance: Opened): Promise<void> {
    const answer = Promise.withResolvers<void>();
    this.#opening.set(instance.id, answer);
    const isLost = this.#life === undefined && !this.deps.isReplaced();
    if (this.#isGivenUp || isLost) this.#refuseOpening();
    else if (this.#life !== undefined) this.#order(this.#life, instance);
    return answer.promise;
  }

  /** Resolves when nothing of it is left here. */
  async close(id: number, deadlineMs: number): Promise<void> {
    // Nobody shall wait for what will not be.
    this.#settle(this.#opening, id);
    if (this.#life === undefined || this.#isGivenUp) return;
    // Who asks again, with a nearer deadline, waits for the same end.
    const answer = this.#closing.get(id) ?? Promise.withResolvers<void>();
    this.#closing.set(id, answer);
    this.tell({ tell: "close", instance: id, deadlineMs });
    await answer.promise;
  }

  /** Resolves when the thread has drained or died, at the latest a moment after the deadline. */
  async drain(deadlineMs: number): Promise<void> {
    if (this.#life === undefined) return;
    const answer = this.#draining = Promise.withResolvers<void>();
    this.tell({ tell: "drain", deadlineMs });
    const giveUp = this.deps.clock.after(deadlineMs + THREAD_LIMITS.drainSlackMs, () => {
      this.deps.log.error?.("a data thread does not end its drain", { thread: this.index });
      this.#isGivenUp = true;
      this.#refuseOpening();
      this.#settleClosing();
      answer.resolve();
    });
    await answer.promise;
    giveUp.cancel();
  }

  async report(): Promise<readonly InstanceReport[]> {
    if (this.#life === undefined) return [];
    const id = ++this.#lastListing;
    const answer = Promise.withResolvers<readonly InstanceReport[]>();
    const listing = { answer, parts: [], giveUp: this.#listingTimer(answer) };
    this.#listing.set(id, listing);
    this.tell({ tell: "list_connections", id });
    const lists = await answer.promise;
    listing.giveUp.cancel();
    this.#listing.delete(id);
    return lists;
  }

  #listingTimer({ resolve }: Listing["answer"]): Timer {
    return this.deps.clock.after(THREAD_LIMITS.reportTimeoutMs, () => resolve([]));
  }

  /** For good. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#silence[Symbol.dispose]();
    const life = this.#life;
    this.#life = undefined;
    if (life === undefined) return;
    life.watch?.stop();
    life.thread.port.close();
    life.thread.kill();
    if (!life.thread.isInline) await this.#bury(life);
  }

  #begin(): void {
    const { count, mesh, metrics, clock, config, hub, spawn, instances } = this.deps;
    const ledger = new FdLedger();
    const cells = newCells();
    const handles = mesh.lend();
    const thread = spawn({
      index: this.index,
      count,
      config,
      mesh: handles,
      cells,
      ledger: ledger.buffer,
    });
    const life: Life = {
      thread,
      handles,
      cells: metrics.attach(cells),
      ledger,
      bornMs: clock.monotonicMs(),
      watch: thread.isInline ? undefined : this.#watch(thread),
    };
    this.#life = life;
    thread.onDeath = (reason) => this.#end(life, reason);
    thread.port.onWord = (word) => this.#hear(life, word);
    this.tell({ tell: "log_filter", filter: hub.filter });
    for (const word of this.deps.greeting()) this.tell(word);
    // First, so that what is opened accepts at once.
    if (this.deps.isStarted()) this.tell({ tell: "start" });
    for (const instance of instances.values()) this.#order(life, instance);
  }

  #watch(thread: SpawnedThread): ThreadWatch {
    const { clock, log, watch = WATCH_LIMITS, onStuck } = this.deps;
    return new ThreadWatch(clock, watch, {
      ask: () => thread.port.post({ tell: "are_you_there" }),
      onSilent: (silentMs) =>
        log.error?.("bug: a data thread does not answer, its connections stand still", {
          thread: this.index,
          silent_ms: silentMs,
        }),
      onBack: (silentMs) =>
        log.warn?.("the data thread answers again", { thread: this.index, silent_ms: silentMs }),
      onLost: (silentMs) =>
        onStuck(`data thread ${this.index} has not answered for ${silentMs / 1_000} s`),
    });
  }

  #order(life: Life, instance: Opened): void {
    try {
      const spec = instance.specFor(life.ledger);
      this.tell({ tell: "open", instance: instance.id, spec });
    } catch (error) {
      this.#onRefused(life, instance.id, error instanceof Error ? error : new Error(String(error)));
    }
  }

  #hear(life: Life, word: ToControl): void {
    switch (word.tell) {
      case "want_cert":
      case "want_address":
        return this.deps.onWish(word);
      case "opened":
        return this.#settle(this.#opening, word.instance);
      case "open_failed":
        return this.#onRefused(
          life,
          word.instance,
          new ListenError(word.code, word.errno, word.reason),
        );
      case "closed":
        return this.#settle(this.#closing, word.instance);
      case "drained":
        return this.#draining?.resolve();
      case "here":
        return life.watch?.answered();
      case "connections":
        return this.#listed(word.id, word.instances, word.isLast);
      case "log":
        this.deps.hub.relay(word.text, word.linesCount);
        return this.tell({ tell: "log_taken", linesCount: word.linesCount });
      case "series": {
        const slots = life.cells.learn(word);
        if (slots.length > 0) this.tell({ tell: "series_freed", slots });
        return;
      }
      case "dying":
        return this.#end(life, word.reason);
    }
  }

  #listed(id: number, instances: readonly InstanceReport[], isLast: boolean): void {
    const listing = this.#listing.get(id);
    if (listing === undefined) return;
    listing.parts.push(instances);
    listing.giveUp.cancel();
    if (isLast) listing.answer.resolve(listing.parts.flat());
    else listing.giveUp = this.#listingTimer(listing.answer);
  }

  /** Who asked for it hears why; what a predecessor had open is tried again. */
  #onRefused(life: Life, id: number, error: Error): void {
    const answer = this.#opening.get(id);
    if (answer !== undefined) {
      this.#opening.delete(id);
      return answer.reject(error);
    }
    const instance = this.deps.instances.get(id);
    if (instance === undefined) return;
    this.deps.log.error?.("a new data thread cannot take over yet", {
      thread: this.index,
      error: error.message,
      retry_ms: THREAD_LIMITS.reopenMs,
    });
    this.deps.clock.after(THREAD_LIMITS.reopenMs, () => {
      if (this.#life === life && this.deps.instances.has(id)) this.#order(life, instance);
    });
  }

  #end(life: Life, reason: string): void {
    if (this.#life !== life) return;
    this.#life = undefined;
    life.watch?.stop();
    const { clock, log } = this.deps;
    life.thread.port.close();
    life.thread.kill();
    life.cells.detach();
    this.#settleClosing();
    for (const { answer } of this.#listing.values()) answer.resolve([]);
    this.#draining?.resolve();
    void this.#bury(life);
    log.error?.("bug: a data thread has died", { thread: this.index, error: reason });
    this.deps.onDeath(reason);
    if (!this.deps.isReplaced()) return this.#refuseOpening();
    if (clock.monotonicMs() - life.bornMs >= THREAD_LIMITS.soundAfterMs) this.#backoff.reset();
    const restartMs = this.#backoff.nextMs();
    clock.after(restartMs, () => {
      if (this.#isStopped || !this.deps.isReplaced()) return;
      this.#begin();
      log.warn?.("another data thread is started", { thread: this.index, waited_ms: restartMs });
    });
  }

  /** Frees what the runtime does not: its place in the mesh and its raw file descriptors. */
  async #bury({ ledger, handles }: Life): Promise<void> {
    const { clock, log, mesh } = this.deps;
    const untilMs = clock.monotonicMs() + THREAD_LIMITS.goneMaxMs;
    while (ledger.isThreadAlive) {
      if (clock.monotonicMs() > untilMs) {
        // It may still use them: better lost than given to somebody else.
        log.error?.("a dead data thread does not go", { thread: this.index });
        return;
      }
      await clock.sleep(THREAD_LIMITS.goneCheckMs);
    }
    mesh.retract(handles);
    const closedCount = ledger.closeAll();
    log.debug?.("a dead data thread is gone", { thread: this.index, closedCount });
  }

  #settleClosing(): void {
    for (const id of [...this.#closing.keys()]) this.#settle(this.#closing, id);
  }

  /** Nobody is there any more who could: whoever waits would keep the process from ending. */
  #refuseOpening(): void {
    for (const { reject } of this.#opening.values()) {
      reject(new Error(`data thread ${this.index} is gone and has no successor`));
    }
    this.#opening.clear();
  }

  #settle(waiting: Map<number, PromiseWithResolvers<void>>, id: number): void {
    waiting.get(id)?.resolve();
    waiting.delete(id);
  }
}
