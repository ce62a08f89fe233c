import { C, c, cString, errno } from "./libc.ts";
import { CallError } from "./errno.ts";
import { recordFd } from "./fd_ledger.ts";

/** What a process ends with when it cannot come home; see architecture.md 6, "a bug". */
const EXIT_STUCK = 70;
const STUCK = "bug: a thread cannot leave a pod's network namespace; the process ends\n";
/** More than struct stat of any 64-bit Linux; st_dev and st_ino are its first two words. */
const STAT_BYTES_MAX = 256;

/** In /proc/net/dev: devices that a namespace has by itself, loopback and those of the kernel's tunnel modules. */
const OF_NO_POD = /^\s*(lo|tunl0|sit0|gre0|gretap0|erspan0|ip_vti0|ip6_vti0|ip6tnl0|ip6gre0):/;

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
    if (c.setns(home, C.CLONE_NEWNET) !== 0) {
      Deno.stderr.writeSync(new TextEncoder().encode(STUCK));
      // Deno.exit would end a Worker alone, and say so as if nothing had happened.
      c._exit(EXIT_STUCK);
    }
  }
}

function openHome(): number {
  // `thread-self`: a Worker is a thread of its own and may live elsewhere.
  const fd = c.open(cString("/proc/thread-self/ns/net"), C.O_CLOEXEC);
  if (fd < 0) throw new CallError("open /proc/thread-self/ns/net", errno());
  return recordFd(fd);
}

/**
 * A network namespace that somebody gave us as an open file. Owns the fd and closes it once; as long as it is open the
 * namespace lives, even when its pod is gone.
 */
export class Netns implements Disposable {
  #fd: number;
  /** Device and inode of the namespace: two fds with the same one are the same namespace (behaviour.md 10.4). */
  readonly id: string;

  private constructor(fd: number, id: string) {
    this.#fd = fd;
    this.id = id;
  }

  /** Takes `fd` over; where it throws (a CallError) the fd is closed. */
  static adopt(fd: number): Netns {
    const stat = new Uint8Array(new ArrayBuffer(STAT_BYTES_MAX));
    if (c.fstat(fd, stat) !== 0) {
      const failed = errno();
      c.close(fd);
      throw new CallError("fstat", failed);
    }
    const view = new DataView(stat.buffer);
    return new Netns(fd, `${view.getBigUint64(0, true)}:${view.getBigUint64(8, true)}`);
  }

  /** Closes what came where nothing was wanted. */
  static refuse(fds: readonly number[]): void {
    for (const fd of fds) c.close(fd);
  }

  /** Lent; -1 once it is closed. */
  get fd(): number {
    return this.#fd;
  }

  /** Whether it is a network namespace at all: anything can be sent (behaviour.md 10.3). */
  get isNetwork(): boolean {
    return c.ioctl(this.#fd, C.NS_GET_NSTYPE, 0n) === C.CLONE_NEWNET;
  }

  /** A second fd of the namespace, which the caller owns. Throws a CallError. */
  duplicate(): number {
    const fd = c.fcntl(this.#fd, C.F_DUPFD_CLOEXEC, 0);
    if (fd < 0) throw new CallError("fcntl(F_DUPFD_CLOEXEC)", errno());
    return fd;
  }

  /**
   * Whether nothing but loopback is left in it: the pod's network has been taken down, and only we keep the namespace
   * alive. False where it cannot be told.
   */
  get isAbandoned(): boolean {
    try {
      const devices = inNetns(this.#fd, () => Deno.readTextFileSync("/proc/thread-self/net/dev"));
      // Two lines of headings, then one for each device.
      return devices.trim().split("\n").slice(2).every((line) => OF_NO_POD.test(line));
    } catch {
      return false;
    }
  }

  /**
   * Lets connections that a closing listener has not accepted move to another one of the same port
   * (net.ipv4.tcp_migrate_req of ip-sysctl.rst, since Linux 5.14). False where that cannot be set: /proc/sys may be read-only.
   */
  migrateConnections(): boolean {
    try {
      inNetns(this.#fd, () => Deno.writeTextFileSync("/proc/sys/net/ipv4/tcp_migrate_req", "1"));
      return true;
    } catch {
      return false;
    }
  }

  [Symbol.dispose](): void {
    if (this.#fd >= 0) c.close(this.#fd);
    this.#fd = -1;
  }
}
