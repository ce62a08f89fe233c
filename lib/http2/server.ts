import type { ByteStream } from "#stream";
import type { Clock } from "#system";
import {
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import { headersOf, Session, sessionOptions } from "./session.ts";
import { socketOf } from "./transport.ts";
import { reset, type Tunnel } from "./tunnel.ts";
import type { Headers, Http2Settings, IncomingConnect, ServerConnection } from "./types.ts";

/**
 * The client's preface and SETTINGS must be in by then: REF has no limit and lets a silent peer hold a socket for
 * ever (behaviour.md 18.16). Long enough for a lossy network's retransmissions.
 */
const SETTINGS_TIMEOUT_MS = 10_000;
/** No `date` header: ours is not an answer that anybody caches. The declarations lack the option. */
const UNDATED = { endStream: false, sendDate: false };
/** RFC 9113 section 6.5.2: what a header counts beyond its name and value. */
const HEADER_OVERHEAD_BYTES = 32;

/**
 * Serves `stream` and owns it from here on. `onRequest` gets every request, whatever its method, except extended
 * CONNECT and header lists over the limit, which are reset; it must not throw. Nothing a peer sends throws.
 */
export function serve(
  stream: ByteStream,
  settings: Http2Settings,
  clock: Clock,
  onRequest: (request: IncomingConnect) => void,
): ServerConnection {
  const socket = socketOf(stream);
  let node: ServerHttp2Session;
  try {
    // The types know http2.createServer's sockets only; any Duplex works.
    node = performServerHandshake(
      socket as Parameters<typeof performServerHandshake>[0],
      sessionOptions(settings),
    );
  } catch (error) {
    // The socket died before we came to it.
    stream.abort();
    return stillborn(error instanceof Error ? error : new Error(String(error)));
  }
  const session = new Session(node, socket, stream, clock);
  node.setLocalWindowSize(settings.connectionWindowBytes);
  const timer = clock.after(SETTINGS_TIMEOUT_MS, () => {
    session.destroy(new Error(`the peer sent no SETTINGS within ${SETTINGS_TIMEOUT_MS} ms`));
  });
  node.once("remoteSettings", () => {
    timer.cancel();
    session.keepAlive(settings);
  });
  session.closed.then(() => timer.cancel());
  node.on("stream", (arrived, pseudo, _flags, raw: readonly string[] = []) => {
    const tunnel = session.adopt(arrived);
    const code = refusedOutright(pseudo, raw, settings);
    if (code === undefined) onRequest(new Incoming(arrived, pseudo, raw, tunnel));
    else reset(arrived, code);
  });
  return new Server(session);
}

class Server implements ServerConnection {
  readonly closed: Promise<Error | undefined>;

  constructor(private readonly session: Session) {
    this.closed = session.closed;
  }

  get activeStreams(): number {
    return this.session.activeStreams;
  }

  /**
   * In one step, with the last stream that we saw. The two of RFC 9113 section 6.8 are not to be had: nghttp2 drops every
   * request after its first GOAWAY (measured), so that those between the two would wait for nothing.
   */
  drain(): void {
    this.session.close();
  }

  destroy(): void {
    this.session.destroy();
  }
}

class Incoming implements IncomingConnect {
  readonly method: string;
  readonly authority: string;
  readonly headers: Headers;
  #answered = false;
  #abandoned: AbortController | undefined;

  constructor(
    private readonly stream: ServerHttp2Stream,
    pseudo: IncomingHttpHeaders,
    raw: readonly string[],
    private readonly tunnel: Tunnel,
  ) {
    this.method = pseudo[":method"] ?? "";
    this.authority = pseudo[":authority"] ?? "";
    this.headers = headersOf(raw);
    stream.once("close", () => {
      if (!this.#answered) this.#abandoned?.abort();
    });
  }

  /** Made on demand: most requests are answered before anybody asks. */
  get abandoned(): AbortSignal {
    if (this.#abandoned === undefined) {
      this.#abandoned = new AbortController();
      if (!this.#answered && this.stream.destroyed) this.#abandoned.abort();
    }
    return this.#abandoned.signal;
  }

  accept(headers: Headers): ByteStream {
    this.#answer();
    if (this.method !== "CONNECT") throw new Error(`cannot open a tunnel for ${this.method}`);
    const answer: OutgoingHttpHeaders = { ":status": constants.HTTP_STATUS_OK };
    for (const [name, values] of headers) answer[name] = [...values];
    // A request that is gone by now has a tunnel that says so at its first read.
    if (this.#alive) this.stream.respond(answer, UNDATED);
    return this.tunnel;
  }

  refuse(status: number): void {
    this.#answer();
    if (!this.#alive) return;
    // Once the answer is out the stream is reset with NO_ERROR (RFC 9113 section 8.1): a peer that goes on sending
    // would hold one of its streams with us for ever.
    this.stream.once("finish", () => this.stream.close(constants.NGHTTP2_NO_ERROR));
    this.stream.respond({ ":status": status }, { ...UNDATED, endStream: true });
    this.tunnel.discard();
  }

  get #alive(): boolean {
    return !this.stream.destroyed && !this.stream.closed;
  }

  #answer(): void {
    if (this.#answered) throw new Error("cannot answer a request twice");
    this.#answered = true;
  }
}

/** The code to reset a request with that never reaches `onRequest`. */
function refusedOutright(
  pseudo: IncomingHttpHeaders,
  raw: readonly string[],
  settings: Http2Settings,
): number | undefined {
  // RFC 8441 is not HBONE: we never announced it.
  if (":protocol" in pseudo) return constants.NGHTTP2_PROTOCOL_ERROR;
  let bytes = 0;
  for (const text of raw) bytes += text.length + HEADER_OVERHEAD_BYTES / 2;
  return bytes > settings.headerListBytesMax ? constants.NGHTTP2_ENHANCE_YOUR_CALM : undefined;
}

function stillborn(error: Error): ServerConnection {
  return {
    activeStreams: 0,
    drain: () => {},
    destroy: () => {},
    closed: Promise.resolve(error),
  };
}
