/**
 * Bytes in order: the one shape of a connection, what moves them, and the ports through which the house meets a network.
 *
 * Owns: ByteStream, relay, an in-memory pipe; the ports Kernel, Dialer, Acceptor. Never: TCP, sockets. Runs on: every thread.
 *
 * @module
 */
export type { ByteStream } from "./byte_stream.ts";
export {
  type Ending,
  type Flow,
  type Flowing,
  flowOf,
  type FlowTaker,
  type Joining,
  joiningOf,
  type JunctionListener,
} from "./flow.ts";
export { StreamError, type StreamErrorKind } from "./byte_stream.ts";
export type {
  Acceptor,
  Arrival,
  Dialer,
  DialerOptions,
  DialOptions,
  KeepaliveOptions,
  Kernel,
  ListenOptions,
} from "./ports.ts";
export { DialError, ListenError } from "./ports.ts";
export { type Meter, relay, type RelayOptions } from "./relay.ts";
export { pipe } from "./pipe.ts";
