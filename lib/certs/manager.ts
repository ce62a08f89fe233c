import type { Clock, Rng, Timer } from "#system";
import type { CertBundle } from "#tls";
import type { SpiffeId } from "#values";
import type { Authority, CertificateState } from "./authority.ts";
import { renewalDueMs, Retries } from "./schedule.ts";

/** Who is served first: a connection that waits, a workload that just arrived, a renewal. */
export type Priority = "now" | "warmup" | "background";
const URGENCY: Readonly<Record<Priority, number>> = { now: 2, warmup: 1, background: 0 };

export const LIMITS = {
  /** As ztunnel: what a CA gets from one node at a time. */
  fetchesInFlightMax: 8,
  /** An authority that never answers must not keep one of those places: longer than any CA's own timeout. */
  fetchMaxMs: 60_000,
  /** A node has some hundred pods; past this something invents identities, and each costs memory and CA calls. */
  identitiesMax: 10_000,
  /** Longest nap of a timer: the wall clock may jump (suspended machine), and a certificate expires by it. */
  napMaxMs: 10 * 60_000,
} as const;

export interface CertManagerOptions {
  readonly authority: Authority;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly lifetimeMs: number;
  /** A bundle was issued or renewed. Must not throw. */
  readonly onBundle: (bundle: CertBundle) => void;
  /** A wanted bundle cannot be had now; the retry timer goes on. Must not throw. */
  readonly onFailed: (identity: SpiffeId, reason: string) => void;
  /** Whoever waits for a bundle that nobody here needs any more hears so: no trouble of the authority's. Must not throw. */
  readonly onForgotten: (identity: SpiffeId, reason: string) => void;
  /** A renewal failed while `bundle` is still valid: nobody waits, it serves on. Must not throw. */
  readonly onRenewalFailed?: (bundle: CertBundle, reason: string) => void;
}

type State =
  | { readonly kind: "initializing" }
  | { readonly kind: "available"; readonly bundle: CertBundle }
  | { readonly kind: "unavailable"; readonly reason: string };

interface Entry {
  readonly identity: SpiffeId;
  readonly retries: Retries;
  state: State;
  priority: Priority;
  /** Wall clock: when the next fetch is wanted. */
  dueMs: number;
  /** Until then; absent while the entry is queued or being fetched. */
  timer?: Timer;
}

/**
 * Keeps a certificate for every wanted identity (behaviour.md 9.7): one fetch per identity at a time, the most
 * urgent first, renewed at half of its life, kept while it is valid if the authority fails.
 */
export class CertManager implements Disposable {
  readonly #options: CertManagerOptions;
  readonly #entries = new Map<SpiffeId, Entry>();
  readonly #queued = new Set<Entry>();
  /** With the timer that gives each up. */
  readonly #fetching = new Map<SpiffeId, Timer>();
  #isDisposed = false;

  constructor(options: CertManagerOptions) {
    this.#options = options;
  }

  /**
   * Answers by `onBundle` or `onFailed`: at once if the state is known, else when the fetch ends. A known failure is
   * answered with its reason and starts no fetch: its retry is on its way.
   */
  want(identity: SpiffeId, priority: Priority = "now"): void {
    if (this.#isDisposed) return this.#options.onFailed(identity, "shutting down");
    const entry = this.#entries.get(identity);
    if (entry === undefined) return this.#add(identity, priority);
    switch (entry.state.kind) {
      case "available":
        return this.#options.onBundle(entry.state.bundle);
      case "unavailable":
        return this.#options.onFailed(identity, entry.state.reason);
      case "initializing":
        if (URGENCY[priority] > URGENCY[entry.priority]) entry.priority = priority;
    }
  }

  /** Somebody may want it soon (behaviour.md 9.6): no answer, and nothing new if it is known already. */
  fetchAhead(identity: SpiffeId): void {
    const entry = this.#entries.get(identity);
    if (entry === undefined && !this.#isDisposed) this.#add(identity, "warmup");
  }

  /** Nobody here has this identity any more. A fetch under way is finished for nothing, unless it is wanted again. */
  forget(identity: SpiffeId): void {
    const entry = this.#entries.get(identity);
    if (entry === undefined) return;
    this.#drop(entry);
    if (entry.state.kind === "initializing") {
      this.#options.onForgotten(identity, "the identity is no longer needed");
    }
  }

  /** Every entry, by identity. */
  states(): readonly CertificateState[] {
    const entries = [...this.#entries.values()];
    // Code units, not locale: the order must be the same on every machine.
    entries.sort((a, b) => a.identity < b.identity ? -1 : 1);
    return entries.map(describe);
  }

  /** Stops all timers; what is still being fetched is thrown away. */
  [Symbol.dispose](): void {
    this.#isDisposed = true;
    for (const entry of [...this.#entries.values()]) this.#drop(entry);
    for (const timeout of this.#fetching.values()) timeout.cancel();
  }

  #add(identity: SpiffeId, priority: Priority): void {
    if (this.#entries.size >= LIMITS.identitiesMax) {
      const reason = `cannot hold certificates for more than ${LIMITS.identitiesMax} identities`;
      return this.#options.onFailed(identity, reason);
    }
    const entry: Entry = {
      identity,
      retries: new Retries(this.#options.rng),
      state: { kind: "initializing" },
      priority,
      dueMs: this.#options.clock.nowMs(),
    };
    this.#entries.set(identity, entry);
    // Forgotten and wanted again while its fetch runs: that fetch will do.
    if (!this.#fetching.has(identity)) this.#enqueue(entry);
  }

  #drop(entry: Entry): void {
    entry.timer?.cancel();
    this.#queued.delete(entry);
    this.#entries.delete(entry.identity);
  }

  #enqueue(entry: Entry): void {
    this.#queued.add(entry);
    this.#startFetches();
  }

  #startFetches(): void {
    while (this.#fetching.size < LIMITS.fetchesInFlightMax) {
      const entry = mostUrgent(this.#queued);
      if (entry === undefined) return;
      this.#queued.delete(entry);
      this.#fetch(entry.identity);
    }
  }

  #fetch(identity: SpiffeId): void {
    const { authority, clock, lifetimeMs } = this.#options;
    let isOver = false;
    const finish = (conclude: (entry: Entry) => void) => {
      if (isOver) return;
      isOver = true;
      timeout.cancel();
      this.#finish(identity, conclude);
    };
    const timeout = clock.after(LIMITS.fetchMaxMs, () => {
      const reason = `the certificate authority did not answer in ${LIMITS.fetchMaxMs / 1_000} s`;
      finish((entry) => this.#fail(entry, reason));
    }, { background: true });
    this.#fetching.set(identity, timeout);
    authority.sign(identity, lifetimeMs).then(
      (bundle) => finish((entry) => this.#succeed(entry, bundle)),
      (error: unknown) => finish((entry) => this.#fail(entry, reasonOf(error))),
    );
  }

  /** `conclude` sees the entry as it is now, which may be another than the one that started the fetch. */
  #finish(identity: SpiffeId, conclude: (entry: Entry) => void): void {
    this.#fetching.delete(identity);
    const entry = this.#entries.get(identity);
    if (entry !== undefined) conclude(entry);
    this.#startFetches();
  }

  #succeed(entry: Entry, bundle: CertBundle): void {
    entry.state = { kind: "available", bundle };
    entry.retries.reset();
    this.#scheduleAt(entry, renewalDueMs(bundle, this.#options.clock.nowMs()));
    this.#options.onBundle(bundle);
  }

  #fail(entry: Entry, reason: string): void {
    const { clock } = this.#options;
    const nowMs = clock.nowMs();
    const retryDueMs = nowMs + entry.retries.nextMs(clock.monotonicMs());
    if (entry.state.kind === "available" && entry.state.bundle.notAfterMs > nowMs) {
      // Nobody waits: the certificate still serves. At its end one more try decides.
      this.#scheduleAt(entry, Math.min(retryDueMs, entry.state.bundle.notAfterMs));
      this.#options.onRenewalFailed?.(entry.state.bundle, reason);
      return;
    }
    entry.state = { kind: "unavailable", reason };
    this.#scheduleAt(entry, retryDueMs);
    this.#options.onFailed(entry.identity, reason);
  }

  #scheduleAt(entry: Entry, dueMs: number): void {
    entry.priority = "background";
    entry.dueMs = dueMs;
    this.#nap(entry);
  }

  #nap(entry: Entry): void {
    const { clock } = this.#options;
    const leftMs = entry.dueMs - clock.nowMs();
    entry.timer = clock.after(Math.min(Math.max(0, leftMs), LIMITS.napMaxMs), () => {
      delete entry.timer;
      if (clock.nowMs() < entry.dueMs) this.#nap(entry);
      else this.#enqueue(entry);
    }, { background: true });
  }
}

function mostUrgent(entries: Iterable<Entry>): Entry | undefined {
  let best: Entry | undefined;
  for (const entry of entries) {
    const lead = best === undefined ? 1 : URGENCY[entry.priority] - URGENCY[best.priority];
    if (lead > 0 || (lead === 0 && entry.dueMs < best!.dueMs)) best = entry;
  }
  return best;
}

function describe({ identity, state }: Entry): CertificateState {
  switch (state.kind) {
    case "initializing":
      return { identity, state: "Initializing", chainPem: "", rootsPem: "" };
    case "available": {
      const { chainPem, rootsPem } = state.bundle;
      return { identity, state: "Available", chainPem, rootsPem };
    }
    case "unavailable":
      return { identity, state: `Unavailable: ${state.reason}`, chainPem: "", rootsPem: "" };
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
