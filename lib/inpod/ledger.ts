/**
 * Which pods there are and what is to be done about them: messages in, effects out, no I/O (behaviour.md 10.4, 10.5).
 * @module
 */
import { INPOD_LIMITS } from "./limits.ts";
import type { AgentMessage, PodInfo } from "./messages.ts";

/** A network namespace that somebody holds open; equal `id` is the same namespace. */
export interface Held {
  readonly id: string;
}

export type LedgerEvent<N extends Held> =
  | { readonly on: "connected" }
  | { readonly on: "disconnected" }
  /** `netns` belongs to the ledger from here on; an add always has one. */
  | { readonly on: "message"; readonly message: AgentMessage; readonly netns?: N }
  | { readonly on: "started"; readonly start: number }
  /** `abandoned`: the pod has no network any more. */
  | {
    readonly on: "failed";
    readonly start: number;
    readonly reason: string;
    readonly abandoned: boolean;
  }
  /** Time has passed. */
  | { readonly on: "tick" }
  /** The process ends: everything is let go. */
  | { readonly on: "ended" };

export type Effect<N extends Held> =
  /** An empty error is an ACK. */
  | { readonly act: "answer"; readonly error: string }
  /** Answered by `started` or `failed` with the same number. The ledger still owns `netns`. */
  | {
    readonly act: "start";
    readonly start: number;
    readonly uid: string;
    readonly info: PodInfo;
    readonly netns: N;
  }
  /** At once, whether it is up or still starting; afterwards `netns` is to be closed. */
  | { readonly act: "stop"; readonly start: number; readonly uid: string; readonly netns: N }
  /** Nobody needs it any more. */
  | { readonly act: "release"; readonly netns: N }
  /** The agent speaks another protocol: drain everything and end (behaviour.md 10.6). */
  | { readonly act: "give_up"; readonly reason: string };

/** A pod as the dump and readiness see it. */
export interface PodView {
  readonly uid: string;
  readonly info: PodInfo;
  readonly state: "Pending" | "Up";
  /** Why it is pending, if an attempt has failed. */
  readonly reason: string | undefined;
}

interface Pod<N extends Held> {
  readonly uid: string;
  readonly info: PodInfo;
  readonly netns: N;
  /** Of the attempt under way or the last one. */
  start: number;
  state: "starting" | "up" | "failed";
  readonly sinceMs: number;
  /** Failed attempts in a row. */
  failures: number;
  /** When to try again; meaningful while failed. */
  dueMs: number;
  reason: string | undefined;
  abandoned: boolean;
}

/** One message at a time: the next may be given once `owesAnswer` is false. Times are of one monotonic clock. */
export class Ledger<N extends Held> {
  readonly #pods = new Map<string, Pod<N>>();
  readonly #byStart = new Map<number, Pod<N>>();
  /** Named by the snapshot that is being told. */
  readonly #named = new Set<string>();
  #connected = false;
  #snapshotKnown = false;
  #gaveUp = false;
  #lastStart = 0;
  /** The start whose outcome answers the last message. */
  #owed: { readonly start: number; readonly dueMs: number } | undefined;
  #effects: Effect<N>[] = [];

  handle(event: LedgerEvent<N>, nowMs: number): readonly Effect<N>[] {
    this.#effects = [];
    switch (event.on) {
      case "connected":
        this.#connected = true;
        this.#snapshotKnown = false;
        this.#named.clear();
        break;
      case "disconnected":
        this.#connected = false;
        this.#owed = undefined;
        break;
      case "message":
        this.#onMessage(event.message, event.netns, nowMs);
        break;
      case "started":
        this.#onStarted(event.start);
        break;
      case "failed":
        this.#onFailed(event, nowMs);
        break;
      case "tick":
        this.#onTick(nowMs);
        break;
      case "ended":
        for (const pod of [...this.#pods.values()]) this.#remove(pod);
    }
    return this.#effects;
  }

  /** The last message is not answered yet. */
  get owesAnswer(): boolean {
    return this.#owed !== undefined;
  }

  /** The snapshot of this connection is complete. */
  get snapshotKnown(): boolean {
    return this.#connected && this.#snapshotKnown;
  }

  /** When `tick` is wanted next. */
  nextDueMs(): number | undefined {
    let nextMs = this.#owed?.dueMs;
    for (const pod of this.#pods.values()) {
      if (pod.state === "failed" && (nextMs === undefined || pod.dueMs < nextMs)) {
        nextMs = pod.dueMs;
      }
    }
    return nextMs;
  }

  /** What keeps us from being ready, in words; nothing when we are (behaviour.md 10.9). */
  waitsFor(nowMs: number): readonly string[] {
    if (!this.#connected) return ["the CNI agent"];
    if (!this.#snapshotKnown) return ["the CNI agent's list of pods"];
    const waits: string[] = [];
    for (const { info, failures, abandoned, sinceMs, reason } of this.#pods.values()) {
      if (failures === 0 || abandoned) continue;
      if (nowMs - sinceMs >= INPOD_LIMITS.readinessHoldMs) continue;
      waits.push(`pod ${info.namespace}/${info.name}: ${reason}`);
    }
    return waits;
  }

  /** Every pod, in the order in which they came. */
  pods(): readonly PodView[] {
    return Array.from(this.#pods.values(), ({ uid, info, state, reason }) => ({
      uid,
      info,
      state: state === "up" ? "Up" : "Pending",
      reason,
    }));
  }

  #onMessage(message: AgentMessage, netns: N | undefined, nowMs: number): void {
    switch (message.kind) {
      case "add":
        return this.#add(message.uid, message.info, netns, nowMs);
      case "keep":
        if (this.#snapshotKnown) return this.#giveUp("keep after the snapshot");
        this.#named.add(message.uid);
        return this.#answer("");
      case "del":
        this.#del(message.uid);
        return this.#answer("");
      case "snapshot_sent":
        if (this.#snapshotKnown) return this.#giveUp("a second end of the snapshot");
        for (const pod of [...this.#pods.values()]) {
          if (!this.#named.has(pod.uid)) this.#remove(pod);
        }
        this.#named.clear();
        this.#snapshotKnown = true;
        return this.#answer("");
    }
  }

  #add(uid: string, info: PodInfo | undefined, netns: N | undefined, nowMs: number): void {
    if (netns === undefined) throw new Error("an add comes with its namespace");
    if (info === undefined) {
      this.#release(netns);
      return this.#giveUp(`no workload info for ${uid}`);
    }
    if (!this.#snapshotKnown) this.#named.add(uid);
    const known = this.#pods.get(uid);
    if (known?.netns.id === netns.id) {
      this.#release(netns);
      if (known.state === "up") return this.#answer("");
      if (known.state === "failed") this.#start(known);
      return this.#owe(known, nowMs);
    }
    // The pod was made anew under its old name; its old namespace is dead.
    if (known !== undefined) this.#remove(known);
    if (this.#pods.size >= INPOD_LIMITS.podsMax) {
      this.#release(netns);
      return this.#answer(`failure to start proxy: more than ${INPOD_LIMITS.podsMax} pods`);
    }
    const pod: Pod<N> = {
      uid,
      info,
      netns,
      start: 0,
      state: "starting",
      sinceMs: nowMs,
      failures: 0,
      dueMs: 0,
      reason: undefined,
      abandoned: false,
    };
    this.#pods.set(uid, pod);
    this.#start(pod);
    this.#owe(pod, nowMs);
  }

  /** Before the end of the snapshot a running proxy is left alone: the snapshot decides (behaviour.md 10.5). */
  #del(uid: string): void {
    this.#named.delete(uid);
    const pod = this.#pods.get(uid);
    if (pod === undefined) return;
    if (this.#snapshotKnown || pod.state === "failed") this.#remove(pod);
  }

  #onStarted(start: number): void {
    const pod = this.#byStart.get(start);
    if (pod === undefined) return;
    pod.state = "up";
    pod.failures = 0;
    pod.reason = undefined;
    this.#settle(start, "");
  }

  #onFailed(
    { start, reason, abandoned }: Extract<LedgerEvent<N>, { readonly on: "failed" }>,
    nowMs: number,
  ): void {
    const pod = this.#byStart.get(start);
    if (pod === undefined) return;
    this.#byStart.delete(start);
    const { retryFirstMs, retryMaxMs } = INPOD_LIMITS;
    pod.state = "failed";
    pod.dueMs = nowMs + Math.min(retryMaxMs, retryFirstMs * 2 ** pod.failures);
    pod.failures++;
    pod.reason = reason;
    pod.abandoned = abandoned;
    this.#settle(start, `failure to start proxy: ${reason}`);
  }

  #onTick(nowMs: number): void {
    if (this.#owed !== undefined && nowMs >= this.#owed.dueMs) {
      const pod = this.#byStart.get(this.#owed.start);
      const reason = `not up after ${INPOD_LIMITS.answerMs} ms, and still starting`;
      if (pod !== undefined) {
        pod.failures++;
        pod.reason = reason;
      }
      this.#settle(this.#owed.start, `failure to start proxy: ${reason}`);
    }
    for (const pod of this.#pods.values()) {
      if (pod.state === "failed" && nowMs >= pod.dueMs) this.#start(pod);
    }
  }

  #start(pod: Pod<N>): void {
    pod.state = "starting";
    pod.start = ++this.#lastStart;
    this.#byStart.set(pod.start, pod);
    const { start, uid, info, netns } = pod;
    this.#effects.push({ act: "start", start, uid, info, netns });
  }

  #remove(pod: Pod<N>): void {
    const { start, uid, netns } = pod;
    this.#pods.delete(uid);
    if (!this.#byStart.delete(start)) return this.#release(netns);
    this.#effects.push({ act: "stop", start, uid, netns });
  }

  #owe(pod: Pod<N>, nowMs: number): void {
    this.#owed = { start: pod.start, dueMs: nowMs + INPOD_LIMITS.answerMs };
  }

  /** Answers the message that waits for this start, if one does. */
  #settle(start: number, error: string): void {
    if (this.#owed?.start !== start) return;
    this.#owed = undefined;
    this.#answer(error);
  }

  #release(netns: N): void {
    this.#effects.push({ act: "release", netns });
  }

  #answer(error: string): void {
    this.#effects.push({ act: "answer", error });
  }

  #giveUp(reason: string): void {
    if (this.#gaveUp) return;
    this.#gaveUp = true;
    this.#answer(`failure to process message: ${reason}`);
    this.#effects.push({ act: "give_up", reason });
  }
}
