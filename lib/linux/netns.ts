import { C, c, cString, errno } from "./libc.ts";
import { CallError } from "./errno.ts";
import { recordFd } from "./fd_ledger.ts";

/** What a process ends with when it cannot come home; see architecture.md 6, "a bug". */
const EXIT_STUCK = 70;

let home: number | undefined;

/**
 * Runs `work` in another network namespace, about 3 µs there and back. JavaScript of one isolate stays on one OS
 * thread, and setns concerns that thread alone: `work` must be synchronous, which the type demands. A thread that
 * cannot come back would proxy one pod's traffic in another's network, so the process ends instead.
 */
export function inNetns<T>(
  netns: number,
  work: () => T extends PromiseLike<unknown> ? never : T,
): T {
  home ??= openHome();
  if (c.setns(netns, C.CLONE_NEWNET) !== 0) throw new CallError("setns", errno());
  try {
    return work();
  } finally {
    if (c.setns(home, C.CLONE_NEWNET) !== 0) Deno.exit(EXIT_STUCK);
  }
}

function openHome(): number {
  // `thread-self`: a Worker is a thread of its own and may live elsewhere.
  const fd = c.open(cString("/proc/thread-self/ns/net"), C.O_CLOEXEC);
  if (fd < 0) throw new CallError("open /proc/thread-self/ns/net", errno());
  return recordFd(fd);
}
