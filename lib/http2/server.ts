import { type ByteStream, StreamError } from "#stream";
import { type Clock, Stop, type StopSignal } from "#system";
import { Connection } from "./connection.ts";
import type { Role } from "./role.ts";
import type { FloodKind, OnFlood } from "./flood.ts";
import { Code, Fault, STREAM_ID_MAX } from "./frames.ts";
import type { HeaderBlock } from "./header_blocks.ts";
import { type RequestHead, validateRequest, validateTrailers } from "./headers.ts";
import type { HeaderField } from "./hpack.ts";
import type { Tunnel } from "./tunnel.ts";
import type { Headers, Http2Settings, IncomingRequest, ServerConnection } from "./types.ts";

/**
 * The client's preface and SETTINGS must be in by then: REF has no limit and lets a silent peer hold a socket for
 * ever (behaviour.md 18.16). Long enough for a segment that is lost twice; users.md 3.2 has the figure.
 */
const SETTINGS_TIMEOUT_MS = 5_000;
const STATUS_OK = 200;
const NO_HEADERS: Headers = new Map();

/**
 * Serves `stream` and owns it from here on. `onRequest` gets every request, whatever its method, except malformed ones,
 * extended CONNECT and header lists over the limit, which are reset; it must not throw. Nothing a peer sends throws.
 * `onFlood` is told what the peer did too often, before it is cut off.
 */
export function serve(
  stream: ByteStream,
  settings: Http2Settings,
  clock: Clock,
  onRequest: (request: IncomingRequest) => void,
  onFlood?: OnFlood,
): ServerConnection {
  return new Server(stream, settings, clock, onRequest, onFlood);
}

class Server implements ServerConnection, Role {
  readonly isServer = true;
  readonly settingsTimeoutMs = SETTINGS_TIMEOUT_MS;
  readonly closed: Promise<Error | undefined>;
  readonly #connection: Connection;
  readonly #incoming = new Map<number, Incoming>();
  /** `drained`: the last stream is fixed, what comes above it is not looked at. */
  #drain: "no" | "announced" | "drained" = "no";

  constructor(
    stream: ByteStream,
    private readonly settings: Http2Settings,
    clock: Clock,
    private readonly onRequest: (request: IncomingRequest) => void,
    readonly onFlood: OnFlood | undefined,
  ) {
    this.#connection = new Connection(stream, settings, clock, this);
    this.closed = this.#connection.closed;
    this.#connection.start();
  }

  get activeStreams(): number {
    return this.#connection.tunnels.size;
  }

  get floodCounts(): ReadonlyMap<FloodKind, number> {
    return this.#connection.guard.counts();
  }

  get roundTripMs(): number | undefined {
    return this.#connection.liveness.roundTripMs;
  }

  /** In two steps (RFC 9113 section 6.8), so that no request on its way to us is lost. */
  drain(): void {
    const connection = this.#connection;
    if (this.#drain !== "no" || !connection.isOpen) return;
    this.#drain = "announced";
    connection.isClosing = true;
    connection.sendGoaway(STREAM_ID_MAX, Code.noError);
    connection.liveness.afterRoundTrip(() => {
      if (!connection.isOpen) return;
      this.#drain = "drained";
      connection.sendGoaway(connection.receiver.lastPeerId, Code.noError);
      this.#endIfDone();
    });
  }

  destroy(): void {
    this.#connection.destroy();
  }

  settingsCame(): void {}

  hasBeen(id: number): boolean {
    return id % 2 === 1 && id <= this.#connection.receiver.lastPeerId;
  }

  headersCame({ id, fields, endStream }: HeaderBlock): void {
    const { tunnels, receiver } = this.#connection;
    const tunnel = tunnels.get(id);
    if (tunnel !== undefined) return this.#trailersCame(tunnel, fields, endStream);
    if (id % 2 === 0) throw new Fault(Code.protocolError, `a request on stream ${id}`);
    if (id <= receiver.lastPeerId) {
      if (receiver.isIgnored(id)) return;
      throw new Fault(Code.streamClosed, `HEADERS on stream ${id}, which is over`);
    }
    if (this.#drain === "drained") return;
    receiver.lastPeerId = id;
    if (tunnels.size >= (this.settings.concurrentStreamsMax ?? Infinity)) {
      return receiver.refuseId(id, Code.refusedStream);
    }
    if (fields === undefined) return receiver.refuseId(id, Code.enhanceYourCalm);
    const { head } = validateRequest(fields);
    // RFC 8441 is not HBONE: we never announced it.
    if (head === undefined || head.protocol !== undefined) {
      return receiver.refuseId(id, Code.protocolError);
    }
    this.#open(id, head, endStream);
  }

  goawayCame(): void {
    this.#endIfDone();
  }

  tunnelEnded(tunnel: Tunnel): void {
    const incoming = this.#incoming.get(tunnel.id);
    this.#incoming.delete(tunnel.id);
    incoming?.gone();
    this.#endIfDone();
  }

  #open(id: number, head: RequestHead, endStream: boolean): void {
    const connection = this.#connection;
    const tunnel = connection.open(id);
    tunnel.promisedBytes = head.contentLength;
    const incoming = new Incoming(head, tunnel, connection);
    this.#incoming.set(id, incoming);
    if (endStream) connection.receiver.end(tunnel);
    if (!tunnel.isOver) this.onRequest(incoming);
  }

  #trailersCame(
    tunnel: Tunnel,
    fields: readonly HeaderField[] | undefined,
    endStream: boolean,
  ): void {
    const { receiver } = this.#connection;
    if (tunnel.remoteEnded) {
      return receiver.refuse(tunnel, Code.streamClosed, "HEADERS after END_STREAM");
    }
    const isTunnel = this.#incoming.get(tunnel.id)?.method === "CONNECT";
    const isLegal = endStream && !isTunnel && fields !== undefined &&
      validateTrailers(fields).head !== undefined;
    if (isLegal) receiver.end(tunnel);
    else receiver.refuse(tunnel, Code.protocolError, "headers that are no trailers");
  }

  #endIfDone(): void {
    const connection = this.#connection;
    if (!connection.isOpen || connection.tunnels.size > 0) return;
    if (!connection.isClosing || this.#drain === "announced") return;
    connection.shut(Code.noError, new StreamError("reset", "the connection is closed"));
  }
}

/** A request, of whatever method. */
export class Incoming implements IncomingRequest {
  readonly method: string;
  readonly authority: string;
  readonly path: string;
  readonly headers: Headers;
  #answered = false;
  #abandoned: Stop | undefined;

  constructor(
    head: RequestHead,
    private readonly tunnel: Tunnel,
    private readonly connection: Connection,
  ) {
    this.method = head.method;
    this.authority = head.authority;
    this.path = head.path ?? "";
    this.headers = head.headers;
  }

  /** Made on demand: most requests are answered before anybody asks. */
  get abandoned(): StopSignal {
    if (this.#abandoned === undefined) {
      this.#abandoned = new Stop();
      if (!this.#answered && this.tunnel.isOver) this.#abandoned.abort();
    }
    return this.#abandoned.signal;
  }

  get stream(): ByteStream {
    return this.tunnel;
  }

  /** The stream is over. */
  gone(): void {
    if (!this.#answered) this.#abandoned?.abort();
  }

  accept(headers: Headers): ByteStream {
    if (this.method !== "CONNECT") {
      this.#answer();
      throw new Error(`cannot open a tunnel for ${this.method}`);
    }
    return this.respond(STATUS_OK, headers);
  }

  respond(status: number, headers: Headers): ByteStream {
    this.#answer();
    // A request that is gone by now has a tunnel that says so at its first read.
    if (!this.tunnel.isOver) this.#send(status, headers, false);
    return this.tunnel;
  }

  refuse(status: number): void {
    this.respondEmpty(status, NO_HEADERS);
  }

  respondEmpty(status: number, headers: Headers): void {
    this.#answer();
    if (!this.tunnel.isOver && this.#send(status, headers, true)) this.#end("refused");
  }

  endWith(trailers: Headers): void {
    const { tunnel } = this;
    if (tunnel.pending !== undefined) throw new Error("cannot end: a write is under way");
    if (tunnel.isOver || tunnel.localEnded) return;
    if (this.#send(undefined, trailers, true)) this.#end("answered");
  }

  /**
   * Once the answer is out the stream is reset with NO_ERROR (RFC 9113 section 8.1): a peer that goes on sending would
   * hold one of its streams with us for ever.
   */
  #end(how: string): void {
    const { tunnel } = this;
    const { remoteEnded } = tunnel;
    tunnel.noteLocalEnd();
    if (!remoteEnded) tunnel.resetBy(Code.noError, new StreamError("aborted", how));
  }

  #send(status: number | undefined, headers: Headers, endStream: boolean): boolean {
    const fields: HeaderField[] = status === undefined ? [] : [[":status", String(status)]];
    for (const [name, values] of headers) {
      for (const value of values) fields.push([name, value]);
    }
    const isSent = this.connection.sendHeaders(this.tunnel.id, fields, endStream);
    if (!isSent) {
      const message = "the peer takes no header list this large";
      this.tunnel.resetBy(Code.internalError, new StreamError("io", message));
    }
    return isSent;
  }

  #answer(): void {
    if (this.#answered) throw new Error("cannot answer a request twice");
    this.#answered = true;
    this.tunnel.isAnswered = true;
    // An answer to a request that is gone is no useful work: each rapid reset would pay for itself.
    if (!this.tunnel.isOver) this.connection.guard.answered();
  }
}
