/**
 * Raw sockets and their options, by fd number. Whoever gets a number from here owns it.
 * @module
 */
import type { KeepaliveOptions } from "#stream";
import { Ip, type SocketAddress } from "#values";
import { C, c, CInt, errno } from "./libc.ts";
import { CallError } from "./errno.ts";
import { recordFd } from "./fd_ledger.ts";

export { closeFd, duplicateFd } from "./fd_ledger.ts";

const SOCKADDR_IN_BYTES = 16;
const SOCKADDR_IN6_BYTES = 28;

/**
 * What synchronous calls read and write, made once: several of them are made for each connection, and memory that the
 * kernel is shown lies outside of V8's heap, where it is dear to make and to free.
 */
const value = new CInt();
const length = new CInt();
const sockaddr = new Uint8Array(new ArrayBuffer(SOCKADDR_IN6_BYTES));

/** A nonblocking TCP socket that no child process inherits. */
export function tcpSocket(family: 4 | 6): number {
  const domain = family === 4 ? C.AF_INET : C.AF_INET6;
  const fd = c.socket(domain, C.SOCK_STREAM | C.SOCK_NONBLOCK | C.SOCK_CLOEXEC, 0);
  if (fd < 0) throw new CallError("socket", errno());
  return recordFd(fd);
}

/** struct sockaddr_in or sockaddr_in6. */
export function encodeSockaddr(address: SocketAddress): Uint8Array<ArrayBuffer> {
  const four = Ip.family(address.ip) === 4;
  const bytes = new Uint8Array(four ? SOCKADDR_IN_BYTES : SOCKADDR_IN6_BYTES);
  putSockaddr(bytes, address);
  return bytes;
}

/** Returns how many bytes it takes. */
function putSockaddr(bytes: Uint8Array, { ip, port }: SocketAddress): number {
  const four = Ip.family(ip) === 4;
  bytes.fill(0);
  const family = four ? C.AF_INET : C.AF_INET6;
  bytes[0] = family & 0xff;
  bytes[1] = family >> 8;
  bytes[2] = port >> 8;
  bytes[3] = port & 0xff;
  bytes.set(Ip.toBytes(ip), four ? 4 : 8);
  return four ? SOCKADDR_IN_BYTES : SOCKADDR_IN6_BYTES;
}

/** Connects as connect(2) does; its result, and `errno` says why it is not 0. */
export function connectTo(fd: number, to: SocketAddress): number {
  return c.connect(fd, sockaddr, putSockaddr(sockaddr, to));
}

/** Undefined where the kernel's answer is of neither family. */
export function decodeSockaddr(bytes: Uint8Array<ArrayBuffer>): SocketAddress | undefined {
  const family = bytes[0]! | bytes[1]! << 8;
  const raw = family === C.AF_INET
    ? bytes.subarray(4, 8)
    : family === C.AF_INET6
    ? bytes.subarray(8, 24)
    : undefined;
  const ip = raw && Ip.fromBytes(raw);
  return ip && { ip, port: bytes[2]! << 8 | bytes[3]! };
}

/** `name` is for whoever reads the error. */
export function setOption(
  fd: number,
  level: number,
  option: number,
  to: number,
  name: string,
): void {
  if (!trySetOption(fd, level, option, to)) throw new CallError(`set ${name}`, errno());
}

/** Whether the kernel agreed. */
export function trySetOption(fd: number, level: number, option: number, to: number): boolean {
  return c.setsockopt(fd, level, option, value.set(to), 4) === 0;
}

export function getOption(fd: number, level: number, option: number): number {
  if (c.getsockopt(fd, level, option, value.bytes, length.set(4)) !== 0) {
    throw new CallError(`getsockopt(${level}, ${option})`, errno());
  }
  return value.get();
}

export function bindTo(fd: number, address: SocketAddress): void {
  if (c.bind(fd, sockaddr, putSockaddr(sockaddr, address)) !== 0) {
    throw new CallError("bind", errno());
  }
}

export function localAddressOf(fd: number): SocketAddress {
  if (c.getsockname(fd, sockaddr, length.set(sockaddr.length)) !== 0) {
    throw new CallError("getsockname", errno());
  }
  const address = decodeSockaddr(sockaddr);
  if (address === undefined) throw new Error("cannot read a socket's own address: unknown family");
  return address;
}

/** Where the connection went before a REDIRECT rule turned it to us (behaviour.md 2.8). */
export function originalDestinationOf(fd: number): SocketAddress | undefined {
  // The IPv4 question is right for v4-mapped sockets too, so it comes first.
  if (
    c.getsockopt(fd, C.SOL_IP, C.SO_ORIGINAL_DST, sockaddr, length.set(SOCKADDR_IN_BYTES)) === 0
  ) {
    return decodeSockaddr(sockaddr);
  }
  if (
    c.getsockopt(fd, C.SOL_IPV6, C.SO_ORIGINAL_DST, sockaddr, length.set(SOCKADDR_IN6_BYTES)) === 0
  ) {
    return decodeSockaddr(sockaddr);
  }
  return undefined;
}

/** Best effort, as behaviour.md 2.4 wants: a connection without keepalive is better than none. */
export function setKeepalive(fd: number, keepalive: KeepaliveOptions): void {
  const seconds = (ms: number) => Math.max(1, Math.round(ms / 1000));
  if (keepalive.probes !== false) {
    trySetOption(fd, C.SOL_SOCKET, C.SO_KEEPALIVE, 1);
    trySetOption(fd, C.SOL_TCP, C.TCP_KEEPIDLE, seconds(keepalive.idleMs));
    trySetOption(fd, C.SOL_TCP, C.TCP_KEEPINTVL, seconds(keepalive.intervalMs));
    trySetOption(fd, C.SOL_TCP, C.TCP_KEEPCNT, keepalive.retries);
  }
  if (keepalive.userTimeoutMs !== undefined) {
    trySetOption(fd, C.SOL_TCP, C.TCP_USER_TIMEOUT, keepalive.userTimeoutMs);
  }
}

/** IP_TRANSPARENT of the socket's family. On a `::` socket the IPv6 option covers IPv4 peers too. */
export function trySetTransparent(fd: number, family: 4 | 6): boolean {
  return family === 4
    ? trySetOption(fd, C.SOL_IP, C.IP_TRANSPARENT, 1)
    : trySetOption(fd, C.SOL_IPV6, C.IPV6_TRANSPARENT, 1);
}

export function isTransparent(fd: number, family: 4 | 6): boolean {
  return family === 4
    ? getOption(fd, C.SOL_IP, C.IP_TRANSPARENT) !== 0
    : getOption(fd, C.SOL_IPV6, C.IPV6_TRANSPARENT) !== 0;
}

export function trySetFreebind(fd: number, family: 4 | 6): boolean {
  return family === 4
    ? trySetOption(fd, C.SOL_IP, C.IP_FREEBIND, 1)
    : trySetOption(fd, C.SOL_IPV6, C.IPV6_FREEBIND, 1);
}

/** struct pollfd. */
const pollFd = new Int32Array(2);
const pollBytes = new Uint8Array(pollFd.buffer);

/** Whether one of `events` (POLLIN, POLLOUT), an error or a hang-up is there right now. */
export function isReady(fd: number, events: number): boolean {
  pollFd[0] = fd;
  pollFd[1] = events;
  return c.poll(pollBytes, 1n, 0) === 1;
}
