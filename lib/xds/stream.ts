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
import type { StreamEnd } from "./retry.ts";

/** behaviour.md 3.1. */
const PATH = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/** Whoever speaks on a stream. */
export interface Speaker {
  /** The stream begins: what to say first. */
  open(): readonly DeltaDiscoveryRequest[];
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

/** What is sent while the stream runs. */
export type Send = (request: DeltaDiscoveryRequest) => void;

/**
 * One attempt (behaviour.md 3.1): one channel, one stream on it, both gone when it returns. `stop` ends it wherever it
 * is, also before the server has said anything. Never rejects.
 */
export async function runStream(
  endpoint: Endpoint,
  network: Network,
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
      await converse(stream, speaker);
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

async function converse(stream: GrpcStream, speaker: (send: Send) => Speaker): Promise<void> {
  const send = (request: DeltaDiscoveryRequest) => {
    // A server that reads nothing is found by the pings; a request more or less changes nothing for it.
    stream.send(toBinary(DeltaDiscoveryRequestSchema, request));
  };
  const { open, answered, heard } = speaker(send);
  stream.onAnswer = answered;
  for (const request of open()) send(request);
  for (;;) {
    const message = await stream.next();
    if (message === undefined) return;
    await heard(message);
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
