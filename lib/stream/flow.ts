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
  /** Finishes our direction after everything written, then calls `done`. A failure is told to the taker instead. */
  closeWrite(done?: () => void): void;
  /** Stops reading at the kernel, so that the peer is stopped; at most one more chunk comes. */
  pause(): void;
  resume(): void;
}

/** Whom a flow fills. None of these may throw. */
export interface FlowTaker {
  /** Where the next bytes go; asked for at least once before each `received`. Never empty. */
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
  /** Undefined while somebody reads or writes, after the end, and in a runtime where it does not work. */
  readonly flow: Flow | undefined;
}

/** The flow of a stream, if it has one. */
export function flowOf(native: unknown): Flow | undefined {
  if (typeof native !== "object" || native === null || !("flow" in native)) return undefined;
  return (native as Flowing).flow;
}

/**
 * How one direction ended. `finished`: by a FIN that was passed on. `unwanted`: its destination takes nothing any more but
 * may still be talking, or is gone while there was nothing to say to it. `cut`: a reset, or our own abort.
 */
export type Ending =
  | { readonly kind: "finished" | "unwanted" | "cut" }
  | { readonly kind: "failed"; readonly cause: string };

/** Hears what a junction does, by direction seen from the flow: `outward` leaves it, `inward` goes into it. */
export interface JunctionListener {
  /** The other side took so many bytes. */
  outward(bytes: number): void;
  inward(bytes: number): void;
}

/** A `ByteStream.native` that exchanges bytes with a flow by itself, without a promise for each chunk: a tunnel. */
export interface Joining {
  /**
   * Moves bytes both ways until both directions have ended; starts the flow. Undefined, and nothing done, while
   * somebody reads or writes, and after the end. A cut or failed direction has aborted the stream; the flow is the caller's.
   */
  join(
    flow: Flow,
    listener: JunctionListener,
  ): { readonly outward: Promise<Ending>; readonly inward: Promise<Ending> } | undefined;
}

/** The joining of a stream, if it has one. */
export function joiningOf(native: unknown): Joining | undefined {
  if (typeof native !== "object" || native === null || !("join" in native)) return undefined;
  return native as Joining;
}
