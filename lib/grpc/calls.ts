import { Buffer } from "node:buffer";
import {
  type CallCredentials,
  Client,
  type ClientDuplexStream,
  connectivityState,
  credentials,
  Metadata,
  type ServiceError,
  status as Code,
  type StatusObject,
} from "@grpc/grpc-js";
import type { Clock } from "#system";
import { Ip } from "#values";
import { channelCredentials, channelOptions } from "./channel.ts";
import { type Endpoint, hostPortOf, readMetadata, readRoots } from "./endpoint.ts";
import { oneAttempt } from "./one_attempt.ts";

/**
 * From the first packet until the server is verified. The reference gives TCP alone 5 s (behaviour.md 3.1); a busy
 * server needs some more for its handshake.
 */
const CONNECT_TIMEOUT_MS = 10_000;
/** After it a failed connection is forgotten; nothing connects again (one_attempt.ts). */
const BACKOFF_MS = 100;
/** Messages that wait for a server that does not read; behaviour.md, appendix B. */
const OUTGOING_MAX = 100;

/** A call's end other than success. `code` is gRPC's, 2 (unknown) to 16. */
export class GrpcError extends Error {
  override readonly name = "GrpcError";
  constructor(readonly code: number, readonly details: string) {
    super(`grpc status ${Code[code] ?? code}: ${details}`);
  }
}

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

export interface GrpcStream {
  /** Whether the server took the call, which is before it has anything to say. */
  readonly isAnswered: boolean;
  /** Called when the server takes the call. */
  onAnswer: () => void;
  /** Why it ended; undefined until then, and where the server ended it with OK. */
  readonly failure: GrpcError | undefined;
  /** False if the stream is over or too many messages wait for a server that does not read. */
  send(message: Uint8Array): boolean;
  /** The server's next message; undefined when the stream has ended. Never rejects. */
  next(): Promise<Uint8Array | undefined>;
  /** Ends it with code 1, CANCELLED, wherever it is. */
  cancel(): void;
}

/**
 * A channel for one attempt: roots are read now, the token for every call. Rejects with a Refusal (`tls_config`) for
 * an unusable address or unusable roots; that the server cannot be reached, only a call tells.
 */
export async function connectChannel(endpoint: Endpoint, clock: Clock): Promise<GrpcChannel> {
  const { host, port } = hostPortOf(endpoint.url);
  const { altHostname, allowTls12 } = endpoint;
  const trust = {
    rootsPem: await readRoots(endpoint.roots),
    hostnames: altHostname === undefined ? [host] : [host, altHostname],
    ...(allowTls12 !== undefined && { allowTls12 }),
  };
  const both = credentials.combineChannelCredentials(
    channelCredentials(trust, clock),
    metadataOf(endpoint),
  );
  const authority = `${
    Ip.parse(host) !== undefined && host.includes(":") ? `[${host}]` : host
  }:${port}`;
  const client = new Client(authority, oneAttempt(both), {
    ...channelOptions(trust),
    "grpc.default_authority": authority,
    // Whoever called decides when to try again, and on a new channel.
    "grpc.enable_retries": 0,
    "grpc.use_local_subchannel_pool": 1,
    "grpc.initial_reconnect_backoff_ms": BACKOFF_MS,
  });
  return {
    unary: (path, message, { timeoutMs }) => unary(client, clock, path, message, timeoutMs),
    stream: (path) => new Stream(client, clock, path),
    [Symbol.dispose]: () => client.close(),
  };
}

function metadataOf(endpoint: Endpoint): CallCredentials {
  return credentials.createFromMetadataGenerator((_params, done) => {
    readMetadata(endpoint).then((pairs) => {
      const metadata = new Metadata();
      // Names that end so are binary by gRPC's rule, and their values are bytes.
      for (const [name, value] of pairs) {
        metadata.add(name, name.toLowerCase().endsWith("-bin") ? Buffer.from(value) : value);
      }
      return metadata;
    }).then((metadata) => done(null, metadata), (error: Error) => done(error));
  });
}

const asIs = (bytes: Buffer): Buffer => bytes;

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function errorOf({ code, details }: Pick<StatusObject, "code" | "details">): GrpcError {
  return new GrpcError(code, details);
}

function unary(
  client: Client,
  clock: Clock,
  path: string,
  message: Uint8Array,
  timeoutMs: number,
): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    let isLate = false;
    const timer = clock.after(timeoutMs, () => {
      isLate = true;
      call.cancel();
    });
    const done = (error: ServiceError | null, answer?: Buffer) => {
      timer.cancel();
      if (isLate) reject(new GrpcError(Code.DEADLINE_EXCEEDED, `no answer in ${timeoutMs} ms`));
      else if (error !== null) reject(errorOf(error));
      else resolve(answer ?? new Uint8Array());
    };
    const call = client.makeUnaryRequest(path, asIs, asIs, bufferOf(message), done);
  });
}

class Stream implements GrpcStream {
  onAnswer: () => void = () => {};
  readonly #call: ClientDuplexStream<Buffer, Buffer>;
  #isAnswered = false;
  #isOver = false;
  #failure: GrpcError | undefined;
  #wake: () => void = () => {};

  constructor(client: Client, clock: Clock, path: string) {
    const timer = clock.after(CONNECT_TIMEOUT_MS, () => {
      // Connected is enough: a server may take its time before it has something to say.
      if (client.getChannel().getConnectivityState(false) === connectivityState.READY) return;
      this.#failure = new GrpcError(
        Code.UNAVAILABLE,
        `cannot connect to ${client.getChannel().getTarget()} in ${CONNECT_TIMEOUT_MS} ms`,
      );
      this.cancel();
    });
    this.#call = client.makeBidiStreamRequest(path, asIs, asIs);
    this.#call.on("metadata", () => {
      this.#isAnswered = true;
      this.onAnswer();
    });
    this.#call.on("readable", () => this.#wake());
    // The status says the same, and comes always.
    this.#call.on("error", () => {});
    this.#call.on("status", (end: StatusObject) => {
      timer.cancel();
      this.#isOver = true;
      if (end.code !== Code.OK) this.#failure ??= errorOf(end);
      this.#wake();
    });
  }

  get isAnswered(): boolean {
    return this.#isAnswered;
  }

  get failure(): GrpcError | undefined {
    return this.#isOver ? this.#failure : undefined;
  }

  send(message: Uint8Array): boolean {
    if (this.#isOver || this.#call.writableLength >= OUTGOING_MAX) return false;
    this.#call.write(bufferOf(message));
    return true;
  }

  async next(): Promise<Uint8Array | undefined> {
    for (;;) {
      const message: Buffer | null = this.#call.read();
      if (message !== null) return message;
      if (this.#isOver) return undefined;
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  cancel(): void {
    this.#call.cancel();
  }
}
