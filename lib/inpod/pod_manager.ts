import type { Netns } from "#linux";
import type { Log } from "#log";
import type { Clock, Rng, Timer } from "#system";
import { AgentLink } from "./agent_link.ts";
import { type Effect, Ledger, type LedgerEvent, type PodView } from "./ledger.ts";
import type { PodInfo } from "./messages.ts";

/** A pod's proxy that accepts connections. */
export interface RunningPod {
  /** Ends it and its connections at once; resolves when nobody uses the namespace any more. */
  close(): Promise<void>;
}

export interface PodManagerOptions {
  /** Of the agent's socket. */
  readonly path: string;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly log: Log;
  /** Starts the proxy of a pod; resolves when all its listeners are bound. `netns` is lent until `close` has resolved. */
  open(pod: PodInfo & { readonly uid: string }, netns: Netns): Promise<RunningPod>;
  /** Something that `waitsFor` or `pods` tell may have changed. Must not throw. */
  onChange(): void;
  /** The agent speaks another protocol (behaviour.md 10.6); nothing more is read from it. Must not throw. */
  onGiveUp(reason: string): void;
}

interface Instance {
  readonly netns: Netns;
  readonly opening: Promise<RunningPod>;
}

/**
 * Runs a proxy for every pod that the node's CNI agent names (behaviour.md 10). Owns the namespaces: each is closed once,
 * when nobody uses it any more.
 */
export class PodManager {
  readonly #ledger = new Ledger<Netns>();
  readonly #link: AgentLink;
  readonly #instances = new Map<number, Instance>();
  /** By namespace: proxies that are being stopped, so that a new one there finds its ports free. */
  readonly #closing = new Map<string, Promise<void>>();
  #answered: PromiseWithResolvers<void> | undefined;
  #timer: Timer | undefined;
  #ended = false;

  constructor(private readonly options: PodManagerOptions) {
    const { path, clock, rng, log } = options;
    this.#link = new AgentLink({
      path,
      clock,
      rng,
      log,
      onConnected: () => this.#handle({ on: "connected" }),
      onDisconnected: () => {
        this.#handle({ on: "disconnected" });
        this.#answered?.resolve();
      },
      onMessage: async (message, netns) => {
        this.#answered = Promise.withResolvers();
        this.#handle({ on: "message", message, ...(netns === undefined ? {} : { netns }) });
        if (this.#ledger.owesAnswer) await this.#answered.promise;
      },
      wasUseful: () => this.#ledger.snapshotKnown,
    });
  }

  /** Connects at once, and again whenever it must. Call once. */
  start(): void {
    this.#link.start();
  }

  /** What keeps us from being ready, in words. */
  waitsFor(): readonly string[] {
    return this.#ledger.waitsFor(this.options.clock.monotonicMs());
  }

  pods(): readonly PodView[] {
    return this.#ledger.pods();
  }

  /** Reads nothing more from the agent, which sees us go; running proxies stay. Resolves when earlier stops are done. */
  async disconnect(): Promise<void> {
    const closing = this.#link.close();
    // Nobody is there any more to wait for the answer.
    this.#answered?.resolve();
    await closing;
    await Promise.all(this.#closing.values());
  }

  /** After `disconnect` and the end of all traffic: ends what runs and lets go of every namespace. */
  async end(): Promise<void> {
    await this.disconnect();
    this.#ended = true;
    this.#handle({ on: "ended" });
    await Promise.all(this.#closing.values());
  }

  #handle(event: LedgerEvent<Netns>): void {
    const effects = this.#ledger.handle(event, this.options.clock.monotonicMs());
    for (const effect of effects) this.#perform(effect);
    this.#schedule();
    this.options.onChange();
  }

  #perform(effect: Effect<Netns>): void {
    switch (effect.act) {
      case "answer":
        this.#link.answer(effect.error);
        return this.#answered?.resolve();
      case "start":
        return this.#start(effect);
      case "stop":
        return this.#stop(effect);
      case "release":
        return effect.netns[Symbol.dispose]();
      case "give_up":
        // Its answer is on its way already.
        void this.#link.close();
        return this.options.onGiveUp(effect.reason);
    }
  }

  #start({ start, uid, info, netns }: Extract<Effect<Netns>, { readonly act: "start" }>): void {
    const { log, open, clock } = this.options;
    const sinceMs = clock.monotonicMs();
    const pod = `${info.namespace}/${info.name}`;
    const opening = (async () => {
      await this.#closing.get(netns.id);
      return await open({ ...info, uid }, netns);
    })();
    this.#instances.set(start, { netns, opening });
    opening.then(() => {
      const elapsedMs = Math.round((clock.monotonicMs() - sinceMs) * 10) / 10;
      log.info?.("pod proxy started", { pod, uid, elapsedMs });
      this.#handle({ on: "started", start });
    }, (error) => {
      // Gone if the pod has been stopped meanwhile, which let go of its namespace too.
      if (!this.#instances.delete(start)) return;
      const reason = error instanceof Error ? error.message : String(error);
      const abandoned = netns.isAbandoned;
      log.error?.("pod proxy cannot start, and will be tried again", {
        pod,
        uid,
        error: reason,
        ...(abandoned ? { hint: "the pod has no network any more" } : {}),
      });
      this.#handle({ on: "failed", start, reason, abandoned });
    });
  }

  #stop({ start, uid, netns }: Extract<Effect<Netns>, { readonly act: "stop" }>): void {
    const instance = this.#instances.get(start);
    if (instance === undefined) return netns[Symbol.dispose]();
    this.#instances.delete(start);
    const closing = (async () => {
      // If it never came up nothing is left to close.
      const running = await instance.opening.catch(() => undefined);
      try {
        await running?.close();
      } finally {
        netns[Symbol.dispose]();
      }
      this.options.log.info?.("pod proxy stopped", { uid });
    })().finally(() => {
      if (this.#closing.get(netns.id) === closing) this.#closing.delete(netns.id);
      this.options.onChange();
    });
    this.#closing.set(netns.id, closing);
  }

  #schedule(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const dueMs = this.#ledger.nextDueMs();
    if (dueMs === undefined || this.#ended) return;
    const { clock } = this.options;
    const delayMs = Math.max(0, dueMs - clock.monotonicMs());
    this.#timer = clock.after(delayMs, () => this.#handle({ on: "tick" }), { background: true });
  }
}
