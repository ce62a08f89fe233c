import type { ByteStream } from "#stream";
import type { StopSignal } from "#system";
import type { FloodKind } from "./flood.ts";

/** Lower-case names to all values in order. Pseudo headers are not among them. */
export type Headers = ReadonlyMap<string, readonly string[]>;

/** behaviour.md 7.6. */
export interface Http2Settings {
  /** The most that a stream's window grows to while its application keeps taking. */
  readonly streamWindowBytes: number;
  /** Streams have `streamWindowBytes` from the start and for good: somebody asked for exactly this. */
  readonly explicitWindows?: boolean;
  readonly connectionWindowBytes: number;
  readonly frameBytesMax: number;
  readonly headerListBytesMax: number;
  /** Server only: advertised SETTINGS_MAX_CONCURRENT_STREAMS. */
  readonly concurrentStreamsMax?: number;
  readonly pingIntervalMs: number;
  readonly pingTimeoutMs: number;
}

export interface ConnectHead {
  readonly authority: string;
  readonly headers: Headers;
}

export interface ConnectAnswer {
  readonly status: number;
  readonly headers: Headers;
  /** The tunnel; only useful after a 200, ended otherwise. */
  readonly stream: ByteStream;
}

/** A request other than CONNECT (RFC 9113 section 8.3.1). */
export interface RequestHead {
  readonly method: string;
  readonly scheme: string;
  readonly authority: string;
  readonly path: string;
  readonly headers: Headers;
}

/** A request whose bodies, ours and the peer's, are bytes; both may travel before the answer's head has come. */
export interface Exchange {
  readonly stream: ByteStream;
  /** The answer's head, whatever its status. Rejects with an Http2Error. */
  readonly answer: Promise<{ readonly status: number; readonly headers: Headers }>;
  /** Of the answer, at the latest when `stream` is over; undefined if there were none. Never rejects. */
  readonly trailers: Promise<Headers | undefined>;
  /** The code of the peer's RST_STREAM, if one came (RFC 9113 section 7). */
  readonly resetCode: number | undefined;
}

export interface ClientConnection {
  /** Sends a CONNECT; resolves with the response's head, whatever its status. Rejects with an Http2Error. */
  request(head: ConnectHead, stop?: StopSignal): Promise<ConnectAnswer>;
  /** Sends another request than CONNECT; resolves when its head is on its way. Rejects with an Http2Error. */
  exchange(head: RequestHead, stop?: StopSignal): Promise<Exchange>;
  /** False after GOAWAY, close or error: take another connection. */
  readonly usable: boolean;
  /** Requests that have not ended in both directions. */
  readonly activeStreams: number;
  /** Streams wait for our queue or for the connection's window: what comes on top would wait behind them. */
  readonly isBusy: boolean;
  /** The peer's SETTINGS_MAX_CONCURRENT_STREAMS as known now; undefined before its SETTINGS came. */
  readonly peerStreamsMax: number | undefined;
  /** What the peer did too often, by kind (users.md 3.2). */
  readonly floodCounts: ReadonlyMap<FloodKind, number>;
  /** Of the last keepalive PING; undefined before the first. */
  readonly roundTripMs: number | undefined;
  /** Finishes: no new requests, ends when its streams have. */
  close(): void;
  /** Ends at once, streams included. */
  destroy(): void;
  /** Resolves when it is over, with the reason if that was an error. */
  readonly closed: Promise<Error | undefined>;
}

/** A request as it arrived, whatever its method: only CONNECT can be accepted. */
export interface IncomingConnect {
  readonly method: string;
  /** `:authority`; empty if absent. */
  readonly authority: string;
  readonly headers: Headers;
  /** Answers 200 with these headers and opens the tunnel. */
  accept(headers: Headers): ByteStream;
  /** Answers with a bare status and END_STREAM. Bytes that follow are never read as a tunnel. */
  refuse(status: number): void;
  /** Aborts when the peer gave up before an answer. */
  readonly abandoned: StopSignal;
}

/** Any request as a server sees it that is no tunnel. */
export interface IncomingRequest extends IncomingConnect {
  /** `:path`; empty with CONNECT. */
  readonly path: string;
  /** Read, it is the request's body, before an answer too; written after `respond`, the answer's. */
  readonly stream: ByteStream;
  /** Answers with a head; a body may follow, and then END_STREAM by `closeWrite` or `endWith`. Returns `stream`. */
  respond(status: number, headers: Headers): ByteStream;
  /** Answers with a head and nothing after it. */
  respondEmpty(status: number, headers: Headers): void;
  /**
   * Ends the answer that `respond` began with trailers (RFC 9113 section 8.1), when everything written is on its way.
   * Does nothing to a stream that is over.
   */
  endWith(trailers: Headers): void;
}

export interface ServerConnection {
  readonly activeStreams: number;
  /** What the peer did too often, by kind (users.md 3.2). */
  readonly floodCounts: ReadonlyMap<FloodKind, number>;
  /** Of the last keepalive PING; undefined before the first. */
  readonly roundTripMs: number | undefined;
  /** GOAWAY; running streams go on, the connection ends with the last. */
  drain(): void;
  /** Abrupt end, streams included. */
  destroy(): void;
  readonly closed: Promise<Error | undefined>;
}
