import { type ByteStream, StreamError } from "#stream";
import type { Clock, Timer } from "#system";
import { constants, type Http2Session, type Http2Stream, type SessionOptions } from "node:http2";
import type { Duplex } from "node:stream";
import { type Carrier, Tunnel } from "./tunnel.ts";
import type { Headers, Http2Settings } from "./types.ts";

/**
 * Bytes that may wait in a connection's own queue before its streams stop writing. node:http2 would let them pile
 * up to the peer's windows (128 MB measured, runtime.md S7); 1 MiB is one frame of the largest size.
 */
const QUEUE_BYTES_MAX = 1 << 20;
/** How often a full queue is looked at again, should the socket not say that it drained. */
const QUEUE_POLL_MS = 20;
/** After the last stream, or after destroy, a peer that does not close its side is cut off. */
const CLOSE_LINGER_MS = 1_000;
/**
 * node:http2's own bound on a session, in its unit of megabytes: above 200 streams with a full window of 4 MiB, so
 * that flow control is what bounds memory and a legal peer is never cut off.
 */
const SESSION_MEGABYTES_MAX = 1_024;

/** What both sides share: one node session, its PINGs, its streams and its end. */
export class Session implements Carrier {
  readonly closed: Promise<Error | undefined>;
  #resolveClosed: (error: Error | undefined) => void = () => {};
  #error: Error | undefined;
  #over = false;
  /** One of both sides has announced an orderly end. */
  #closing = false;
  #destroying = false;
  readonly #tunnels = new Set<Tunnel>();
  #pingTimer: Timer | undefined;
  #lingerTimer: Timer | undefined;
  #drained: Promise<void> | undefined;
  #release: () => void = () => {};

  constructor(
    readonly node: Http2Session,
    private readonly socket: Duplex,
    private readonly transport: ByteStream,
    private readonly clock: Clock,
  ) {
    this.closed = new Promise((resolve) => this.#resolveClosed = resolve);
    node.on("error", (error: Error) => void (this.#error ??= error));
    node.on("close", () => this.#finish());
    node.on("goaway", (code: number) => {
      if (code === constants.NGHTTP2_NO_ERROR) this.#closing = true;
    });
    // The session hears of errors itself; this keeps one that comes after its end from being unhandled.
    socket.on("error", (error: Error) => void (this.#error ??= error));
    // HTTP/2 knows no half-closed connection, sockets that allow it would wait for ever.
    socket.on("end", () => this.destroy(new Error("the peer closed the connection")));
    socket.on("close", () => this.destroy(new Error("the connection was closed")));
    socket.on("drain", () => this.#onDrain());
  }

  get activeStreams(): number {
    return this.#tunnels.size;
  }

  get error(): Error | undefined {
    return this.#error;
  }

  get over(): boolean {
    return this.#over || this.node.destroyed;
  }

  /** Counts a stream until both its directions are over. */
  adopt(stream: Http2Stream): Tunnel {
    const tunnel = new Tunnel(stream, this);
    this.#tunnels.add(tunnel);
    tunnel.closed.then(() => {
      this.#tunnels.delete(tunnel);
      this.#lingerIfDone();
    });
    return tunnel;
  }

  /** PING after `pingIntervalMs`, and again that long after each answer (behaviour.md 7.6). */
  keepAlive(settings: Http2Settings): void {
    this.#pingTimer = this.clock.after(
      settings.pingIntervalMs,
      () => this.#ping(settings),
      { background: true },
    );
  }

  #ping(settings: Http2Settings): void {
    if (this.over) return;
    this.#pingTimer = this.clock.after(settings.pingTimeoutMs, () => {
      this.destroy(new Error(`no answer to a PING within ${settings.pingTimeoutMs} ms`));
    }, { background: true });
    this.node.ping((error: Error | null) => {
      if (error !== null || this.over) return;
      this.#pingTimer?.cancel();
      this.keepAlive(settings);
    });
  }

  /** Ends with the last stream. */
  close(): void {
    if (this.over) return;
    this.#closing = true;
    this.node.close();
    this.#lingerIfDone();
  }

  /** Ends now; `error` is what `closed` resolves with, unless another came first. */
  destroy(error?: Error): void {
    if (this.#over) return;
    if (!this.node.destroyed) {
      this.#destroying = true;
      // An orderly close ends in a closed socket as well: that is no error.
      const isCut = [...this.#tunnels].some((tunnel) => tunnel.isLive);
      if (isCut || !this.#closing) this.#error ??= error;
      // One by one, since node would end them in good order, and both sides would take a cut for an end.
      const reason = new StreamError("reset", error?.message ?? "we ended the connection");
      for (const tunnel of this.#tunnels) tunnel.cut(reason);
      this.node.destroy();
    }
    this.#linger();
  }

  pressure(): Promise<void> | undefined {
    if (this.over || this.socket.writableLength <= QUEUE_BYTES_MAX) return undefined;
    if (this.#drained === undefined) {
      this.#drained = new Promise((resolve) => this.#release = resolve);
      this.#pollQueue();
    }
    return this.#drained;
  }

  #pollQueue(): void {
    this.clock.after(QUEUE_POLL_MS, () => {
      this.#onDrain();
      if (this.#drained !== undefined) this.#pollQueue();
    }, { background: true });
  }

  #onDrain(): void {
    if (!this.over && this.socket.writableLength > QUEUE_BYTES_MAX) return;
    this.#drained = undefined;
    this.#release();
  }

  #lingerIfDone(): void {
    if (this.#closing && this.#tunnels.size === 0) this.#linger();
  }

  #linger(): void {
    this.#lingerTimer ??= this.clock.after(CLOSE_LINGER_MS, () => {
      this.node.destroy();
      this.#finish();
    });
  }

  #finish(): void {
    if (this.#over) return;
    this.#over = true;
    // Node ends a session in which the peer broke the protocol without a word.
    if (!this.#closing && !this.#destroying) {
      this.#error ??= new Error("the peer broke the HTTP/2 protocol");
    }
    this.#pingTimer?.cancel();
    this.#lingerTimer?.cancel();
    this.#drained = undefined;
    this.#release();
    this.transport.abort();
    this.#resolveClosed(this.#error);
  }
}

/** The options of a node session for our settings; `settings` within are what the peer is told. */
export function sessionOptions(settings: Http2Settings): SessionOptions {
  return {
    maxSessionMemory: SESSION_MEGABYTES_MAX,
    settings: {
      initialWindowSize: settings.streamWindowBytes,
      maxFrameSize: settings.frameBytesMax,
      maxHeaderListSize: settings.headerListBytesMax,
      enablePush: false,
      ...settings.concurrentStreamsMax === undefined
        ? {}
        : { maxConcurrentStreams: settings.concurrentStreamsMax },
    },
  };
}

/** Names and values in pairs, as they were on the wire, without the pseudo headers. */
export function headersOf(raw: readonly string[]): Headers {
  const headers = new Map<string, string[]>();
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const [name, value] = [raw[at]!, raw[at + 1]!];
    if (name.startsWith(":")) continue;
    const values = headers.get(name);
    if (values === undefined) headers.set(name, [value]);
    else values.push(value);
  }
  return headers;
}
