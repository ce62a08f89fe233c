/**
 * How the house meets a network: everything that proxying asks of a kernel. `linux` implements it with
 * sockets, a simulation with queues.
 * @module
 */
import type { Ip, SocketAddress } from "#values";
import type { ByteStream } from "./byte_stream.ts";

/** A connection that somebody opened to us. */
export interface Arrival {
  readonly stream: ByteStream;
  /** Who connected, canonical (behaviour.md 2.2). */
  readonly source: SocketAddress;
  /** Our end of the connection. */
  readonly local: SocketAddress;
  /** Where it was going before redirection (behaviour.md 2.8); `local` where it was not redirected. */
  readonly destination: SocketAddress;
}

export interface KeepaliveOptions {
  /** False: no probes, only the user timeout. */
  readonly probes?: boolean;
  readonly idleMs: number;
  readonly intervalMs: number;
  readonly retries: number;
  /** TCP_USER_TIMEOUT; absent leaves the kernel's own. */
  readonly userTimeoutMs?: number;
}

export interface ListenOptions {
  readonly at: SocketAddress;
  /** A socket that is bound to `at` and listens already: it is used instead of a new one, and owned from here on. */
  readonly fd?: number;
  /** IP_TRANSPARENT (behaviour.md 2.6): `required` fails the bind without it, `try` tolerates, `off` does not ask. */
  readonly transparent: "required" | "try" | "off";
  /** SO_MARK. */
  readonly mark?: number;
  /** SO_REUSEPORT, so that a successor may listen beside us. */
  readonly reusePort?: boolean;
  /** Connections come by a REDIRECT rule: ask for their original destination. */
  readonly redirected: boolean;
  /** For accepted sockets. */
  readonly keepalive?: KeepaliveOptions;
}

/** A bound, listening socket. The kernel queues connections until `serve`. */
export interface Acceptor {
  readonly address: SocketAddress;
  /** Whether IP_TRANSPARENT is in force, so that dials may leave from a caller's address. */
  readonly transparent: boolean;
  /** Hands every arrival to `onArrival`, which must not throw. Call once. */
  serve(onArrival: (arrival: Arrival) => void): void;
  /** Stops listening at once; accepted connections live on. Idempotent. */
  close(): void;
}

export interface DialOptions {
  /** Leave from this address although it may not be ours (behaviour.md 2.9). */
  readonly spoof?: Ip;
  /** Leave from this address of ours. `spoof` wins. */
  readonly from?: Ip;
  readonly timeoutMs: number;
}

export interface Dialer {
  /** Connects; rejects with a DialError. */
  dial(
    to: SocketAddress,
    options: DialOptions,
  ): Promise<ByteStream & { readonly local: SocketAddress }>;
}

export interface DialerOptions {
  readonly mark?: number;
  readonly keepalive?: KeepaliveOptions;
}

export interface Kernel {
  /** Binds and listens; throws a ListenError. */
  listen(options: ListenOptions): Acceptor;
  dialer(options: DialerOptions): Dialer;
}

/** `code` is the errno's name: ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH, EADDRNOTAVAIL... */
export class DialError extends Error {
  override readonly name = "DialError";
  constructor(readonly code: string, readonly errno: number, message: string) {
    super(message);
  }
}

/** `code` is the errno's name: EADDRINUSE, EACCES, EADDRNOTAVAIL... */
export class ListenError extends Error {
  override readonly name = "ListenError";
  constructor(readonly code: string, readonly errno: number, message: string) {
    super(message);
  }
}
