import net from "node:net";
import { type Acceptor, type Arrival, ListenError, type ListenOptions } from "#stream";
import { Ip, SocketAddress } from "#values";
import type { SocketWatch } from "./socket_watch.ts";
import { C, c, errno } from "./libc.ts";
import { CallError, describeErrno, errnoName } from "./errno.ts";
import { adoptFd, handOverFd } from "./fd_ledger.ts";
import { inNetns } from "./netns.ts";
import { duplicateFdOf } from "./runtime_handles.ts";
import {
  bindTo,
  closeFd,
  duplicateFd,
  isReady,
  isTransparent,
  localAddressOf,
  originalDestinationOf,
  setKeepalive,
  setOption,
  tcpSocket,
  trySetOption,
  trySetTransparent,
} from "./socket.ts";
import { TcpStream } from "./tcp_stream.ts";

/**
 * Connections that the kernel queues before we accept them. ztunnel has 128 (behaviour.md 2.7); one thread of
 * JavaScript may be busy for longer, and a SYN that finds no room costs its client a second.
 */
const BACKLOG = 1024;

/** An acceptor whose socket several threads can share. */
export interface SharedAcceptor extends Acceptor {
  /**
   * A second descriptor of the listening socket, for another thread's `ListenOptions.fd`; the caller owns it. Throws a
   * ListenError.
   */
  duplicate(): number;
}

/** Binds and listens, in `netns` where given (behaviour.md 2.6, 2.7); throws a ListenError. */
export function listen(
  options: ListenOptions,
  netns: number | undefined,
  watch: SocketWatch,
): SharedAcceptor {
  let fd = options.fd ?? -1;
  try {
    const family = Ip.family(options.at.ip);
    if (fd >= 0) {
      adoptFd(fd);
      return new TcpAcceptor(fd, localAddressOf(fd), isTransparent(fd, family), options, watch);
    }
    fd = netns === undefined ? tcpSocket(family) : inNetns(netns, () => tcpSocket(family));
    const transparent = prepare(fd, family, options);
    bindTo(fd, options.at);
    if (c.listen(fd, BACKLOG) !== 0) throw new CallError("listen", errno());
    return new TcpAcceptor(fd, localAddressOf(fd), transparent, options, watch);
  } catch (error) {
    if (fd >= 0) closeFd(fd);
    throw listenErrorOf(error, options.at);
  }
}

function listenErrorOf(error: unknown, address: SocketAddress): unknown {
  if (!(error instanceof CallError)) return error;
  const at = SocketAddress.format(address);
  const what = error.call === "bind" ? describeErrno(error.errno) : error.message;
  return new ListenError(errnoName(error.errno), error.errno, `cannot listen on ${at}: ${what}`);
}

/** Everything that has to be said before bind. Returns whether the socket is transparent. */
function prepare(fd: number, family: 4 | 6, options: ListenOptions): boolean {
  setOption(fd, C.SOL_SOCKET, C.SO_REUSEADDR, 1, "SO_REUSEADDR");
  if (options.at.ip === "::") setOption(fd, C.SOL_IPV6, C.IPV6_V6ONLY, 0, "IPV6_V6ONLY");
  // Without it only the successor suffers, and it will say so (behaviour.md 2.7).
  if (options.reusePort) trySetOption(fd, C.SOL_SOCKET, C.SO_REUSEPORT, 1);
  if (options.mark !== undefined) setOption(fd, C.SOL_SOCKET, C.SO_MARK, options.mark, "SO_MARK");
  if (options.transparent === "off") return false;
  const transparent = trySetTransparent(fd, family);
  if (!transparent && options.transparent === "required") {
    throw new CallError("set IP_TRANSPARENT", errno());
  }
  return transparent;
}

class TcpAcceptor implements SharedAcceptor {
  #fd: number;
  #server: net.Server | undefined;
  #closed = false;
  #accepted = 0;
  #acceptedAtLastCheck = -1;

  constructor(
    fd: number,
    readonly address: SocketAddress,
    readonly transparent: boolean,
    private readonly options: ListenOptions,
    private readonly watch: SocketWatch,
  ) {
    this.#fd = fd;
  }

  serve(onArrival: (arrival: Arrival) => void): void {
    if (this.#server !== undefined) throw new Error("cannot serve an acceptor twice");
    if (this.#closed) return;
    this.#server = this.#serverOn(this.#fd, onArrival);
    this.watch.add(this, () => this.#reviveIfStalled(onArrival));
  }

  duplicate(): number {
    try {
      return duplicateFd(this.#fd);
    } catch (error) {
      throw listenErrorOf(error, this.address);
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.watch.remove(this);
    if (this.#server === undefined) closeFd(this.#fd);
    else this.#server.close();
  }

  #serverOn(fd: number, onArrival: (arrival: Arrival) => void): net.Server {
    const server = net.createServer({ pauseOnConnect: true, allowHalfOpen: true, noDelay: true });
    server.on("connection", (socket) => {
      this.#accepted++;
      const arrival = this.#arrivalOf(socket);
      if (arrival !== undefined) onArrival(arrival);
    });
    // An accept that failed concerns one connection; should the listener stop over it, the watch revives it.
    server.on("error", () => {});
    return server.listen({ fd: handOverFd(fd) }, BACKLOG);
  }

  /**
   * The runtime never accepts again on a listener where accept has failed once, and says nothing (measured with
   * EMFILE). Connections that wait while none was accepted between two checks show it; a new server on the same
   * socket takes them.
   */
  #reviveIfStalled(onArrival: (arrival: Arrival) => void): void {
    const idle = this.#acceptedAtLastCheck === this.#accepted;
    const waiting = isReady(this.#fd, C.POLLIN);
    this.#acceptedAtLastCheck = waiting ? this.#accepted : -1;
    if (!idle || !waiting || this.#server === undefined) return;
    const fd = duplicateFdOf(this.#server);
    // Still no fd to spare: the next check tries again.
    if (fd < 0) return;
    this.#server.close();
    this.#fd = fd;
    this.#server = this.#serverOn(fd, onArrival);
  }

  /** Undefined, with the connection gone, when it was reset before we could ask who it is. */
  #arrivalOf(socket: net.Socket): Arrival | undefined {
    const source = addressOf(socket.remoteAddress, socket.remotePort);
    const local = addressOf(socket.localAddress, socket.localPort);
    if (source === undefined || local === undefined || this.#closed) {
      socket.on("error", () => {});
      socket.resetAndDestroy();
      return undefined;
    }
    const { keepalive, redirected } = this.options;
    let original: SocketAddress | undefined;
    const fd = keepalive !== undefined || redirected ? duplicateFdOf(socket) : -1;
    if (fd >= 0) {
      if (keepalive !== undefined) setKeepalive(fd, keepalive);
      if (redirected) original = originalDestinationOf(fd);
      closeFd(fd);
    }
    return {
      stream: new TcpStream(socket, local, this.watch),
      source,
      local,
      destination: original ?? local,
    };
  }
}

function addressOf(text: string | undefined, port: number | undefined): SocketAddress | undefined {
  // A link-local peer carries its interface: `fe80::1%eth0`.
  const ip = text === undefined ? undefined : Ip.parse(text.split("%", 1)[0]!);
  return ip === undefined || port === undefined ? undefined : { ip, port };
}
