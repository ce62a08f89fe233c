import { toBinary } from "@bufbuild/protobuf";
import { type DeltaDiscoveryRequest, DeltaDiscoveryRequestSchema } from "#proto/xds_pb.ts";
import {
  connectChannel,
  type Endpoint,
  GrpcError,
  type GrpcMessage,
  type GrpcStream,
  type Network,
} from "#grpc";
import { bytesOf, type Opening } from "./opening.ts";
import type { StreamEnd } from "./retry.ts";
import { type Pace, Slices } from "#system";

/** behaviour.md 3.1. */
const PATH = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/** Whoever speaks on a stream. */
export interface Speaker {
  /** The stream has begun, to a verified server: what to say first. */
  open(): Iterable<Opening>;
  /** The server has taken the call. */
  answered(): void;
  /** The next message comes when this one is done with. What it throws ends the stream, and is no bug of the server. */
  heard(message: GrpcMessage): Promise<void>;
}

export interface Ended {
  readonly end: StreamEnd;
  /** For people; undefined where the server ended it well. */
  readonly error: string | undefined;
  /** The server's status. */
  readonly status: GrpcError | undefined;
}

/** What is sent while the stream runs; before its opening is out, it waits for that. */
export type Send = (request: DeltaDiscoveryRequest) => void;

/**
 * One attempt (behaviour.md 3.1): one channel, one stream on it, both gone when it returns. `stop` ends it wherever it
 * is, also before the server has said anything. Never rejects.
 */
export async function runStream(
  endpoint: Endpoint,
  network: Network & Pace,
  stop: AbortSignal,
  speaker: (send: Send) => Speaker,
): Promise<Ended> {
  let stream: GrpcStream | undefined;
  try {
    using channel = await connectChannel(endpoint, network);
    if (stop.aborted) return { end: { kind: "local" }, error: "stopped", status: undefined };
    stream = channel.stream(PATH);
    const cancel = () => stream?.cancel();
    stop.addEventListener("abort", cancel);
    try {
      await converse(stream, network, speaker);
    } finally {
      stop.removeEventListener("abort", cancel);
      stream.cancel();
    }
    return endOf(stream);
  } catch (error) {
    // In the middle of a message: the stream says what it was.
    if (stream !== undefined && error instanceof GrpcError) return endOf(stream);
    const text = error instanceof Error ? error.message : String(error);
    return { end: { kind: "local" }, error: text, status: undefined };
  }
}

async function converse(
  stream: GrpcStream,
  pace: Pace,
  speaker: (send: Send) => Speaker,
): Promise<void> {
  const outbox = new Outbox(stream);
  const { open, answered, heard } = speaker((request) => outbox.send(request));
  stream.onAnswer = answered;
  if (!await stream.begun) return;
  await outbox.begin(open(), new Slices(pace));
  for (;;) {
    const message = await stream.next();
    if (message === undefined) return;
    await heard(message);
  }
}

/** What we say, in order, as fast as the server reads. */
class Outbox {
  /** At most one acknowledgement, the next response comes only after it, and demands, of which there is a limit. */
  readonly #waiting: DeltaDiscoveryRequest[] = [];
  #isSending = true;

  constructor(private readonly stream: GrpcStream) {}

  /** Resolves when all of it is on its way, or the stream is over. What is sent meanwhile comes behind it. */
  async begin(openings: Iterable<Opening>, slices: Slices): Promise<void> {
    for (const opening of openings) {
      const pieces: Uint8Array[] = [];
      for (const piece of bytesOf(opening)) {
        pieces.push(piece);
        if (slices.isOver) await slices.rest();
      }
      if (!await this.stream.room()) return;
      this.stream.send(...pieces);
    }
    void this.#sendWaiting();
  }

  send(request: DeltaDiscoveryRequest): void {
    this.#waiting.push(request);
    if (!this.#isSending) void this.#sendWaiting();
  }

  async #sendWaiting(): Promise<void> {
    this.#isSending = true;
    while (this.#waiting.length > 0 && await this.stream.room()) {
      this.stream.send(toBinary(DeltaDiscoveryRequestSchema, this.#waiting.shift()!));
    }
    this.#isSending = false;
  }
}

function endOf({ isAnswered, failure }: GrpcStream): Ended {
  if (failure === undefined && isAnswered) {
    return { end: { kind: "ok" }, error: undefined, status: undefined };
  }
  const error = failure?.message ?? "the server ended the stream before it began";
  const { code = 2, details = error } = failure ?? {};
  const end: StreamEnd = isAnswered ? { kind: "status", code, details } : { kind: "not_connected" };
  return { end, error, status: failure };
}
