import { C, c, errno, SYS } from "./libc.ts";
import { CallError } from "./errno.ts";
import { inNetns } from "./netns.ts";

/** How many files this process has open, and may have. */
export const OpenFiles = {
  /** Raises the soft limit to the hard one; the default of 1024 would be a few hundred connections. */
  raiseLimit(): { readonly before: number; readonly after: number } {
    const limits = readLimits();
    const [before, hard] = [limits[0]!, limits[1]!];
    limits[0] = hard;
    if (c.setrlimit(C.RLIMIT_NOFILE, new Uint8Array(limits.buffer)) !== 0) {
      return { before: Number(before), after: Number(before) };
    }
    return { before: Number(before), after: Number(hard) };
  },

  /** The soft limit: the metric `process_max_fds`. */
  limit(): number {
    return Number(readLimits()[0]!);
  },

  /** The metric `process_open_fds`. Needs permission for all (runtime.md H). */
  count(): number {
    let count = 0;
    for (const _ of Deno.readDirSync("/proc/self/fd")) count++;
    // The listing itself held one.
    return count - 1;
  },
} as const;

/** Asks the kernel to end this process with SIGTERM when the thread that started it ends. */
export function exitWithParent(): void {
  if (c.prctl(C.PR_SET_PDEATHSIG, BigInt(C.SIGTERM), 0n, 0n, 0n) !== 0) {
    throw new CallError("prctl(PR_SET_PDEATHSIG)", errno());
  }
}

/** Shorter, the wait may be over before the runtime has looked at its sockets. */
const TURN_US = 50;

/**
 * Resolves when everyone else on this thread has had a turn: for long work that is done in slices. A timer of 0 takes 2 ms
 * here, and `setImmediate` lets only timers have theirs: the runtime looks at its sockets when it has nothing else to do,
 * or at every 61st turn (measured: an echo beside slices of 4 ms took 230 ms).
 */
export async function othersTurn(): Promise<void> {
  await c.usleep(TURN_US);
}

const used = new BigInt64Array(2);
const usedBytes = new Uint8Array(used.buffer);

/** User and kernel time of the calling thread alone, in milliseconds (clock_gettime(2)). */
export function threadProcessorMs(): number {
  c.clock_gettime(C.CLOCK_THREAD_CPUTIME_ID, usedBytes);
  // struct timespec: seconds, nanoseconds.
  return Number(used[0]) * 1e3 + Number(used[1]) / 1e6;
}

/** The shortest that the kernel gives. */
const SLICE_NS = 100_000n;

/** struct sched_attr as it was first: size, policy, flags, nice, priority, and from byte 24 on runtime, deadline, period. */
const SCHED_ATTR_BYTES = 48;
const SCHED_RUNTIME_AT = 24;

/**
 * Asks for short slices of the processor for the calling thread, which wakes up often and has little to do each time: it
 * gets no more than its share, but when it wakes up it need not wait until others have used up their longer slices.
 * Measured beside six busy processes on two processors: p99 of waking up 4.4 ms, 6.8 without (bench/wakeup.ts). Returns
 * whether the kernel took it; before Linux 6.12 it does, and does nothing (sched_setattr(2), sched-eevdf in the kernel's
 * documentation).
 */
export function askForShortSlices(): boolean {
  const attr = new DataView(new ArrayBuffer(SCHED_ATTR_BYTES));
  const bytes = new Uint8Array(attr.buffer);
  // Nice value and policy stay as they are.
  if (c.syscall(SYS.sched_getattr, 0, bytes, SCHED_ATTR_BYTES, 0) !== 0n) return false;
  attr.setBigUint64(SCHED_RUNTIME_AT, SLICE_NS, true);
  return c.syscall(SYS.sched_setattr, 0, bytes, 0, 0) === 0n;
}

/** Whether `::1` may be bound (behaviour.md 2.2), in the namespace of `netns` where given. Unreadable means yes. */
export function isIpv6Available(netns?: number): boolean {
  const read = (): boolean => {
    try {
      return Deno.readTextFileSync("/proc/sys/net/ipv6/conf/lo/disable_ipv6").trim() !== "1";
    } catch {
      return true;
    }
  };
  return netns === undefined ? read() : inNetns(netns, read);
}

/** struct rlimit: soft, hard. */
function readLimits(): BigUint64Array<ArrayBuffer> {
  const limits = new BigUint64Array(2);
  if (c.getrlimit(C.RLIMIT_NOFILE, new Uint8Array(limits.buffer)) !== 0) {
    throw new CallError("getrlimit", errno());
  }
  return limits;
}
