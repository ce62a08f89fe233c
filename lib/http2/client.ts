import { type ByteStream, StreamError } from "#stream";
import type { Clock, StopSignal } from "#system";
import { Connection } from "./connection.ts";
import type { Role } from "./role.ts";
import { Http2Error } from "./error.ts";
import type { FloodKind, OnFlood } from "./flood.ts";
import { Code, Fault, nameOf, STREAM_ID_MAX } from "./frames.ts";
import type { HeaderBlock } from "./header_blocks.ts";
import { validateResponse, validateTrailers } from "./headers.ts";
import type { HeaderField } from "./hpack.ts";
import type { Tunnel } from "./tunnel.ts";
import type {
  ClientConnection,
  ConnectAnswer,
  ConnectHead,
  Exchange,
  Headers,
  Http2Settings,
  RequestHead,
} from "./types.ts";

/** The server's preface is one small frame: a peer that has not sent it by then speaks something else. */
const SETTINGS_TIMEOUT_MS = 5_000;
/** Requests that wait for one of the peer's streams; the pool asks for no more than it allows. */
const WAITING_MAX = 1_024;
const STATUS_OK = 200;
/** RFC 9110 section 5.1: what may be in a name, and what may not be in a value. */
const NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
// deno-lint-ignore no-control-regex
const FORBIDDEN = /[\x00\r\n]/;

/**
 * Starts the client's side on `stream` and owns it from here on: a failed start ends it. Resolves when the peer's
 * SETTINGS have come (behaviour.md 7.6); rejects with an Http2Error of kind `handshake`. `onFlood` is told what the
 * peer did too often, before it is cut off.
 */
export async function connect(
  stream: ByteStream,
  settings: Http2Settings,
  clock: Clock,
  onFlood?: OnFlood,
): Promise<ClientConnection> {
  const client = new Client(stream, settings, clock, onFlood);
  await client.settled;
  return client;
}

interface Asking {
  readonly fields: readonly HeaderField[];
  readonly resolve: (answer: ConnectAnswer) => void;
  readonly reject: (error: Http2Error) => void;
  tunnel: Tunnel | undefined;
  stop: StopSignal | undefined;
  readonly onStop: () => void;
  /** Of requests that are no tunnels: the head is on its way. */
  readonly onSent: ((tunnel: Tunnel) => void) | undefined;
}

/** Hears the trailers, or undefined when there will be none. */
type TakeTrailers = (trailers: Headers | undefined) => void;

class Client implements ClientConnection, Role {
  readonly isServer = false;
  readonly settingsTimeoutMs = SETTINGS_TIMEOUT_MS;
  readonly closed: Promise<Error | undefined>;
  readonly settled: Promise<void>;
  #settle: () => void = () => {};
  readonly #connection: Connection;
  #lastId = -1;
  #goaway: string | undefined;
  #hasSettings = false;
  /** Requests that are sent and not answered, by stream. */
  readonly #asking = new Map<number, Asking>();
  /** Requests whose answers may have trailers, by stream. */
  readonly #trailing = new Map<number, TakeTrailers>();
  /** Requests for which the peer has no stream left. */
  readonly #waiting = new Set<Asking>();

  constructor(
    stream: ByteStream,
    settings: Http2Settings,
    clock: Clock,
    readonly onFlood: OnFlood | undefined,
  ) {
    const connection = new Connection(stream, settings, clock, this);
    this.#connection = connection;
    this.closed = connection.closed;
    this.settled = new Promise((resolve, reject) => {
      this.#settle = resolve;
      this.closed.then((error) => {
        const why = error?.message ?? "the peer closed the connection";
        reject(new Http2Error("handshake", why));
      });
    });
    connection.start();
  }

  get usable(): boolean {
    const { isOpen, isClosing } = this.#connection;
    return isOpen && !isClosing && this.#goaway === undefined && this.#lastId < STREAM_ID_MAX - 2;
  }

  get activeStreams(): number {
    return this.#connection.tunnels.size + this.#waiting.size;
  }

  get isBusy(): boolean {
    return this.#connection.isBusy;
  }

  get peerStreamsMax(): number | undefined {
    return this.#hasSettings ? this.#connection.peer.streamsMax ?? STREAM_ID_MAX : undefined;
  }

  get floodCounts(): ReadonlyMap<FloodKind, number> {
    return this.#connection.guard.counts();
  }

  get roundTripMs(): number | undefined {
    return this.#connection.liveness.roundTripMs;
  }

  request(head: ConnectHead, stop?: StopSignal): Promise<ConnectAnswer> {
    const pseudo: HeaderField[] = [[":method", "CONNECT"], [":authority", head.authority]];
    return this.#send(fieldsOf(pseudo, head.headers), stop, undefined);
  }

  async exchange(head: RequestHead, stop?: StopSignal): Promise<Exchange> {
    const { method, scheme, authority, path, headers } = head;
    const pseudo: HeaderField[] = [
      [":method", method],
      [":scheme", scheme],
      [":authority", authority],
      [":path", path],
    ];
    const trailers = Promise.withResolvers<Headers | undefined>();
    const sent = Promise.withResolvers<Tunnel>();
    const answer = this.#send(fieldsOf(pseudo, headers), stop, (tunnel) => {
      this.#trailing.set(tunnel.id, trailers.resolve);
      sent.resolve(tunnel);
    });
    // Where it was sent and is not answered, whoever has the exchange hears it there.
    answer.catch(sent.reject);
    const tunnel = await sent.promise;
    return {
      stream: tunnel,
      answer,
      trailers: trailers.promise,
      get resetCode() {
        return tunnel.resetCode;
      },
    };
  }

  #send(
    fields: readonly HeaderField[] | undefined,
    stop: StopSignal | undefined,
    onSent: Asking["onSent"],
  ): Promise<ConnectAnswer> {
    return new Promise((resolve, reject) => {
      if (!this.usable) return reject(this.#unusable());
      if (stop?.aborted) return reject(new Http2Error("stream", "we gave the request up"));
      if (fields === undefined) {
        return reject(new Http2Error("stream", "cannot send the request: an illegal header"));
      }
      const asking: Asking = {
        fields,
        resolve,
        reject,
        tunnel: undefined,
        stop,
        onStop: () => this.#giveUp(asking),
        onSent,
      };
      stop?.addEventListener("abort", asking.onStop);
      if (this.#hasRoom()) return this.#ask(asking);
      if (this.#waiting.size < WAITING_MAX) return void this.#waiting.add(asking);
      this.#reject(asking, new Http2Error("closed", "too many requests wait for a stream"));
    });
  }

  close(): void {
    this.#connection.isClosing = true;
    this.#endIfDone();
  }

  destroy(): void {
    this.#rejectWaiting(new Http2Error("closed", "the connection is closed"));
    this.#connection.destroy();
  }

  settingsCame(): void {
    this.#hasSettings = true;
    this.#settle();
    this.#askWaiting();
  }

  hasBeen(id: number): boolean {
    return id % 2 === 1 && id <= this.#lastId;
  }

  headersCame({ id, fields, endStream }: HeaderBlock): void {
    const connection = this.#connection;
    const tunnel = connection.tunnels.get(id);
    if (tunnel === undefined) {
      if (!this.hasBeen(id)) {
        throw new Fault(Code.protocolError, `HEADERS on stream ${id}, which never was`);
      }
      if (connection.receiver.isIgnored(id)) return;
      throw new Fault(Code.streamClosed, `HEADERS on stream ${id}, which is over`);
    }
    const asking = this.#asking.get(id);
    if (asking === undefined && fields !== undefined && this.#trailing.has(id)) {
      return this.#trailersCame(tunnel, fields, endStream);
    }
    // Trailers: RFC 9113 section 8.5 has none in a tunnel.
    if (asking === undefined || fields === undefined) {
      const code = fields === undefined ? Code.enhanceYourCalm : Code.protocolError;
      return connection.receiver.refuse(tunnel, code, "headers that do not belong here");
    }
    const { head, reason } = validateResponse(fields);
    if (head === undefined) return connection.receiver.refuse(tunnel, Code.protocolError, reason);
    if (head.status < 200) {
      if (endStream) connection.receiver.refuse(tunnel, Code.protocolError, "1xx at the end");
      return;
    }
    this.#asking.delete(id);
    asking.stop?.removeEventListener("abort", asking.onStop);
    tunnel.isAnswered = true;
    connection.guard.answered();
    const isExchange = this.#trailing.has(id);
    if (isExchange) tunnel.promisedBytes = head.contentLength;
    if (endStream) connection.receiver.end(tunnel);
    // Anything but 200 opened no tunnel: the stream ends here, whatever the peer goes on sending.
    if (head.status !== STATUS_OK && !isExchange) tunnel.abort();
    asking.resolve({ status: head.status, headers: head.headers, stream: tunnel });
  }

  #trailersCame(tunnel: Tunnel, fields: readonly HeaderField[], endStream: boolean): void {
    const { receiver } = this.#connection;
    const { head, reason } = validateTrailers(fields);
    if (head === undefined) return receiver.refuse(tunnel, Code.protocolError, reason);
    if (!endStream) {
      return receiver.refuse(tunnel, Code.protocolError, "trailers that are not the end");
    }
    this.#endTrailing(tunnel.id, head);
    receiver.end(tunnel);
  }

  #endTrailing(id: number, trailers: Headers | undefined): void {
    this.#trailing.get(id)?.(trailers);
    this.#trailing.delete(id);
  }

  goawayCame(lastId: number, code: number): void {
    this.#goaway ??= nameOf(code);
    this.#rejectWaiting(this.#unusable());
    for (const [id, asking] of [...this.#asking]) {
      if (id <= lastId) continue;
      this.#asking.delete(id);
      this.#reject(asking, this.#unusable());
      asking.tunnel?.cut(new StreamError("reset", "the peer sent GOAWAY"));
    }
    this.#endIfDone();
  }

  tunnelEnded(tunnel: Tunnel): void {
    const asking = this.#asking.get(tunnel.id);
    if (asking !== undefined) {
      this.#asking.delete(tunnel.id);
      this.#reject(asking, this.#requestError(tunnel));
    }
    this.#endTrailing(tunnel.id, undefined);
    this.#askWaiting();
    this.#endIfDone();
  }

  #hasRoom(): boolean {
    return this.#connection.tunnels.size < (this.#connection.peer.streamsMax ?? Infinity);
  }

  #ask(asking: Asking): void {
    const connection = this.#connection;
    const id = this.#lastId + 2;
    if (!connection.sendHeaders(id, asking.fields, false)) {
      this.#reject(asking, new Http2Error("stream", "the peer takes no header list this large"));
      return;
    }
    this.#lastId = id;
    asking.tunnel = connection.open(id);
    this.#asking.set(id, asking);
    asking.onSent?.(asking.tunnel);
  }

  #askWaiting(): void {
    for (const asking of this.#waiting) {
      if (!this.usable || !this.#hasRoom()) return;
      this.#waiting.delete(asking);
      this.#ask(asking);
    }
  }

  #giveUp(asking: Asking): void {
    this.#waiting.delete(asking);
    this.#reject(asking, new Http2Error("stream", "we gave the request up"));
    if (asking.tunnel === undefined) return;
    this.#asking.delete(asking.tunnel.id);
    asking.tunnel.abort();
  }

  #reject(asking: Asking, error: Http2Error): void {
    asking.stop?.removeEventListener("abort", asking.onStop);
    asking.reject(error);
  }

  #rejectWaiting(error: Http2Error): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const asking of waiting) this.#reject(asking, error);
  }

  #endIfDone(): void {
    const connection = this.#connection;
    if (!connection.isOpen || this.activeStreams > 0) return;
    if (!connection.isClosing && this.#goaway === undefined) return;
    connection.shut(Code.noError, new StreamError("reset", "the connection is closed"));
  }

  #unusable(): Http2Error {
    if (this.#goaway !== undefined) {
      return new Http2Error("goaway", `the peer sent GOAWAY: ${this.#goaway}`);
    }
    return new Http2Error("closed", "the connection is closed");
  }

  #requestError(tunnel: Tunnel): Http2Error {
    const { error, isOpen } = this.#connection;
    if (tunnel.resetCode !== undefined) {
      const kind = this.#goaway !== undefined && tunnel.resetCode === Code.refusedStream
        ? "goaway"
        : "stream";
      return new Http2Error(kind, `the peer reset the request: ${nameOf(tunnel.resetCode)}`);
    }
    if (error !== undefined || !isOpen) {
      const why = error?.message ?? "the connection was closed";
      return new Http2Error(this.#goaway === undefined ? "closed" : "goaway", why);
    }
    return new Http2Error("stream", "the peer broke the protocol on the request");
  }
}

/** Undefined for what must not be sent. */
function fieldsOf(pseudo: readonly HeaderField[], headers: Headers): HeaderField[] | undefined {
  const fields = [...pseudo];
  for (const [name, values] of headers) {
    for (const value of values) fields.push([name, value]);
  }
  const isLegal = fields.every(([name, value], index) =>
    (index < pseudo.length || NAME.test(name)) && !FORBIDDEN.test(value)
  );
  return isLegal ? fields : undefined;
}
