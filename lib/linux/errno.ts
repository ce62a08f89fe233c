/** Names and words of the errors that sockets meet; glibc's own list is longer than anyone needs. */
const ERRNOS: Readonly<Record<number, readonly [name: string, text: string]>> = {
  1: ["EPERM", "operation not permitted"],
  2: ["ENOENT", "no such file or entry"],
  4: ["EINTR", "interrupted"],
  5: ["EIO", "input/output error"],
  9: ["EBADF", "bad file descriptor"],
  11: ["EAGAIN", "no free local port, or try again"],
  12: ["ENOMEM", "out of memory"],
  13: ["EACCES", "permission denied"],
  17: ["EEXIST", "exists already"],
  19: ["ENODEV", "no such device"],
  22: ["EINVAL", "invalid argument"],
  23: ["ENFILE", "too many open files in the system"],
  24: ["EMFILE", "too many open files"],
  32: ["EPIPE", "broken pipe"],
  71: ["EPROTO", "protocol error"],
  88: ["ENOTSOCK", "not a socket"],
  92: ["ENOPROTOOPT", "option not available"],
  95: ["EOPNOTSUPP", "operation not supported"],
  97: ["EAFNOSUPPORT", "address family not supported"],
  98: ["EADDRINUSE", "address already in use"],
  99: ["EADDRNOTAVAIL", "address not available"],
  100: ["ENETDOWN", "network is down"],
  101: ["ENETUNREACH", "network is unreachable"],
  103: ["ECONNABORTED", "connection aborted"],
  104: ["ECONNRESET", "connection reset"],
  105: ["ENOBUFS", "no buffer space"],
  107: ["ENOTCONN", "not connected"],
  110: ["ETIMEDOUT", "connection timed out"],
  111: ["ECONNREFUSED", "connection refused"],
  112: ["EHOSTDOWN", "host is down"],
  113: ["EHOSTUNREACH", "no route to host"],
  115: ["EINPROGRESS", "in progress"],
};

export const EINTR = 4;
export const EAGAIN = 11;
export const EINPROGRESS = 115;
export const ETIMEDOUT = 110;

/** `ECONNREFUSED`; `E<number>` for one that is not in the list. */
export function errnoName(errno: number): string {
  return ERRNOS[errno]?.[0] ?? `E${errno}`;
}

/** `connection refused (ECONNREFUSED)`. */
export function describeErrno(errno: number): string {
  return `${ERRNOS[errno]?.[1] ?? "unknown error"} (${errnoName(errno)})`;
}

/** A libc call that failed, before it is told as a DialError or ListenError. */
export class CallError extends Error {
  override readonly name = "CallError";
  constructor(readonly call: string, readonly errno: number) {
    super(`${call}: ${describeErrno(errno)}`);
  }
}
