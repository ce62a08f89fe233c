import type { Acceptor, Dialer, DialerOptions, Kernel, ListenOptions } from "#stream";
import type { Clock } from "#system";
import { SocketWatch } from "./socket_watch.ts";
import { listen } from "./acceptor.ts";
import { TcpDialer } from "./dialer.ts";

export interface KernelOptions {
  readonly clock: Clock;
  /** fd of the network namespace to work in, our own where absent; lent, and needed as long as the kernel is used. */
  readonly netns?: number;
}

/** The kernel of this machine: TCP sockets with their options, in one network namespace (behaviour.md 2). */
export function createKernel({ clock, netns }: KernelOptions): Kernel {
  const watch = new SocketWatch(clock);
  return {
    listen: (options: ListenOptions): Acceptor => listen(options, netns, watch),
    dialer: (options: DialerOptions): Dialer => new TcpDialer(options, clock, netns, watch),
  };
}
