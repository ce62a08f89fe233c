/**
 * The binding to glibc: the only place that opens a library. Everything here is synchronous but `epoll_wait` and
 * `usleep`, which park one thread of the runtime's pool each.
 * @module
 */

/** Linux's own numbers; they are the same on x86_64 and aarch64. */
export const C = {
  AF_UNIX: 1,
  AF_INET: 2,
  AF_INET6: 10,
  SOCK_STREAM: 1,
  SOCK_SEQPACKET: 5,
  SOCK_NONBLOCK: 0o4000,
  SOCK_CLOEXEC: 0o2000000,
  O_CLOEXEC: 0o2000000,
  EFD_CLOEXEC: 0o2000000,
  EFD_NONBLOCK: 0o4000,
  CLONE_NEWNET: 0x40000000,
  F_DUPFD_CLOEXEC: 1030,
  NS_GET_NSTYPE: 0xb703n,
  MSG_CTRUNC: 0x08,
  MSG_TRUNC: 0x20,
  MSG_DONTWAIT: 0x40,
  MSG_NOSIGNAL: 0x4000,
  MSG_CMSG_CLOEXEC: 0x40000000,
  SCM_RIGHTS: 1,
  SOL_SOCKET: 1,
  SO_REUSEADDR: 2,
  SO_ERROR: 4,
  SO_KEEPALIVE: 9,
  SO_REUSEPORT: 15,
  SO_MARK: 36,
  SOL_IP: 0,
  IP_FREEBIND: 15,
  IP_TRANSPARENT: 19,
  IP_BIND_ADDRESS_NO_PORT: 24,
  SO_ORIGINAL_DST: 80,
  SOL_IPV6: 41,
  IPV6_V6ONLY: 26,
  IPV6_TRANSPARENT: 75,
  IPV6_FREEBIND: 78,
  SOL_TCP: 6,
  TCP_NODELAY: 1,
  TCP_KEEPIDLE: 4,
  TCP_KEEPINTVL: 5,
  TCP_KEEPCNT: 6,
  TCP_USER_TIMEOUT: 18,
  POLLIN: 1,
  POLLOUT: 4,
  EPOLL_CTL_ADD: 1,
  EPOLL_CTL_DEL: 2,
  EPOLLIN: 1,
  EPOLLOUT: 4,
  EPOLLONESHOT: 1 << 30,
  RLIMIT_NOFILE: 7,
  MADV_DONTNEED: 4,
  CLOCK_THREAD_CPUTIME_ID: 3,
  PR_SET_PDEATHSIG: 1,
  SIGTERM: 15,
} as const;

/** Numbers of system calls that glibc may have no name for; they differ. */
export const SYS = Deno.build.arch === "aarch64"
  ? { sched_setattr: 274n, sched_getattr: 275n }
  : { sched_setattr: 314n, sched_getattr: 315n };

const library = Deno.dlopen("libc.so.6", {
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  listen: { parameters: ["i32", "i32"], result: "i32" },
  accept4: { parameters: ["i32", "buffer", "buffer", "i32"], result: "i32" },
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  setns: { parameters: ["i32", "i32"], result: "i32" },
  open: { parameters: ["buffer", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  _exit: { parameters: ["i32"], result: "void" },
  fcntl: { parameters: ["i32", "i32", "i32"], result: "i32" },
  clock_gettime: { parameters: ["i32", "buffer"], result: "i32" },
  gettid: { parameters: [], result: "i32" },
  calloc: { parameters: ["usize", "usize"], result: "pointer" },
  fstat: { parameters: ["i32", "buffer"], result: "i32" },
  ioctl: { parameters: ["i32", "u64", "u64"], result: "i32" },
  send: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" },
  recvmsg: { parameters: ["i32", "buffer", "i32"], result: "isize" },
  write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  read: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  poll: { parameters: ["buffer", "u64", "i32"], result: "i32" },
  eventfd: { parameters: ["u32", "i32"], result: "i32" },
  epoll_create1: { parameters: ["i32"], result: "i32" },
  epoll_ctl: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  epoll_wait: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32", nonblocking: true },
  usleep: { parameters: ["u32"], result: "i32", nonblocking: true },
  malloc_trim: { parameters: ["usize"], result: "i32" },
  madvise: { parameters: ["buffer", "usize", "i32"], result: "i32" },
  madviseAt: { name: "madvise", parameters: ["pointer", "usize", "i32"], result: "i32" },
  getrlimit: { parameters: ["i32", "buffer"], result: "i32" },
  setrlimit: { parameters: ["i32", "buffer"], result: "i32" },
  syscall: { parameters: ["i64", "i32", "buffer", "u32", "u32"], result: "i64" },
  prctl: { parameters: ["i32", "u64", "u64", "u64", "u64"], result: "i32" },
  __errno_location: { parameters: [], result: "pointer" },
});

export const c = library.symbols;

/** Why the synchronous call directly before failed; for those that ran elsewhere, meaningless. */
export function errno(): number {
  return new Deno.UnsafePointerView(c.__errno_location()!).getInt32();
}

/**
 * Memory that nobody ever frees, for calls that may still be running when their thread's own memory is gone already.
 */
export function lastingBytes(count: number): Uint8Array<ArrayBuffer> {
  const pointer = c.calloc(1n, BigInt(count));
  if (pointer === null) throw new RangeError(`no memory for ${count} bytes`);
  return new Uint8Array(Deno.UnsafePointerView.getArrayBuffer(pointer, count));
}

/** A C string. */
export function cString(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${text}\0`);
}

/** An `int` in memory, which is the caller's for good: one that is made for each call is one more for the collector. */
export class CInt {
  readonly #value = new Int32Array(1);
  readonly bytes = new Uint8Array(this.#value.buffer);

  set(value: number): Uint8Array<ArrayBuffer> {
    this.#value[0] = value;
    return this.bytes;
  }

  get(): number {
    return this.#value[0]!;
  }
}
