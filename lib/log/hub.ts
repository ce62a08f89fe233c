import { Filter, RANK } from "./filter.ts";
import { jsonLine, plainLine } from "./format.ts";
import { LOG_LIMITS } from "./limits.ts";
import type { Fields, Level, Log, Span, Write } from "./log.ts";

export interface LogHubOptions {
  /** Takes all bytes at once; see `blockingWriter`. What it throws is caught: the batch counts as lost. */
  readonly write: (bytes: Uint8Array) => void;
  /** Wall clock; fractions of a millisecond become microseconds. */
  readonly nowMs: () => number;
  /** RUST_LOG; empty is `info`. */
  readonly filter: string;
  readonly format: "plain" | "json";
  /** When the lines of this turn are written; a microtask if absent. A timer of 1 ms makes larger batches. */
  readonly defer?: (flush: () => void) => void;
}

/** A data thread's hub: its lines go to control, which alone writes. */
export interface RelayedLogOptions extends Omit<LogHubOptions, "write"> {
  /** Takes finished lines to control, where `relay` takes them. `taken` says when they have left. */
  readonly send: (text: string, linesCount: number) => void;
}

/** All logs of a thread and the one way out. */
export interface LogHub {
  /** `access`, or in module style `ztunnel::proxy::inbound`. The same name gives the same scope. */
  scope(name: string): Log;
  /** Writes what waits, now. Call it last of all. */
  flush(): void;
  /** Current filter, as /logging reports it (behaviour.md 14.4). */
  readonly filter: string;
  /** Appends clauses, after going back to the start filter if `reset`. Throws InvalidFilter and changes nothing. */
  change(clauses: string, reset: boolean): void;
  /** Called after each change, so that other threads hear of it. */
  onChange: (() => void) | undefined;
  /** Finished lines of another thread. */
  relay(text: string, linesCount: number): void;
}

/** The hub of a data thread. */
export interface RelayedLogHub extends LogHub {
  /** So many lines of those sent have left control; there is room for as many more. */
  taken(linesCount: number): void;
}

/** A library of the reference whose noise its operators never see; they know the report with it. */
const START_PREFIX = "hickory_server::server=off,";
const encoder = new TextEncoder();

/** Throws InvalidFilter if the filter cannot be read. */
export function createLogHub(options: LogHubOptions): LogHub {
  return new Hub(options);
}

/**
 * A hub whose lines another thread writes. Of those that wait there, LOG_LIMITS.relayedLinesMax at most: past that they
 * are lost, and counted. Throws InvalidFilter.
 */
export function createRelayedLogHub(options: RelayedLogOptions): RelayedLogHub {
  let waitingCount = 0;
  const hub = new Hub({ ...options, write: () => {} }, (text, linesCount) => {
    if (waitingCount + linesCount > LOG_LIMITS.relayedLinesMax) {
      throw new Error("control does not take our lines");
    }
    waitingCount += linesCount;
    options.send(text, linesCount);
  });
  return Object.assign(hub, { taken: (linesCount: number) => void (waitingCount -= linesCount) });
}

/** One per target; all its logs ask here whether a level is on. */
interface Scope {
  readonly name: string;
  rank: number;
}

class Hub implements LogHub {
  onChange: (() => void) | undefined;
  readonly #options: LogHubOptions;
  readonly #send: (text: string, linesCount: number) => void;
  readonly #start: Filter;
  readonly #scopes = new Map<string, Scope>();
  #filter: Filter;
  #lines: string[] = [];
  #linesCount = 0;
  #charsCount = 0;
  #lostLinesCount = 0;
  #deferred = false;

  constructor(options: LogHubOptions, send?: (text: string, linesCount: number) => void) {
    this.#options = options;
    this.#send = send ?? ((text) => options.write(encoder.encode(text)));
    const asked = options.filter.trim() === "" ? "info" : options.filter;
    this.#start = Filter.parse(START_PREFIX + asked);
    this.#filter = this.#start;
  }

  scope(name: string): Log {
    const scope = this.#scopes.get(name) ?? { name, rank: this.#filter.rankOf(name) };
    this.#scopes.set(name, scope);
    return new ScopedLog(this, scope, []);
  }

  get filter(): string {
    return this.#filter.toString();
  }

  change(clauses: string, reset: boolean): void {
    this.#filter = (reset ? this.#start : this.#filter).and(clauses);
    for (const scope of this.#scopes.values()) scope.rank = this.#filter.rankOf(scope.name);
    this.onChange?.();
  }

  say(level: Level, target: string, spans: readonly Span[], message: string, fields: Fields): void {
    const form = this.#options.format === "json" ? jsonLine : plainLine;
    this.relay(form({ timeMs: this.#options.nowMs(), level, target, spans, message, fields }), 1);
  }

  relay(text: string, linesCount: number): void {
    this.#lines.push(text);
    this.#linesCount += linesCount;
    this.#charsCount += text.length;
    if (
      this.#linesCount >= LOG_LIMITS.linesMax || this.#charsCount >= LOG_LIMITS.batchCharsMax
    ) {
      return this.flush();
    }
    if (this.#deferred) return;
    this.#deferred = true;
    (this.#options.defer ?? queueMicrotask)(() => {
      this.#deferred = false;
      this.flush();
    });
  }

  flush(): void {
    if (this.#lines.length === 0) return;
    const [text, linesCount] = [this.#lines.join(""), this.#linesCount];
    this.#lines = [];
    this.#linesCount = 0;
    this.#charsCount = 0;
    try {
      this.#send(text, linesCount);
    } catch {
      // Nobody is left to tell; the next batch that gets out says how much is missing.
      this.#lostLinesCount += linesCount;
      return;
    }
    if (this.#lostLinesCount === 0) return;
    const lost = this.#lostLinesCount;
    this.#lostLinesCount = 0;
    this.say("warn", "ztunnel::log", [], "log lines were lost, nobody took them", { lost });
  }
}

class ScopedLog implements Log {
  readonly #hub: Hub;
  readonly #scope: Scope;
  readonly #spans: readonly Span[];

  constructor(hub: Hub, scope: Scope, spans: readonly Span[]) {
    this.#hub = hub;
    this.#scope = scope;
    this.#spans = spans;
  }

  get error(): Write | undefined {
    return this.#at("error");
  }
  get warn(): Write | undefined {
    return this.#at("warn");
  }
  get info(): Write | undefined {
    return this.#at("info");
  }
  get debug(): Write | undefined {
    return this.#at("debug");
  }
  get trace(): Write | undefined {
    return this.#at("trace");
  }

  within(span: Span): Log {
    return new ScopedLog(this.#hub, this.#scope, [...this.#spans, span]);
  }

  #at(level: Level): Write | undefined {
    if (this.#scope.rank < RANK[level]) return undefined;
    return (message, fields = {}) =>
      this.#hub.say(level, this.#scope.name, this.#spans, message, fields);
  }
}
