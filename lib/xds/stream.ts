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
  /**
   * What is answered, if anything; the next message comes when that is on its way. What it throws ends the stream, and is
   * no bug of the server.
   */
  heard(message: GrpcMessage): Promise<DeltaDiscoveryRequest | undefined>;
  /** What else there is to say, asked for when the server has room for it; undefined if there is nothing now. */
  question(): DeltaDiscoveryRequest | undefined;
}

export interface Ended {
  readonly end: StreamEnd;
  /** For people; undefined where the server ended it well. */
  readonly error: string | undefined;
  /** The server's status. */
  readonly status: GrpcError | undefined;
}

/** There is a question, which waits until the stream's opening is out. */
export type Ask = () => void;

/**
 * One attempt (behaviour.md 3.1): one channel, one stream on it, both gone when it returns. `stop` ends it wherever it
 * is, also before the server has said anything. Never rejects.
 */
export async function runStream(
  endpoint: Endpoint,
  network: Network & Pace,
  stop: AbortSignal,
  speaker: (ask: Ask) => Speaker,
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
  speakerOf: (ask: Ask) => Speaker,
): Promise<void> {
  const speaker = speakerOf(() => outbox.ask());
  const outbox = new Outbox(stream, speaker);
  stream.onAnswer = speaker.answered;
  if (!await stream.begun) return;
  await outbox.begin(speaker.open(), new Slices(pace));
  for (;;) {
    const message = await stream.next();
    if (message === undefined) return;
    const reply = await speaker.heard(message);
    if (reply !== undefined) await outbox.put(reply);
  }
}

/** What we say, as fast as the server reads. Nothing is kept for one that does not. */
class Outbox {
  #isAsking = true;

  constructor(private readonly stream: GrpcStream, private readonly speaker: Speaker) {}

  /** Resolves when all of it is on its way, or the stream is over; questions come behind it. */
  async begin(openings: Iterable<Opening>, slices: Slices): Promise<void> {
    for (const opening of openings) {
      const pieces: Uint8Array[] = [];
      for (const piece of bytesOf(opening)) {
        pieces.push(piece);
        if (slices.isOver) await slices.rest();
      }
      if (!await this.#send(...pieces)) return;
    }
    void this.#askAll();
  }

  ask(): void {
    if (!this.#isAsking) void this.#askAll();
  }

  /** Resolves with true when it is on its way, with false when the stream is over. */
  put(request: DeltaDiscoveryRequest): Promise<boolean> {
    return this.#send(toBinary(DeltaDiscoveryRequestSchema, request));
  }

  async #askAll(): Promise<void> {
    this.#isAsking = true;
    while (await this.stream.room()) {
      const question = this.speaker.question();
      if (question === undefined) break;
      await this.put(question);
    }
    this.#isAsking = false;
  }

  async #send(...pieces: Uint8Array[]): Promise<boolean> {
    while (!this.stream.send(...pieces)) if (!await this.stream.room()) return false;
    return true;
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
