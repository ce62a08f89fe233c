/**
 * The connecting side of a unix SOCK_SEQPACKET socket whose packets may carry open files (unix(7), cmsg(3)): how a CNI
 * agent hands network namespaces to us.
 * @module
 */
import { C, c, errno } from "./libc.ts";
import { CallError, EAGAIN, EINTR } from "./errno.ts";
import { waiterOfThread, type WriteWaiter } from "./epoll.ts";

/** sun_path of struct sockaddr_un without its final zero. */
const PATH_BYTES_MAX = 107;
/** struct msghdr, struct iovec and struct cmsghdr on 64 bits. */
const MSGHDR_BYTES = 56;
const IOVEC_BYTES = 16;
const CMSGHDR_BYTES = 16;
/** Room for this many files in one packet; the kernel itself closes those that do not fit, and says so. */
const FDS_PER_PACKET_MAX = 4;

/** What came in one `recvmsg`. */
export interface Packet {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Files that came beside it, close-on-exec; whoever receives the packet owns them. */
  readonly fds: readonly number[];
  /** The packet was longer than asked for, or carried more files than there was room for. */
  readonly truncated: boolean;
}

/** A connected socket. One reader at a time. */
export class SeqPacket implements Disposable {
  #fd: number;
  readonly #buffer: Uint8Array<ArrayBuffer>;
  readonly #control = new Uint8Array(new ArrayBuffer(CMSGHDR_BYTES + 4 * FDS_PER_PACKET_MAX));
  readonly #part = new Uint8Array(new ArrayBuffer(IOVEC_BYTES));
  readonly #header = new Uint8Array(new ArrayBuffer(MSGHDR_BYTES));
  readonly #waiter: WriteWaiter = waiterOfThread();

  private constructor(fd: number, packetBytesMax: number) {
    this.#fd = fd;
    this.#buffer = new Uint8Array(new ArrayBuffer(packetBytesMax));
  }

  /** Connects at once or throws a CallError; a unix socket never takes time, unless its owner accepts nobody (EAGAIN). */
  static connect(path: string, packetBytesMax: number): SeqPacket {
    const name = new TextEncoder().encode(path);
    if (name.length > PATH_BYTES_MAX) {
      throw new Error(`cannot connect to ${path}: its path is longer than ${PATH_BYTES_MAX} bytes`);
    }
    const sockaddr = new Uint8Array(new ArrayBuffer(2 + name.length + 1));
    new DataView(sockaddr.buffer).setUint16(0, C.AF_UNIX, true);
    sockaddr.set(name, 2);
    const fd = c.socket(C.AF_UNIX, C.SOCK_SEQPACKET | C.SOCK_CLOEXEC | C.SOCK_NONBLOCK, 0);
    if (fd < 0) throw new CallError("socket", errno());
    if (c.connect(fd, sockaddr, sockaddr.length) !== 0) {
      const failed = errno();
      c.close(fd);
      throw new CallError(`connect ${path}`, failed);
    }
    return new SeqPacket(fd, packetBytesMax);
  }

  /** Throws a CallError when the peer is gone or reads nothing. */
  send(bytes: Uint8Array<ArrayBuffer>): void {
    const flags = C.MSG_NOSIGNAL | C.MSG_DONTWAIT;
    if (c.send(this.#fd, bytes, BigInt(bytes.length), flags) < 0n) {
      throw new CallError("send", errno());
    }
  }

  /** The next packet; null when the peer has closed, or this side has. Rejects with a CallError. */
  async receive(): Promise<Packet | null> {
    for (;;) {
      if (this.#fd < 0) return null;
      const packet = this.#receiveNow();
      if (packet !== undefined) return packet;
      await this.#waiter.wait(this.#fd, C.EPOLLIN);
    }
  }

  /** Idempotent; a receive under way ends with null. */
  [Symbol.dispose](): void {
    if (this.#fd < 0) return;
    const fd = this.#fd;
    this.#fd = -1;
    this.#waiter.cancel(fd);
    c.close(fd);
  }

  /** Undefined when there is nothing to read yet. */
  #receiveNow(): Packet | null | undefined {
    const part = new DataView(this.#part.buffer);
    part.setBigUint64(0, addressOf(this.#buffer), true);
    part.setBigUint64(8, BigInt(this.#buffer.length), true);
    const header = new DataView(this.#header.buffer);
    header.setBigUint64(16, addressOf(this.#part), true);
    header.setBigUint64(24, 1n, true);
    header.setBigUint64(32, addressOf(this.#control), true);
    header.setBigUint64(40, BigInt(this.#control.length), true);
    const flags = C.MSG_DONTWAIT | C.MSG_CMSG_CLOEXEC;
    const count = Number(c.recvmsg(this.#fd, this.#header, flags));
    if (count < 0) {
      const failed = errno();
      if (failed === EAGAIN || failed === EINTR) return undefined;
      throw new CallError("recvmsg", failed);
    }
    const told = header.getInt32(48, true);
    const fds = this.#fdsIn(Number(header.getBigUint64(40, true)));
    if (count === 0 && fds.length === 0) return null;
    return {
      bytes: this.#buffer.slice(0, count),
      fds,
      truncated: (told & (C.MSG_TRUNC | C.MSG_CTRUNC)) !== 0,
    };
  }

  /** Every fd of every SCM_RIGHTS message in the control bytes. */
  #fdsIn(controlBytes: number): number[] {
    const control = new DataView(this.#control.buffer);
    const fds: number[] = [];
    for (let at = 0; at + CMSGHDR_BYTES <= controlBytes;) {
      const length = Number(control.getBigUint64(at, true));
      if (length < CMSGHDR_BYTES) break;
      const isRights = control.getInt32(at + 8, true) === C.SOL_SOCKET &&
        control.getInt32(at + 12, true) === C.SCM_RIGHTS;
      const end = Math.min(at + length, controlBytes);
      for (let each = at + CMSGHDR_BYTES; isRights && each + 4 <= end; each += 4) {
        fds.push(control.getInt32(each, true));
      }
      at += (length + 7) & ~7;
    }
    return fds;
  }
}

function addressOf(bytes: Uint8Array<ArrayBuffer>): bigint {
  return BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes)));
}
