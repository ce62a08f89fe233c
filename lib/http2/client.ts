import type { ByteStream } from "#stream";
import type { Clock } from "#system";
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect as connectNode,
  constants,
  type OutgoingHttpHeaders,
} from "node:http2";
import { Http2Error } from "./error.ts";
import { headersOf, Session, sessionOptions } from "./session.ts";
import { socketOf } from "./transport.ts";
import { nameOf, type Tunnel } from "./tunnel.ts";
import type { ClientConnection, ConnectAnswer, ConnectHead, Http2Settings } from "./types.ts";

/** The server's preface is one small frame: a peer that has not sent it by then speaks something else. */
const SETTINGS_TIMEOUT_MS = 5_000;

/**
 * Starts the client's side on `stream` and owns it from here on: a failed start aborts it. Resolves when the peer's
 * SETTINGS have come (behaviour.md 7.6); rejects with an Http2Error of kind `handshake`.
 */
export async function connect(
  stream: ByteStream,
  settings: Http2Settings,
  clock: Clock,
): Promise<ClientConnection> {
  let session: Session | undefined;
  try {
    const socket = socketOf(stream);
    const node = connectNode("http://hbone", {
      ...sessionOptions(settings),
      createConnection: () => socket,
    });
    session = new Session(node, socket, stream, clock);
    const connection = new Client(node, session);
    await settled(node, session, settings, clock);
    session.keepAlive(settings);
    return connection;
  } catch (error) {
    if (session === undefined) stream.abort();
    else session.destroy();
    if (error instanceof Http2Error) throw error;
    throw new Http2Error("handshake", `cannot start HTTP/2: ${messageOf(error)}`);
  }
}

/** Waits until the session stands and the peer's first SETTINGS are in; either may come first. */
function settled(
  node: ClientHttp2Session,
  session: Session,
  settings: Http2Settings,
  clock: Clock,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let missing = 2;
    const step = () => {
      if (--missing > 0) return;
      timer.cancel();
      resolve();
    };
    const timer = clock.after(SETTINGS_TIMEOUT_MS, () => {
      const message = `the peer sent no SETTINGS within ${SETTINGS_TIMEOUT_MS} ms`;
      reject(new Http2Error("handshake", message));
    });
    node.once("connect", () => {
      // Sent right after the preface; without it a nested tunnel stalls (behaviour.md 19.2).
      node.setLocalWindowSize(settings.connectionWindowBytes);
      step();
    });
    node.once("remoteSettings", step);
    session.closed.then((error) => {
      timer.cancel();
      const why = error === undefined ? "the peer closed the connection" : error.message;
      reject(
        new Http2Error("handshake", `the connection ended before the peer's SETTINGS: ${why}`),
      );
    });
  });
}

class Client implements ClientConnection {
  readonly closed: Promise<Error | undefined>;
  #goaway: string | undefined;
  #closing = false;
  #peerStreamsMax: number | undefined;

  constructor(
    private readonly node: ClientHttp2Session,
    private readonly session: Session,
  ) {
    this.closed = session.closed;
    node.on("goaway", (code: number) => void (this.#goaway ??= nameOf(code)));
    node.on("remoteSettings", (settings) => {
      this.#peerStreamsMax = settings.maxConcurrentStreams;
    });
  }

  get usable(): boolean {
    return !this.#closing && this.#goaway === undefined && !this.session.over;
  }

  get activeStreams(): number {
    return this.session.activeStreams;
  }

  get peerStreamsMax(): number | undefined {
    return this.#peerStreamsMax;
  }

  request(head: ConnectHead, stop?: AbortSignal): Promise<ConnectAnswer> {
    return new Promise((resolve, reject) => {
      if (!this.usable) return reject(this.#unusable());
      if (stop?.aborted) return reject(new Http2Error("stream", "we gave the request up"));
      let stream: ClientHttp2Stream;
      try {
        stream = this.node.request(nodeHeaders(head), { endStream: false });
      } catch (error) {
        return reject(new Http2Error("stream", `cannot send the request: ${messageOf(error)}`));
      }
      const tunnel = this.session.adopt(stream);
      let answered = false;
      const giveUp = () => {
        reject(new Http2Error("stream", "we gave the request up"));
        tunnel.abort();
      };
      stop?.addEventListener("abort", giveUp);
      stream.once("response", (headers, _flags, raw?: readonly string[]) => {
        stop?.removeEventListener("abort", giveUp);
        answered = true;
        resolve(answerOf(Number(headers[":status"]), raw ?? [], tunnel));
      });
      tunnel.closed.then(() => {
        stop?.removeEventListener("abort", giveUp);
        // An error with its trace for each tunnel that ends would cost 8 % of the new connections per second.
        if (!answered) reject(this.#requestError(stream));
      });
    });
  }

  close(): void {
    this.#closing = true;
    this.session.close();
  }

  destroy(): void {
    this.#closing = true;
    this.session.destroy();
  }

  #unusable(): Http2Error {
    if (this.#goaway !== undefined) {
      return new Http2Error("goaway", `the peer sent GOAWAY: ${this.#goaway}`);
    }
    return new Http2Error("closed", "the connection is closed");
  }

  #requestError(stream: ClientHttp2Stream): Http2Error {
    const code = stream.rstCode ?? constants.NGHTTP2_NO_ERROR;
    if (this.session.over || this.session.error !== undefined) {
      const why = this.session.error?.message ?? "the connection was closed";
      return new Http2Error(this.#goaway === undefined ? "closed" : "goaway", why);
    }
    // After GOAWAY, node resets the streams that the peer will not look at with REFUSED_STREAM.
    if (this.#goaway !== undefined && code === constants.NGHTTP2_REFUSED_STREAM) {
      return this.#unusable();
    }
    return new Http2Error("stream", `the peer reset the request: ${nameOf(code)}`);
  }
}

function answerOf(status: number, raw: readonly string[], tunnel: Tunnel): ConnectAnswer {
  // Anything but 200 opened no tunnel: the stream ends here, whatever the peer goes on sending.
  if (status !== constants.HTTP_STATUS_OK) tunnel.abort();
  return { status, headers: headersOf(raw), stream: tunnel };
}

function nodeHeaders(head: ConnectHead): OutgoingHttpHeaders {
  const headers: OutgoingHttpHeaders = {
    ":method": "CONNECT",
    ":authority": head.authority,
  };
  for (const [name, values] of head.headers) {
    headers[name] = values.length === 1 ? values[0] : [...values];
  }
  return headers;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
