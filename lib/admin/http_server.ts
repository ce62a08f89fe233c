/**
 * HTTP/1.1 for the three small servers; the only file that knows which server library it is.
 *
 * Over node:http, not Deno.serve: the latter (2.9.6) has no header timeout, lets a silent peer stay for ever, takes
 * 900 KB of headers, speaks HTTP/2 when asked, and its shutdown waits for silent peers without end (all measured).
 * @module
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { display, type Log } from "#log";
import type { Clock } from "#system";
import { ADMIN_LIMITS } from "./limits.ts";

/** `hostname` is an IP without brackets; port 0 asks for any. */
export interface ListenAddress {
  readonly hostname: string;
  readonly port: number;
}

export interface HttpRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  /** By lower-case name. */
  header(name: string): string | undefined;
}

export interface HttpAnswer {
  readonly status: number;
  /** `text/plain` if absent. */
  readonly contentType?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | AsyncIterable<string | Uint8Array>;
}

export type Handler = (request: HttpRequest) => HttpAnswer | Promise<HttpAnswer>;

export interface HttpServerOptions {
  /** Part of log lines and errors: `admin`, `stats`, `readiness`. */
  readonly component: string;
  readonly listen: readonly ListenAddress[];
  readonly clock: Clock;
  readonly log: Log;
  /**
   * Accepts in the server's place when the runtime has stopped doing so (it does for good when file descriptors run out
   * once), and gives what comes to `onSocket`; until disposed.
   */
  readonly keepAccepting?: (server: Server, onSocket: (socket: Socket) => void) => Disposable;
}

export interface HttpServer {
  /** With the ports that were really bound. */
  readonly addresses: readonly ListenAddress[];
  /** Stops accepting at once, ends idle connections, resolves when running requests are answered or out of time. */
  drain(): Promise<void>;
}

/** Rejects with an Error that names component and address if one cannot be bound; then none stays bound. */
export async function serveHttp(options: HttpServerOptions, handle: Handler): Promise<HttpServer> {
  const listeners: Listener[] = [];
  try {
    for (const address of options.listen) {
      const listener = new Listener(options, handle);
      await listener.bind(address);
      listeners.push(listener);
    }
  } catch (error) {
    await Promise.all(listeners.map((listener) => listener.drain()));
    throw error;
  }
  return {
    addresses: listeners.map((listener) => listener.address),
    drain: async () => void await Promise.all(listeners.map((listener) => listener.drain())),
  };
}

/** node:http reads this property of servers; its types do not know it. */
interface HalfOpenServer {
  httpAllowHalfOpen: boolean;
}

class Listener {
  readonly #options: HttpServerOptions;
  readonly #handle: Handler;
  readonly #server: Server;
  /** Oldest first, and how many requests each is in the middle of. */
  readonly #sockets = new Map<Socket, number>();
  #address: ListenAddress = { hostname: "", port: 0 };
  #draining: Promise<void> | undefined;
  #keeper: Disposable | undefined;

  constructor(options: HttpServerOptions, handle: Handler) {
    this.#options = options;
    this.#handle = handle;
    this.#server = createServer({
      headersTimeout: ADMIN_LIMITS.headersTimeoutMs,
      requestTimeout: ADMIN_LIMITS.requestTimeoutMs,
      keepAliveTimeout: ADMIN_LIMITS.keepAliveTimeoutMs,
      connectionsCheckingInterval: ADMIN_LIMITS.checkIntervalMs,
      maxHeaderSize: ADMIN_LIMITS.headerBytesMax,
    });
    // A client that has sent its FIN still gets its answer (behaviour.md 14.1).
    (this.#server as unknown as HalfOpenServer).httpAllowHalfOpen = true;
    this.#server.on("connection", (socket: Socket) => this.#arrive(socket));
    this.#server.on("clientError", (_error: Error, socket: Socket) => this.#refuse(socket));
    this.#server.on("request", (request, response) => {
      this.#assertPatient(request.socket);
      void this.#serve(request, response);
    });
  }

  get address(): ListenAddress {
    return this.#address;
  }

  async bind(address: ListenAddress): Promise<void> {
    const { component, log } = this.#options;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#server.once("error", reject);
    this.#server.listen(address.port, address.hostname, resolve);
    try {
      await promise;
    } catch (error) {
      throw new Error(`cannot bind ${component} to ${formatAddress(address)}: ${reason(error)}`);
    }
    this.#server.removeListener("error", reject);
    this.#server.on("error", (error: Error) => {
      log.warn?.("listener trouble", { component, error: reason(error) });
    });
    this.#keeper = this.#options.keepAccepting?.(
      this.#server,
      (socket) => void this.#server.emit("connection", socket),
    );
    const bound = this.#server.address();
    const port = bound !== null && typeof bound === "object" ? bound.port : address.port;
    this.#address = { hostname: address.hostname, port };
    log.info?.("listener established", {
      address: display(formatAddress(this.#address)),
      component,
    });
  }

  drain(): Promise<void> {
    this.#draining ??= this.#drain();
    return this.#draining;
  }

  async #drain(): Promise<void> {
    const { clock, component, log } = this.#options;
    const { promise: closed, resolve } = Promise.withResolvers<void>();
    this.#keeper?.[Symbol.dispose]();
    this.#server.close(() => resolve());
    for (const [socket, requestsCount] of this.#sockets) if (requestsCount === 0) socket.destroy();
    const timer = clock.after(ADMIN_LIMITS.drainMs, () => {
      for (const socket of this.#sockets.keys()) socket.destroy();
    });
    await closed;
    timer.cancel();
    log.info?.("listener drained", { address: display(formatAddress(this.#address)), component });
  }

  /** When there are too many, the oldest that asks nothing makes room: probes get through a crowd of silent peers. */
  #arrive(socket: Socket): void {
    socket.on("error", () => socket.destroy());
    socket.once("close", () => this.#sockets.delete(socket));
    this.#sockets.set(socket, 0);
    if (this.#sockets.size <= ADMIN_LIMITS.connectionsMax) return;
    const idle = this.#sockets.entries().find(([, requestsCount]) => requestsCount === 0)?.[0];
    this.#sockets.delete(idle ?? socket);
    (idle ?? socket).destroy();
  }

  #refuse(socket: Socket): void {
    if (!socket.writable) return void socket.destroy();
    socket.end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    socket.destroySoon();
  }

  /**
   * Throws for a client that sends ahead without end. Only an error stops the runtime's parser, which on a destroyed
   * socket too makes every request of what it has read, at 7 KB each; the error ends in `clientError`.
   */
  #assertPatient(socket: Socket): void {
    const runningCount = this.#sockets.get(socket) ?? 0;
    const { pipelinedRequestsMax, unreadBytesMax } = ADMIN_LIMITS;
    if (runningCount < pipelinedRequestsMax && socket.writableLength <= unreadBytesMax) return;
    socket.destroy();
    throw new Error("the client sends more requests than it reads answers");
  }

  async #serve(message: IncomingMessage, response: ServerResponse): Promise<void> {
    const { socket } = message;
    this.#sockets.set(socket, (this.#sockets.get(socket) ?? 0) + 1);
    response.once("close", () => {
      const requestsCount = this.#sockets.get(socket);
      if (requestsCount === undefined) return;
      this.#sockets.set(socket, Math.max(0, requestsCount - 1));
      if (this.#draining !== undefined) socket.destroySoon();
    });
    // Nobody reads bodies here, so a connection that carries one is not used again.
    message.on("error", () => response.destroy());
    response.on("error", () => response.destroy());
    const hasBody = message.headers["transfer-encoding"] !== undefined ||
      (message.headers["content-length"] ?? "0") !== "0";
    if (hasBody || this.#draining !== undefined) response.shouldKeepAlive = false;
    try {
      const answer = await this.#answer(message);
      await send(response, answer, this.#options.clock);
    } catch (error) {
      // The status line is out already, so all that is left to say is an end without an end.
      this.#options.log.debug?.("answer broken off", { url: message.url, error: reason(error) });
      response.destroy();
      socket.destroy();
    }
  }

  async #answer(message: IncomingMessage): Promise<HttpAnswer> {
    const request = parseRequest(message);
    if (request === undefined) return { status: 400, body: "invalid request target\n" };
    try {
      return await this.#handle(request);
    } catch (error) {
      this.#options.log.error?.("request failed", { path: request.path, error: reason(error) });
      return { status: 500, body: `${reason(error)}\n` };
    }
  }
}

function parseRequest(message: IncomingMessage): HttpRequest | undefined {
  const target = message.url ?? "/";
  // The absolute form (RFC 9112 3.2.2) is only for its path; "//x" must not be taken for a host.
  const url = URL.parse(target.startsWith("/") ? `http://localhost${target}` : target);
  if (url === null) return undefined;
  return {
    method: message.method ?? "GET",
    path: url.pathname,
    query: url.searchParams,
    header: (name) => {
      const value = message.headers[name];
      return Array.isArray(value) ? value.join(", ") : value;
    },
  };
}

async function send(response: ServerResponse, answer: HttpAnswer, clock: Clock): Promise<void> {
  const { status, contentType = "text/plain", headers = {}, body = "" } = answer;
  if (typeof body === "string") {
    const hasBody = body !== "";
    response.writeHead(status, {
      ...(hasBody ? { "Content-Type": contentType } : {}),
      "Content-Length": new TextEncoder().encode(body).byteLength,
      ...headers,
    });
    response.end(body);
    return;
  }
  response.writeHead(status, { "Content-Type": contentType, ...headers });
  for await (const piece of body) {
    if (response.destroyed || response.socket?.destroyed) return;
    if (!response.write(piece)) await drained(response, clock);
  }
  response.end();
}

/** Until the client has taken what is written; one that takes nothing for too long is cut off. */
async function drained(response: ServerResponse, clock: Clock): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const timer = clock.after(
    ADMIN_LIMITS.writeStallMs,
    () => reject(new Error("the client reads nothing")),
  );
  response.once("drain", resolve);
  response.once("close", resolve);
  try {
    await promise;
  } finally {
    timer.cancel();
    response.removeListener("drain", resolve);
    response.removeListener("close", resolve);
  }
}

function formatAddress({ hostname, port }: ListenAddress): string {
  return hostname.includes(":") ? `[${hostname}]:${port}` : `${hostname}:${port}`;
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
