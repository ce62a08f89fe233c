import type { Socket } from "node:net";
import type { Dialer, DialerOptions, Kernel, ListenOptions } from "#stream";
import type { Clock } from "#system";
import { RuntimeProbe } from "./runtime_probe.ts";
import { SocketWatch } from "./socket_watch.ts";
import { listen, type SharedAcceptor } from "./acceptor.ts";
import { TcpDialer } from "./dialer.ts";

export interface KernelOptions {
  readonly clock: Clock;
  /** fd of the network namespace to work in, our own where absent; lent, and needed as long as the kernel is used. */
  readonly netns?: number;
  /** Told once when this runtime's sockets can only be used by their public interface, which is slower. */
  readonly onFallback?: (message: string) => void;
  /** Says what a socket lacks for the fast road; for tests. */
  readonly missingIn?: (socket: Socket) => string | undefined;
}

export interface LinuxKernel extends Kernel {
  listen(options: ListenOptions): SharedAcceptor;
}

/** The kernel of this machine: TCP sockets with their options, in one network namespace (behaviour.md 2). */
export function createKernel(
  { clock, netns, onFallback, missingIn }: KernelOptions,
): LinuxKernel {
  const watch = new SocketWatch(clock, new RuntimeProbe(onFallback, missingIn));
  return {
    listen: (options: ListenOptions) => listen(options, netns, watch),
    dialer: (options: DialerOptions): Dialer => new TcpDialer(options, clock, netns, watch),
  };
}
