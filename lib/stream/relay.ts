import type { StopSignal } from "#system";
import type { Failure } from "#values";
import { type ByteStream, StreamError } from "./byte_stream.ts";
import { type Ending, flowOf, joiningOf } from "./flow.ts";

/** Counts bytes as they are accepted by the other side; `received` is downstream to upstream (behaviour.md 13.3). */
export interface Meter {
  received(bytes: number): void;
  sent(bytes: number): void;
}

export interface RelayOptions {
  readonly downstream: ByteStream;
  readonly upstream: ByteStream;
  readonly meter: Meter;
  /** Aborting ends both streams at once; its reason is a Failure, which becomes the result. */
  readonly revoked: StopSignal;
  /** Called once, when the first of both directions has ended and the other goes on. */
  readonly onHalfClosed?: () => void;
}

/**
 * Moves bytes both ways until both directions have ended (behaviour.md 7.9); never rejects. Each direction is finished on
 * its own: a FIN on one side closes the write side of the other, and the way back goes on. A peer that resets or
 * takes nothing any more has ended, not failed: the result is undefined. Where ztunnel turns a reset into a FIN,
 * which makes a truncated upload look complete, this passes the reset on.
 *
 * An error of another kind gives `send` (downstream to upstream) or `receive` (the way back) with its text, and ends
 * both streams. The streams stay the caller's, to dispose of.
 */
export async function relay(options: RelayOptions): Promise<Failure | undefined> {
  const { downstream, upstream, meter, revoked, onHalfClosed } = options;
  const abortBoth = (): void => {
    downstream.abort();
    upstream.abort();
  };
  if (revoked.aborted) {
    abortBoth();
    return reasonOf(revoked);
  }
  revoked.addEventListener("abort", abortBoth);
  try {
    const { there, back } = joined(options) ?? {
      there: carry(downstream, upstream, (bytes) => meter.received(bytes)),
      back: carry(upstream, downstream, (bytes) => meter.sent(bytes)),
    };
    if (onHalfClosed !== undefined) void Promise.race([there, back]).then(onHalfClosed);
    const [sending, receiving] = await Promise.all([there, back]);
    if (revoked.aborted) return reasonOf(revoked);
    // Whoever still sends into a direction that has no taker would be blocked for ever.
    if (sending.kind !== "finished" || receiving.kind !== "finished") abortBoth();
    if (sending.kind === "failed") return { kind: "send", cause: sending.cause };
    if (receiving.kind === "failed") return { kind: "receive", cause: receiving.cause };
    return undefined;
  } finally {
    revoked.removeEventListener("abort", abortBoth);
  }
}

interface Carried {
  readonly there: Promise<Ending>;
  readonly back: Promise<Ending>;
}

/** The fast road, where one side flows and the other joins flows; otherwise undefined, and nothing has happened. */
function joined({ downstream, upstream, meter }: RelayOptions): Carried | undefined {
  const outbound = joiningOf(upstream.native);
  const inbound = outbound === undefined ? joiningOf(downstream.native) : undefined;
  if (outbound !== undefined) {
    const flow = flowOf(downstream.native);
    const junction = flow && outbound.join(flow, {
      outward: (bytes) => meter.received(bytes),
      inward: (bytes) => meter.sent(bytes),
    });
    return junction && { there: junction.outward, back: junction.inward };
  }
  const flow = inbound && flowOf(upstream.native);
  const junction = flow && inbound!.join(flow, {
    outward: (bytes) => meter.sent(bytes),
    inward: (bytes) => meter.received(bytes),
  });
  return junction && { there: junction.inward, back: junction.outward };
}

/** One direction to its end, or to the end of the stream that it leads to. */
async function carry(
  from: ByteStream,
  to: ByteStream,
  count: (bytes: number) => void,
): Promise<Ending> {
  const progress = { writing: false };
  const carried = pump(from, to, count, progress);
  // A write in flight hears of the end itself. But who waits for a silent `from` would never write to a `to` that is gone,
  // and hold both for ever: a client that leaves after its FIN, a tunnel whose connection died.
  const gone = to.closed.then((): Ending | Promise<Ending> =>
    progress.writing ? carried : { kind: "unwanted" }
  );
  return await Promise.race([carried, gone]);
}

async function pump(
  from: ByteStream,
  to: ByteStream,
  count: (bytes: number) => void,
  progress: { writing: boolean },
): Promise<Ending> {
  try {
    for (let chunk = await from.read(); chunk !== null; chunk = await from.read()) {
      progress.writing = true;
      await to.write(chunk);
      progress.writing = false;
      count(chunk.length);
    }
    progress.writing = true;
    await to.closeWrite();
    return { kind: "finished" };
  } catch (error) {
    if (progress.writing && error instanceof StreamError && error.kind === "broken_pipe") {
      return { kind: "unwanted" };
    }
    // One side is gone both ways; without its partner the other would wait for ever.
    from.abort();
    to.abort();
    if (error instanceof StreamError && error.kind !== "io") return { kind: "cut" };
    return { kind: "failed", cause: error instanceof Error ? error.message : String(error) };
  }
}

function reasonOf(revoked: StopSignal): Failure {
  const reason: unknown = revoked.reason;
  if (typeof reason === "object" && reason !== null && "kind" in reason) return reason as Failure;
  return { kind: "io", cause: `ended by us: ${String(reason)}` };
}
