import net from "node:net";
import { type Acceptor, type Arrival, ListenError, type ListenOptions } from "#stream";
import { Ip, SocketAddress } from "#values";
import type { SocketWatch } from "./socket_watch.ts";
import { C, c, errno } from "./libc.ts";
import { CallError, describeErrno, errnoName } from "./errno.ts";
import { adoptFd, handOverFd } from "./fd_ledger.ts";
import { inNetns } from "./netns.ts";
import { adoptSocket, duplicateFdOf } from "./runtime_handles.ts";
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
const ANY6 = Ip.unspecified(6);
/** What socket and bind say of `::` where there is no IPv6. */
const WITHOUT_IPV6: ReadonlySet<string> = new Set(["EAFNOSUPPORT", "EADDRNOTAVAIL"]);

/** An acceptor whose socket several threads can share. */
export interface SharedAcceptor extends Acceptor {
  /**
   * A second descriptor of the listening socket, for another thread's `ListenOptions.fd`; the caller owns it. Throws a
   * ListenError.
   */
  duplicate(): number;
}

/**
 * Binds and listens, in `netns` where given (behaviour.md 2.6, 2.7); throws a ListenError. A wildcard `::` becomes
 * 0.0.0.0 where the kernel has no IPv6 (started with `ipv6.disable=1`).
 */
export function listen(
  options: ListenOptions,
  netns: number | undefined,
  watch: SocketWatch,
): SharedAcceptor {
  if (options.at.ip !== ANY6) return listenAt(options, netns, watch);
  try {
    return listenAt(options, netns, watch);
  } catch (error) {
    if (!(error instanceof ListenError) || !WITHOUT_IPV6.has(error.code)) throw error;
    const at = { ip: Ip.unspecified(4), port: options.at.port };
    return listenAt({ ...options, at }, netns, watch);
  }
}

function listenAt(
  options: ListenOptions,
  netns: number | undefined,
  watch: SocketWatch,
): SharedAcceptor {
  let fd = options.fd ?? -1;
  try {
    if (fd >= 0) {
      adoptFd(fd);
      prepareAccepted(fd, options);
      const address = localAddressOf(fd);
      const transparent = isTransparent(fd, Ip.family(address.ip));
      return new TcpAcceptor(fd, address, transparent, options, watch);
    }
    const family = Ip.family(options.at.ip);
    fd = netns === undefined ? tcpSocket(family) : inNetns(netns, () => tcpSocket(family));
    const transparent = prepare(fd, family, options);
    prepareAccepted(fd, options);
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
  if (options.at.ip === ANY6) setOption(fd, C.SOL_IPV6, C.IPV6_V6ONLY, 0, "IPV6_V6ONLY");
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

/** What accepted sockets inherit from the listening one: said once, and not for each connection. */
function prepareAccepted(fd: number, { keepalive }: ListenOptions): void {
  trySetOption(fd, C.SOL_TCP, C.TCP_NODELAY, 1);
  if (keepalive !== undefined) setKeepalive(fd, keepalive);
}

class TcpAcceptor implements SharedAcceptor {
  #fd: number;
  #server: net.Server | undefined;
  #onArrival: (arrival: Arrival) => void = () => {};
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
    this.#onArrival = onArrival;
    this.#server = this.#serverOn(this.#fd);
    this.watch.add(this, () => this.#reviveIfStalled());
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
    if (this.#server === undefined) return closeFd(this.#fd);
    const fd = duplicateFdOf(this.#server);
    this.#server.close();
    if (fd < 0) return;
    this.#acceptQueued(fd);
    closeFd(fd);
  }

  /**
   * Takes what the kernel has queued: those clients think that they are connected, and closing the listener would reset
   * them. What still is in its handshake when the listener closes moves to a successor's listener where
   * net.ipv4.tcp_migrate_req is set, and is reset otherwise.
   */
  #acceptQueued(listener: number): void {
    for (let count = 0; count < BACKLOG; count++) {
      const fd = c.accept4(listener, null, null, C.SOCK_NONBLOCK | C.SOCK_CLOEXEC);
      // Nothing is left, or nothing can be taken.
      if (fd < 0) return;
      this.#onSocket(adoptSocket(fd));
    }
  }

  #onSocket(socket: net.Socket): void {
    this.#accepted++;
    const arrival = this.#arrivalOf(socket);
    if (arrival !== undefined) this.#onArrival(arrival);
  }

  #serverOn(fd: number): net.Server {
    const server = net.createServer({ pauseOnConnect: true, allowHalfOpen: true });
    server.on("connection", (socket) => this.#onSocket(socket));
    // An accept that failed concerns one connection; should the listener stop over it, the watch revives it.
    server.on("error", () => {});
    return server.listen({ fd: handOverFd(fd) }, BACKLOG);
  }

  /**
   * The runtime never accepts again on a listener where accept has failed once, and says nothing (measured with
   * EMFILE). Connections that wait while none was accepted between two checks show it; a new server on the same
   * socket takes them.
   */
  #reviveIfStalled(): void {
    const idle = this.#acceptedAtLastCheck === this.#accepted;
    const waiting = isReady(this.#fd, C.POLLIN);
    this.#acceptedAtLastCheck = waiting ? this.#accepted : -1;
    if (!idle || !waiting || this.#server === undefined) return;
    const fd = duplicateFdOf(this.#server);
    // Still no fd to spare: the next check tries again.
    if (fd < 0) return;
    this.#server.close();
    this.#fd = fd;
    this.#server = this.#serverOn(fd);
  }

  /** Undefined, with the connection gone, when it was reset before we could ask who it is. */
  #arrivalOf(socket: net.Socket): Arrival | undefined {
    const source = addressOf(socket.remoteAddress, socket.remotePort);
    const local = addressOf(socket.localAddress, socket.localPort);
    if (source === undefined || local === undefined) {
      socket.on("error", () => {});
      socket.resetAndDestroy();
      return undefined;
    }
    let original: SocketAddress | undefined;
    const fd = this.options.redirected ? duplicateFdOf(socket) : -1;
    if (fd >= 0) {
      original = originalDestinationOf(fd);
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
