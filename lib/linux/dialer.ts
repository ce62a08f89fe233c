import { type Dialer, type DialerOptions, DialError, type DialOptions } from "#stream";
import { Ip, SocketAddress } from "#values";
import type { Clock } from "#system";
import type { SocketWatch } from "./socket_watch.ts";
import { C, errno } from "./libc.ts";
import { CallError, describeErrno, EINPROGRESS, errnoName, ETIMEDOUT } from "./errno.ts";
import { waiterOfThread } from "./epoll.ts";
import { handOverFd } from "./fd_ledger.ts";
import { inNetns } from "./netns.ts";
import { adoptSocket } from "./runtime_handles.ts";
import {
  bindTo,
  closeFd,
  connectTo,
  getOption,
  isReady,
  localAddressOf,
  setKeepalive,
  setOption,
  tcpSocket,
  trySetFreebind,
  trySetOption,
  trySetTransparent,
} from "./socket.ts";
import { TcpStream } from "./tcp_stream.ts";

/** Connects by nonblocking sockets of our own, since node:net can neither set options first nor enter a netns. */
export class TcpDialer implements Dialer {
  constructor(
    private readonly options: DialerOptions,
    private readonly clock: Clock,
    private readonly netns: number | undefined,
    private readonly watch: SocketWatch,
  ) {}

  async dial(to: SocketAddress, options: DialOptions): Promise<TcpStream> {
    let fd = -1;
    try {
      const family = Ip.family(to.ip);
      fd = this.netns === undefined
        ? tcpSocket(family)
        : inNetns(this.netns, () => tcpSocket(family));
      this.#prepare(fd, family, to, options);
      await this.#connect(fd, to, options.timeoutMs);
      const local = localAddressOf(fd);
      const socket = adoptSocket(handOverFd(fd));
      fd = -1;
      return new TcpStream(socket, local, this.watch);
    } catch (error) {
      if (fd >= 0) closeFd(fd);
      throw dialErrorOf(error, to);
    }
  }

  #prepare(fd: number, family: 4 | 6, to: SocketAddress, { spoof, from }: DialOptions): void {
    setOption(fd, C.SOL_TCP, C.TCP_NODELAY, 1, "TCP_NODELAY");
    const { mark, keepalive } = this.options;
    if (mark !== undefined) setOption(fd, C.SOL_SOCKET, C.SO_MARK, mark, "SO_MARK");
    if (keepalive !== undefined) setKeepalive(fd, keepalive);
    if (spoof !== undefined) {
      // A pod that calls itself through a VIP would be its own spoofer (behaviour.md 2.9, 2).
      if (spoof !== to.ip) spoofSource(fd, family, spoof);
      return;
    }
    if (from === undefined) return;
    trySetOption(fd, C.SOL_IP, C.IP_BIND_ADDRESS_NO_PORT, 1);
    bindTo(fd, { ip: from, port: 0 });
  }

  async #connect(fd: number, to: SocketAddress, timeoutMs: number): Promise<void> {
    if (connectTo(fd, to) === 0) return;
    const failed = errno();
    if (failed !== EINPROGRESS) throw new CallError("connect", failed);
    // On loopback and veth the answer is mostly there already: no thread, no timer.
    if (!isReady(fd, C.POLLOUT) && !await this.#waitFor(fd, timeoutMs)) {
      throw new CallError("connect", ETIMEDOUT);
    }
    const outcome = getOption(fd, C.SOL_SOCKET, C.SO_ERROR);
    if (outcome !== 0) throw new CallError("connect", outcome);
  }

  /** False when the time ran out. */
  async #waitFor(fd: number, timeoutMs: number): Promise<boolean> {
    let inTime = true;
    const waits = waiterOfThread();
    const waiting = waits.wait(fd);
    const timer = this.clock.after(timeoutMs, () => {
      inTime = false;
      waits.cancel(fd);
    });
    await waiting;
    timer.cancel();
    return inTime;
  }
}

/** Each step may fail; then the connection leaves from our own address (behaviour.md 2.9, 3). */
function spoofSource(fd: number, family: 4 | 6, spoof: Ip): void {
  // A socket of the source's family could not reach the destination, so another family counts as a failed step.
  if (Ip.family(spoof) !== family) return;
  if (!trySetTransparent(fd, family) || !trySetFreebind(fd, family)) return;
  // Without it the kernel would pick a port at bind, and one client could use a port only once for all destinations.
  trySetOption(fd, C.SOL_IP, C.IP_BIND_ADDRESS_NO_PORT, 1);
  try {
    bindTo(fd, { ip: spoof, port: 0 });
  } catch (error) {
    if (!(error instanceof CallError)) throw error;
  }
}

function dialErrorOf(error: unknown, to: SocketAddress): DialError {
  const where = `cannot dial ${SocketAddress.format(to)}`;
  if (error instanceof CallError) {
    const what = error.call === "connect" ? describeErrno(error.errno) : error.message;
    return new DialError(errnoName(error.errno), error.errno, `${where}: ${what}`);
  }
  // The runtime refused to adopt the fd; its message is all there is.
  const what = error instanceof Error ? error.message : String(error);
  return new DialError("EIO", 5, `${where}: ${what} (EIO)`);
}
