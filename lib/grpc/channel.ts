import type { ClientConnection, Headers } from "#http2";
import { type ServerTrust, usableRoots } from "#tls";
import { describeFailure, Ip, Refusal } from "#values";
import { Call, type GrpcMessage, type GrpcStream } from "./call.ts";
import { connectTo, type Network, type Target } from "./connect.ts";
import { type Endpoint, hostPortOf, readMetadata, readRoots } from "./endpoint.ts";
import { Code, GrpcError } from "./status.ts";

/**
 * From the first packet until the server is verified and speaks HTTP/2. The reference gives TCP alone 5 s (behaviour.md
 * 3.1); a busy server needs some more for its handshake.
 */
const CONNECT_TIMEOUT_MS = 10_000;
/** The answer of a call of one message for one: a certificate chain is some 10 KB. */
const UNARY_BYTES_MAX = 4 << 20;

/** One connection to one server, verified; nothing in it connects again. Dispose it, or its socket stays. */
export interface GrpcChannel extends Disposable {
  /** One message for one message. Rejects with a GrpcError; after `timeoutMs` with code 4, DEADLINE_EXCEEDED. */
  unary(
    path: string,
    message: Uint8Array,
    options: { readonly timeoutMs: number },
  ): Promise<Uint8Array>;
  /** A stream of messages in both directions; it connects now. */
  stream(path: string): GrpcStream;
}

/**
 * A channel for one attempt: roots are read now, the token for every call, and the first call connects. Rejects with a
 * Refusal (`tls_config`) for an unusable address or unusable roots; that the server cannot be reached, only a call tells.
 */
export async function connectChannel(endpoint: Endpoint, network: Network): Promise<GrpcChannel> {
  const { host, port } = hostPortOf(endpoint.url);
  const trust: ServerTrust = {
    rootsPem: await readRoots(endpoint.roots),
    hostnames: endpoint.altHostname === undefined ? [host] : [host, endpoint.altHostname],
    allowTls12: endpoint.allowTls12 ?? false,
    // RFC 6066 section 3: an address is no name.
    ...(Ip.parse(host) === undefined && { serverName: host }),
  };
  usableRoots(trust.rootsPem);
  return new Channel(endpoint, network, { host, port, trust });
}

class Channel implements GrpcChannel {
  readonly #stop = new AbortController();
  readonly #authority: string;
  #connecting: Promise<ClientConnection> | undefined;

  constructor(
    private readonly endpoint: Endpoint,
    private readonly network: Network,
    private readonly target: Target,
  ) {
    const { host, port } = target;
    this.#authority = `${host.includes(":") ? `[${host}]` : host}:${port}`;
  }

  async unary(
    path: string,
    message: Uint8Array,
    { timeoutMs }: { readonly timeoutMs: number },
  ): Promise<Uint8Array> {
    let isLate = false;
    const call = this.#call(path);
    const timer = this.network.clock.after(timeoutMs, () => {
      isLate = true;
      call.cancel();
    });
    try {
      call.send(message);
      call.finish();
      const answer = await call.next();
      const whole = answer && await wholeOf(answer);
      const isEnd = await call.next() === undefined;
      if (isLate) throw new GrpcError(Code.deadlineExceeded, `no answer in ${timeoutMs} ms`);
      if (call.failure !== undefined) throw call.failure;
      if (whole === undefined || !isEnd) {
        throw new GrpcError(Code.internal, "the server did not answer with one message");
      }
      return whole;
    } finally {
      timer.cancel();
      call.cancel();
    }
  }

  stream(path: string): GrpcStream {
    return this.#call(path);
  }

  [Symbol.dispose](): void {
    this.#stop.abort();
    this.#connecting?.then((connection) => connection.destroy(), () => {});
  }

  #call(path: string): Call {
    return new Call(async (stop) => {
      const metadata = await readMetadata(this.endpoint).catch((error: unknown) => {
        // Without the words for connections of users, who have nothing to do with it.
        const failure = Refusal.failureOf(error);
        const why = "cause" in failure ? `${failure.cause}` : describeFailure(failure);
        throw new GrpcError(Code.unauthenticated, why);
      });
      const connection = await (this.#connecting ??= this.#connect());
      const head = { method: "POST", scheme: "https", authority: this.#authority, path };
      return await connection.exchange({ ...head, headers: headersOf(metadata) }, stop);
    });
  }

  async #connect(): Promise<ClientConnection> {
    const { clock } = this.network;
    const stop = this.#stop.signal;
    const late = new AbortController();
    const timer = clock.after(CONNECT_TIMEOUT_MS, () => late.abort());
    const given = AbortSignal.any([stop, late.signal]);
    try {
      return await Promise.race([connectTo(this.target, this.network, given), aborted(given)]);
    } catch (error) {
      const why = late.signal.aborted
        ? ` in ${CONNECT_TIMEOUT_MS} ms`
        : `: ${error instanceof Error ? error.message : error}`;
      throw new GrpcError(Code.unavailable, `cannot connect to ${this.#authority}${why}`);
    } finally {
      timer.cancel();
    }
  }
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const give = () => reject(new Error("given up"));
    if (signal.aborted) give();
    else signal.addEventListener("abort", give, { once: true });
  });
}

/** doc/PROTOCOL-HTTP2.md, "Requests". Names that end in `-bin` are binary by its rule, and travel in base64. */
function headersOf(metadata: readonly (readonly [string, string])[]): Headers {
  const headers = new Map<string, string[]>([
    ["te", ["trailers"]],
    ["content-type", ["application/grpc"]],
    ["user-agent", ["grpc-ztunnel-deno"]],
    ["grpc-accept-encoding", ["identity"]],
  ]);
  for (const [name, text] of metadata) {
    const key = name.toLowerCase();
    const value = key.endsWith("-bin") ? new TextEncoder().encode(text).toBase64() : text;
    const values = headers.get(key);
    if (values === undefined) headers.set(key, [value]);
    else values.push(value);
  }
  return headers;
}

async function wholeOf(message: GrpcMessage): Promise<Uint8Array> {
  const { bytesCount } = message;
  if (bytesCount > UNARY_BYTES_MAX) {
    const why = `the answer has ${bytesCount} bytes, at most ${UNARY_BYTES_MAX}`;
    throw new GrpcError(Code.resourceExhausted, why);
  }
  const whole = new Uint8Array(bytesCount);
  let at = 0;
  for (let piece = await message.read(); piece !== undefined; piece = await message.read()) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
