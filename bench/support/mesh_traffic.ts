/**
 * 1,000 requests a second through the proxy's SOCKS5 port to a server of the mesh: on kept connections, and each tenth
 * one on a connection of its own, for which the proxy looks up and decides anew. Requests leave by the clock, whatever
 * became of those before.
 * @module
 */
import { readExactly, socksConnect } from "../../tests/support/proxy_process.ts";
import { PROXY_IP } from "./mesh_proxy.ts";

const SERVER_IP = "127.0.0.3";
const SERVER_PORT = 8080;
const REQUESTS_PER_SECOND = 1_000;
const KEPT_COUNT = 16;
const FRESH_EACH = 10;
const REQUEST_BYTES = 100;
const TICK_MS = 5;
/** Requests under way; above it those that are due count as failed, so that a stall is not made worse by us. */
const PENDING_MAX = 200;

export interface Pace {
  readonly count: number;
  /** Connections that were refused or reset, as with an overrun accept queue. */
  readonly failed: number;
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly longest: number;
}

export class Traffic implements AsyncDisposable {
  readonly #kept: Deno.TcpConn[] = [];
  readonly #free: Deno.TcpConn[] = [];
  readonly #server: Deno.TcpListener;
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #pending = new Set<Promise<void>>();
  #timesMs: number[] = [];
  #sent = 0;
  #failed = 0;
  #startMs = performance.now();

  private constructor(
    server: Deno.TcpListener,
    kept: Deno.TcpConn[],
    private readonly rate: number,
  ) {
    this.#server = server;
    this.#kept = kept;
    this.#free = [...kept];
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  /** `rate`: requests a second. */
  static async start(rate = REQUESTS_PER_SECOND): Promise<Traffic> {
    const server = Deno.listen({ hostname: SERVER_IP, port: SERVER_PORT });
    void echo(server);
    const kept = await Promise.all(
      Array.from({ length: KEPT_COUNT }, () => socksConnect(PROXY_IP, SERVER_IP, SERVER_PORT)),
    );
    return new Traffic(server, kept, rate);
  }

  during(timeMs: number): Promise<void> {
    return new Promise((resolve) => setTimeout(resolve, timeMs));
  }

  /** Of the requests since the last call. */
  pace(): Pace {
    const times = this.#timesMs.sort((a, b) => a - b);
    this.#timesMs = [];
    const at = (share: number) =>
      times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? 0;
    return {
      count: times.length,
      failed: this.#failed,
      p50: at(0.5),
      p99: at(0.99),
      p999: at(0.999),
      longest: times.at(-1) ?? 0,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    await Promise.allSettled([...this.#pending]);
    for (const connection of this.#kept) connection.close();
    this.#server.close();
  }

  #tick(): void {
    const due = Math.floor((performance.now() - this.#startMs) * this.rate / 1_000);
    while (this.#sent < due) {
      // When it should have left: a client that waits its turn must not hide a stall.
      const dueMs = this.#startMs + this.#sent * 1_000 / this.rate;
      if (this.#pending.size >= PENDING_MAX) {
        this.#sent++;
        this.#failed++;
        continue;
      }
      const asking = this.#ask(this.#sent++ % FRESH_EACH === 0, dueMs)
        .catch(() => void this.#failed++);
      this.#pending.add(asking);
      void asking.finally(() => this.#pending.delete(asking));
    }
  }

  async #ask(isFresh: boolean, dueMs: number): Promise<void> {
    const kept = isFresh ? undefined : this.#free.pop();
    const connection = kept ?? await socksConnect(PROXY_IP, SERVER_IP, SERVER_PORT);
    try {
      await connection.write(new Uint8Array(REQUEST_BYTES));
      await readExactly(connection, REQUEST_BYTES);
      this.#timesMs.push(performance.now() - dueMs);
      if (kept !== undefined) this.#free.push(kept);
    } finally {
      if (kept === undefined) connection.close();
    }
  }
}

async function echo(server: Deno.TcpListener): Promise<void> {
  try {
    for await (const connection of server) {
      void connection.readable.pipeTo(connection.writable).catch(() => {});
    }
  } catch {
    // It was closed.
  }
}
