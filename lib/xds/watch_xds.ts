import type { Endpoint, GrpcMessage, Network } from "#grpc";
import type { Log } from "#log";
import type { Commit, MeshWriter } from "#mesh";
import type { Metrics } from "#metrics";
import type { Clock, Rng, Timer } from "#system";
import { apply } from "./apply.ts";
import { DEMAND_TIMEOUT_MS } from "./demands.ts";
import { type NodeFacts, nodeOf } from "./node.ts";
import { Retry } from "./retry.ts";
import { KNOWN_TYPES, type Push, type PushOutcome, Session } from "./session.ts";
import { LinkRecord, type Moment, type XdsStatus } from "./status.ts";
import { type Ask, type Ended, runStream, type Speaker } from "./stream.ts";
import { ResponseReader } from "./wire_response.ts";
import { XdsMetrics } from "./xds_metrics.ts";

export interface XdsOptions {
  readonly endpoint: Endpoint;
  readonly node: NodeFacts;
  /** Addresses are fetched when somebody asks for them (behaviour.md 3.8). */
  readonly onDemand: boolean;
  /** Owned by the watch. */
  readonly writer: MeshWriter;
  readonly clock: Clock;
  /** Resolves when everyone else on this thread has had a turn; asked for after each few milliseconds of work. */
  readonly turn: () => Promise<void>;
  /** With `CONTROL_KEEPALIVE` of #grpc. */
  readonly dialer: Network["dialer"];
  readonly rng: Rng;
  readonly log: Log;
  readonly metrics: Metrics;
  /**
   * After each commit, with how many resources it took, those included that said what was known; the view already shows
   * it. A large response has several.
   */
  readonly onCommit: (commit: Commit, resourcesCount: number) => void;
  /** The stream was answered, or has ended. */
  readonly onConnected?: (isConnected: boolean) => void;
}

/** A mesh that follows its control plane. Close it, or it keeps the process alive. */
export interface XdsWatch extends AsyncDisposable {
  /** Resolves once every subscription was answered and accepted (behaviour.md 3.9); never rejects. */
  readonly ready: Promise<void>;
  /**
   * On demand: asks for `network/ip`, a workload's uid or `namespace/hostname`, and resolves when istiod has answered, to
   * true: look again, it may still be unknown. False after DEMAND_TIMEOUT_MS, when too many names wait, when closed, and
   * at once without on-demand mode. Never rejects.
   */
  demand(name: string): Promise<boolean>;
  /** For the dump. */
  status(): XdsStatus;
}

/**
 * Follows a control plane over delta ADS (behaviour.md 3.1 to 3.10), for as long as it takes: whatever fails is logged,
 * counted and tried again, and the mesh stays as it was.
 */
export function watchXds(options: XdsOptions): XdsWatch {
  const follower = new XdsFollower(options);
  follower.start();
  return follower;
}

class XdsFollower implements XdsWatch {
  readonly ready: Promise<void>;
  readonly #options: XdsOptions;
  readonly #session: Session;
  readonly #link: LinkRecord;
  readonly #metrics: XdsMetrics;
  readonly #stop = new AbortController();
  readonly #waiters = new Map<string, ((isAnswered: boolean) => void)[]>();
  #log: Log;
  #state: XdsStatus["state"] = "connecting";
  #ask: Ask | undefined;
  #running: Promise<void> = Promise.resolve();
  #expiry: Timer | undefined;
  #becomeReady: () => void;
  #gotSomething = false;
  /** Tells that the stream's server says nothing. */
  #silence: Timer | undefined;

  constructor(options: XdsOptions) {
    const { onDemand, node, metrics, clock } = options;
    this.#options = options;
    this.#log = options.log;
    this.#session = new Session({ node: nodeOf(node), onDemand });
    this.#link = new LinkRecord(this.#now());
    this.#metrics = new XdsMetrics(metrics, this.#session, this.#link, () => clock.monotonicMs());
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ready = promise;
    this.#becomeReady = resolve;
  }

  start(): void {
    this.#running = this.#run();
  }

  demand(name: string): Promise<boolean> {
    if (this.#stop.signal.aborted) return Promise.resolve(false);
    const isAskable = this.#session.demand(name, this.#options.clock.monotonicMs());
    if (!isAskable) return Promise.resolve(false);
    this.#ask?.();
    this.#expireLater();
    return new Promise((resolve) => {
      const waiting = this.#waiters.get(name);
      if (waiting === undefined) this.#waiters.set(name, [resolve]);
      else waiting.push(resolve);
    });
  }

  status(): XdsStatus {
    return {
      address: this.#options.endpoint.url,
      state: this.#state,
      ready: this.#session.isReady,
      ...this.#link.status(this.#now()),
      demandsWaiting: this.#session.demandsCount,
      types: this.#session.status(),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    this.#expiry?.cancel();
    await this.#running;
    for (const name of [...this.#waiters.keys()]) this.#wake(name, false);
    this.#metrics[Symbol.dispose]();
  }

  async #run(): Promise<void> {
    const { endpoint, clock, turn, dialer, rng, log } = this.#options;
    const retry = new Retry(rng);
    const stop = this.#stop.signal;
    while (!stop.aborted) {
      this.#state = "connecting";
      this.#link.streams++;
      this.#log = log.within({ name: "xds", fields: { id: this.#link.streams } });
      this.#gotSomething = false;
      const ended = await runStream(
        endpoint,
        { clock, turn, dialer },
        stop,
        (ask) => this.#speaker(ask),
      );
      this.#silence?.cancel();
      this.#ask = undefined;
      if (this.#link.isConnected) this.#options.onConnected?.(false);
      const isListTooLong = this.#session.closed(ended.status);
      this.#link.disconnected(this.#now(), stop.aborted ? undefined : ended.error);
      if (stop.aborted) break;
      const { reason, waitMs } = retry.after(ended.end, this.#gotSomething);
      this.#metrics.terminated(reason);
      this.#tellEnd(ended, isListTooLong, reason, waitMs);
      this.#state = "waiting";
      await clock.sleep(waitMs, stop);
    }
    this.#state = "closed";
  }

  #speaker(ask: Ask): Speaker {
    return {
      open: () => {
        const openings = this.#session.open();
        this.#ask = ask;
        this.#listenForSilence();
        return openings;
      },
      answered: () => {
        this.#link.connected(this.#now());
        this.#state = "connected";
        this.#options.onConnected?.(true);
        this.#log.info?.("connected to the xds server", { address: this.#options.endpoint.url });
      },
      heard: (message) => this.#heard(message),
      question: () => this.#session.question(),
    };
  }

  /** A server that takes what we ask and never answers looks, from outside, like one that has nothing to say. */
  #listenForSilence(): void {
    const { clock, endpoint } = this.#options;
    this.#silence = clock.after(SILENCE_TOLD_MS, () => {
      if (this.#gotSomething) return;
      this.#log.warn?.("xds server has not answered our subscriptions", {
        address: endpoint.url,
        waitedMs: SILENCE_TOLD_MS,
      });
    }, { background: true });
  }

  /** The answer; undefined if we were stopped before there was one. */
  async #heard(message: GrpcMessage): Promise<PushOutcome["reply"] | undefined> {
    const { writer, clock, turn, onCommit } = this.#options;
    const response = new ResponseReader(message, KNOWN_TYPES);
    await response.begin();
    this.#gotSomething = true;
    const push = this.#session.receive(response);
    if (push.type === undefined) {
      this.#log.error?.("unknown xds type, ignored", { type: response.typeUrl.slice(0, 200) });
    }
    const stop = this.#stop.signal;
    try {
      if (!await apply(response, push, { writer, clock, turn, onCommit, stop })) return undefined;
    } catch (error) {
      for (const name of push.answered()) this.#wake(name, true);
      throw error;
    }
    const outcome = push.finish(this.#now());
    this.#metrics.received(push.type, outcome);
    this.#tellPush(push, outcome);
    for (const name of outcome.answered) this.#wake(name, true);
    if (this.#session.isReady) this.#becomeReady();
    return outcome.reply;
  }

  #wake(name: string, isAnswered: boolean): void {
    const waiting = this.#waiters.get(name) ?? [];
    this.#waiters.delete(name);
    for (const resolve of waiting) resolve(isAnswered);
  }

  /** One timer for all: whoever came first is due first. */
  #expireLater(): void {
    this.#expiry ??= this.#options.clock.after(DEMAND_TIMEOUT_MS / EXPIRY_CHECKS, () => {
      this.#expiry = undefined;
      for (const name of this.#session.expire(this.#options.clock.monotonicMs())) {
        this.#log.warn?.("xds server did not answer a demand in time", { name });
        this.#wake(name, false);
      }
      if (this.#session.demandsCount > 0 && !this.#stop.signal.aborted) this.#expireLater();
    });
  }

  #tellPush(push: Push, { rejection, rejectedCount, resourcesCount }: PushOutcome): void {
    if (rejection !== undefined) {
      this.#log.warn?.("resources rejected", { rejected: rejectedCount, reasons: rejection });
    }
    this.#log.debug?.("xds response handled", { type: push.type, resources: resourcesCount });
  }

  #tellEnd({ error }: Ended, isListTooLong: boolean, reason: string, waitMs: number): void {
    const fields = { reason, error, retryMs: Math.round(waitMs) };
    if (isListTooLong) {
      const what = "xds server cannot read the list of what we hold, everything is sent again";
      this.#log.warn?.(what, fields);
    } else if (reason === "Reconnect" || reason === "Complete") {
      this.#log.debug?.("xds stream ended", fields);
    } else this.#log.warn?.("xds stream failed", fields);
  }

  #now(): Moment {
    const { clock } = this.#options;
    return { wallMs: clock.nowMs(), monotonicMs: clock.monotonicMs() };
  }
}

/** istiod answers both subscriptions at once, with nothing in them if need be; 100,000 workloads take it a second or two. */
const SILENCE_TOLD_MS = 10_000;
/** A demand is given up at most this part of its time too late. */
const EXPIRY_CHECKS = 10;
