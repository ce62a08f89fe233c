/**
 * What a CNI agent and the programs of its pods need of the kernel. A proxy has no use for it.
 * @module
 */
import { CallError } from "./errno.ts";
import { C, c, cString, errno } from "./libc.ts";
import { inNetns } from "./netns.ts";
import { SeqpacketListener } from "./seqpacket_listener.ts";

export const agentSide = {
  /** A unix SOCK_SEQPACKET socket at `path`; longer packets than `packetBytesMax` come truncated. Throws a CallError. */
  listen: (path: string, packetBytesMax: number): SeqpacketListener =>
    SeqpacketListener.listen(path, packetBytesMax),

  /**
   * Runs `work` in the network namespace that `path` names: what it listens on or connects to is there. It must be
   * synchronous, which the type demands. Throws a CallError where `path` is no namespace.
   */
  within<T>(path: string, work: () => T extends PromiseLike<unknown> ? never : T): T {
    const fd = c.open(cString(path), C.O_CLOEXEC);
    if (fd < 0) throw new CallError(`open ${path}`, errno());
    try {
      return inNetns(fd, work);
    } finally {
      c.close(fd);
    }
  },
} as const;
