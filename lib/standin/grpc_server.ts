import {
  type Headers,
  type Http2Settings,
  type IncomingRequest,
  serve,
  type ServerConnection,
} from "#http2";
import type { Clock } from "#system";
import { TlsConn } from "./tls_conn.ts";

const SETTINGS: Http2Settings = {
  streamWindowBytes: 4 * 1024 * 1024,
  connectionWindowBytes: 16 * 1024 * 1024,
  frameBytesMax: 16 * 1024,
  headerListBytesMax: 64 * 1024,
  concurrentStreamsMax: 1_000,
  pingIntervalMs: 30_000,
  pingTimeoutMs: 10_000,
};

/** A flag for compression, which nobody here uses, and the length. */
const PREFIX_BYTES = 5;
const STATUS_OK = 200;
const HEAD: Headers = new Map([["content-type", ["application/grpc+proto"]]]);
const UNIMPLEMENTED = 12;

/** One call from the server's side. */
export interface GrpcCall {
  /** The call's metadata of that name, as text. */
  metadata(name: string): string | undefined;
  /**
   * The client's next message; undefined when it has finished or gone. One above `bytesMax` is not read: its length comes
   * instead.
   */
  next(bytesMax: number): Promise<Uint8Array | number | undefined>;
  /** Resolves when the message is on its way; what the client does not take any more is dropped. */
  send(message: Uint8Array): Promise<void>;
  /** Ends the call with a status; 0 is OK. Messages being sent go first. Idempotent. */
  end(code: number, details: string): Promise<void>;
  /** Resolves when it is over, whoever ended it. */
  readonly closed: Promise<void>;
}

export interface GrpcServerOptions {
  readonly ip: string;
  readonly port: number;
  readonly chainPem: string;
  readonly keyPem: string;
  readonly clock: Clock;
  /** By path. A handler owns its call; one that rejects ends it with UNKNOWN. */
  readonly handlers: Readonly<Record<string, (call: GrpcCall) => Promise<void>>>;
}

/**
 * gRPC over our own HTTP/2: the runtime's `node:http2` server corrupts its memory when a client leaves after a large
 * message, and takes the process with it.
 */
export class GrpcServer {
  readonly #connections = new Set<ServerConnection>();
  readonly #handshaking = new Set<Deno.TlsConn>();
  readonly #listener: Deno.TlsListener;
  readonly #accepting: Promise<void>;
  #closing: Promise<void> | undefined;

  /** Throws an Error that names the address if it cannot listen there. */
  constructor(private readonly options: GrpcServerOptions) {
    const { ip: hostname, port, chainPem: cert, keyPem: key } = options;
    try {
      this.#listener = Deno.listenTls({ hostname, port, cert, key, alpnProtocols: ["h2"] });
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new Error(`cannot listen on ${hostname}, port ${port}: ${reason}`);
    }
    this.#accepting = this.#accept();
  }

  get port(): number {
    return (this.#listener.addr as Deno.NetAddr).port;
  }

  /** Ends every connection at once and frees the port. Idempotent. */
  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  async #close(): Promise<void> {
    this.#listener.close();
    for (const conn of this.#handshaking) conn.close();
    for (const connection of this.#connections) connection.destroy();
    await this.#accepting;
    await Promise.all([...this.#connections].map((connection) => connection.closed));
  }

  async #accept(): Promise<void> {
    for (;;) {
      let conn: Deno.TlsConn;
      try {
        conn = await this.#listener.accept();
      } catch (error) {
        // Closed by us; anything else concerns a client that has gone already.
        if (error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted) {
          return;
        }
        continue;
      }
      this.#handshaking.add(conn);
      void this.#serve(conn);
    }
  }

  async #serve(conn: Deno.TlsConn): Promise<void> {
    try {
      await conn.handshake();
    } catch {
      // A client that does not like our certificate, on purpose often enough.
      new TlsConn(conn).abort();
      return;
    } finally {
      this.#handshaking.delete(conn);
    }
    const { clock, handlers } = this.options;
    const connection = serve(new TlsConn(conn), SETTINGS, clock, (request) => {
      const call = new Call(request);
      const handler = handlers[request.path];
      if (handler === undefined) return void call.end(UNIMPLEMENTED, `no ${request.path} here`);
      handler(call).catch((error: Error) => call.end(2, error.message));
    });
    this.#connections.add(connection);
    await connection.closed;
    this.#connections.delete(connection);
  }
}

/** Printable ASCII stays, but for the sign itself; everything else goes byte by byte (gRPC over HTTP/2, Responses). */
function percentEncoded(text: string): string {
  return text.replace(/[^\x20-\x24\x26-\x7e]+/g, (part) =>
    Array.from(
      new TextEncoder().encode(part),
      (byte) => `%${byte.toString(16).padStart(2, "0").toUpperCase()}`,
    ).join(""));
}

class Call implements GrpcCall {
  readonly closed: Promise<void>;
  /** What was read and not taken yet. */
  #rest: Uint8Array = new Uint8Array();
  #isAnswered = false;
  #isEnded = false;
  /** Messages go one after another, and the end after them. */
  #sending: Promise<void> = Promise.resolve();

  constructor(private readonly request: IncomingRequest) {
    this.closed = request.stream.closed;
  }

  metadata(name: string): string | undefined {
    return this.request.headers.get(name)?.[0];
  }

  async next(bytesMax: number): Promise<Uint8Array | number | undefined> {
    try {
      const prefix = await this.#take(PREFIX_BYTES);
      if (prefix === undefined) return undefined;
      const length = new DataView(prefix.buffer, prefix.byteOffset).getUint32(1);
      return length > bytesMax ? length : await this.#take(length);
    } catch {
      // Reset, or cut; `closed` says so.
      return undefined;
    }
  }

  send(message: Uint8Array): Promise<void> {
    const prefix = new Uint8Array(PREFIX_BYTES);
    new DataView(prefix.buffer).setUint32(1, message.length);
    return this.#sending = this.#sending.then(async () => {
      if (this.#isEnded) return;
      const { request } = this;
      try {
        // The head goes out with the first message, so that a refusal is one head and no more.
        if (!this.#isAnswered) request.respond(STATUS_OK, HEAD);
        this.#isAnswered = true;
        await request.stream.write(prefix);
        await request.stream.write(message);
      } catch {
        // The client has gone; `closed` says so.
      }
    });
  }

  end(code: number, details: string): Promise<void> {
    const status: [string, string[]][] = [["grpc-status", [String(code)]]];
    if (details !== "") status.push(["grpc-message", [percentEncoded(details)]]);
    return this.#sending = this.#sending.then(() => {
      if (this.#isEnded) return;
      this.#isEnded = true;
      if (this.#isAnswered) this.request.endWith(new Map(status));
      else this.request.respondEmpty(STATUS_OK, new Map([...HEAD, ...status]));
    });
  }

  /** So many bytes of the body; undefined if it ends before. */
  async #take(count: number): Promise<Uint8Array | undefined> {
    const whole = new Uint8Array(count);
    for (let at = 0;;) {
      const piece = this.#rest.subarray(0, count - at);
      whole.set(piece, at);
      at += piece.length;
      this.#rest = this.#rest.subarray(piece.length);
      if (at === count) return whole;
      const next = await this.request.stream.read();
      if (next === null) return undefined;
      // Lent until the next read, and a message may end in the middle of it.
      this.#rest = next;
    }
  }
}
