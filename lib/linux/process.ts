import { C, c, errno } from "./libc.ts";
import { CallError } from "./errno.ts";
import { inNetns } from "./netns.ts";

/** Raises the soft limit of open files to the hard one; the defaults of 1024 would be a few hundred connections. */
export function raiseOpenFileLimit(): { readonly before: number; readonly after: number } {
  const limits = readLimits();
  const [before, hard] = [limits[0]!, limits[1]!];
  limits[0] = hard;
  if (c.setrlimit(C.RLIMIT_NOFILE, new Uint8Array(limits.buffer)) !== 0) {
    return { before: Number(before), after: Number(before) };
  }
  return { before: Number(before), after: Number(hard) };
}

/** The soft limit of open files: the metric `process_max_fds`. */
export function openFileLimit(): number {
  return Number(readLimits()[0]!);
}

/** Open fds of this process: the metric `process_open_fds`. Needs permission for all (runtime.md H). */
export function openFdCount(): number {
  let count = 0;
  for (const _ of Deno.readDirSync("/proc/self/fd")) count++;
  // The listing itself held one.
  return count - 1;
}

/** Asks the kernel to end this process with SIGTERM when the thread that started it ends. */
export function exitWithParent(): void {
  if (c.prctl(C.PR_SET_PDEATHSIG, BigInt(C.SIGTERM), 0n, 0n, 0n) !== 0) {
    throw new CallError("prctl(PR_SET_PDEATHSIG)", errno());
  }
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
