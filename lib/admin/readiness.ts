import type { Log } from "#log";
import type { Clock } from "#system";
import { type HttpServer, type HttpServerOptions, serveHttp } from "./http_server.ts";

/** What must be done before we are ready: each part registers its task at start and completes it later. */
export class Readiness {
  readonly #pending = new Set<string>();
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

  /** Names in order. */
  pending(): readonly string[] {
    return [...this.#pending].sort();
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
