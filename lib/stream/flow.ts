import type { StreamError } from "./byte_stream.ts";

/**
 * A stream as its runtime has it: pushed, without a promise for each chunk. For wires that move many small things over one
 * stream; whoever starts a flow must not call the stream's own `read`, `write` and `closeWrite` any more, while `abort` and
 * `closed` go on working.
 */
export interface Flow {
  /** Begins to read into `taker`. Call once. */
  start(taker: FlowTaker): void;
  /** Takes the whole chunk; the buffer is free again at `done`, which also comes after a failure. In order. */
  write(chunk: Uint8Array, done: () => void): void;
  /** Finishes our direction after everything written. A failure is told to the taker. */
  closeWrite(): void;
  /** Stops reading at the kernel, so that the peer is stopped; at most one more chunk comes. */
  pause(): void;
  resume(): void;
}

/** Whom a flow fills. None of these may throw. */
export interface FlowTaker {
  /** Where the next bytes go; asked for before each `received`. Never empty. */
  buffer(): Uint8Array;
  /** So many bytes lie at the start of the buffer given last. */
  received(count: number): void;
  /** The peer has finished its direction. */
  ended(): void;
  /** Both directions are over. */
  failed(error: StreamError): void;
}

/** A `ByteStream.native` that can flow. */
export interface Flowing {
  readonly flow: Flow;
}

/** The flow of a stream, if it has one. */
export function flowOf(native: unknown): Flow | undefined {
  if (typeof native !== "object" || native === null || !("flow" in native)) return undefined;
  return (native as Flowing).flow;
}
