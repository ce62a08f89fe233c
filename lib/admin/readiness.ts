import type { Log } from "#log";
import type { Clock } from "#system";
import { type HttpServer, type HttpServerOptions, serveHttp } from "./http_server.ts";

/** A task that may come undone again. */
export interface FollowedTask {
  /** To be called when what it waits for may have changed. */
  changed(): void;
}

/** What must be done before we are ready: each part registers its task at start and completes it later. */
export class Readiness {
  readonly #pending = new Set<string>();
  /** By task: what it waits for, in words. */
  readonly #followed = new Map<string, () => readonly string[]>();
  readonly #startMs: number;

  /** Made at process start: completions are logged with the time since. */
  constructor(private readonly clock: Clock, private readonly log: Log) {
    this.#startMs = clock.monotonicMs();
  }

  /** The returned function completes the task; calling it again does nothing. */
  register(task: string): () => void {
    this.#pending.add(task);
    return () => this.#complete(task);
  }

  /** Complete as long as `waitsFor` names nothing; what it names is told to whoever asks. It must not throw. */
  follow(task: string, waitsFor: () => readonly string[]): FollowedTask {
    this.#pending.add(task);
    this.#followed.set(task, waitsFor);
    return {
      changed: () => {
        if (waitsFor().length === 0) return this.#complete(task);
        if (this.#pending.has(task)) return;
        this.#pending.add(task);
        this.log.info?.(`Task '${task}' is pending again`, { waitsFor: waitsFor().join("; ") });
      },
    };
  }

  /** Names in order, each with what it waits for where that is known. */
  pending(): readonly string[] {
    for (const [task, waitsFor] of this.#followed) {
      // Also time alone can end a wait.
      if (waitsFor().length === 0) this.#complete(task);
    }
    return [...this.#pending].sort().map((task) => {
      const waits = this.#followed.get(task)?.() ?? [];
      return waits.length === 0 ? task : `${task} (${waits.join("; ")})`;
    });
  }

  #complete(task: string): void {
    if (!this.#pending.delete(task)) return;
    const elapsedMs = Math.round((this.clock.monotonicMs() - this.#startMs) * 1000) / 1000;
    const left = this.#pending.size;
    const rest = left === 0 ? "marking server ready" : `still awaiting ${left} tasks`;
    this.log.info?.(`Task '${task}' complete (${elapsedMs}ms), ${rest}`);
  }
}

/** `/healthz/ready` for the kubelet (behaviour.md 14.5). */
export function startReadinessServer(
  options: HttpServerOptions & { readonly readiness: Readiness },
): Promise<HttpServer> {
  return serveHttp(options, ({ method, path }) => {
    if (path !== "/healthz/ready") return { status: 404 };
    if (method !== "GET") return { status: 405, headers: { Allow: "GET" } };
    const pending = options.readiness.pending();
    return pending.length === 0
      ? { status: 200, body: "ready\n" }
      : { status: 500, body: `not ready, pending: ${pending.join(", ")}\n` };
  });
}
