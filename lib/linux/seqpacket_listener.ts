/**
 * The listening side of a unix SOCK_SEQPACKET socket whose messages carry open files beside them (unix(7), cmsg(3)): what
 * a CNI agent has towards its ztunnel. The product has only the other side.
 * @module
 */
import { C, c, cString, errno } from "./libc.ts";
import { CallError } from "./errno.ts";
import { waiterOfThread } from "./epoll.ts";

/** Opened at the first use: a proxy has none for it. */
let calls: ReturnType<typeof openCalls> | undefined;
const l = () => calls ??= openCalls();

function openCalls() {
  return Deno.dlopen("libc.so.6", {
    accept4: { parameters: ["i32", "buffer", "buffer", "i32"], result: "i32" },
    sendmsg: { parameters: ["i32", "buffer", "i32"], result: "isize" },
    recv: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" },
  }).symbols;
}

const N = {
  AF_UNIX: 1,
  SOCK_SEQPACKET: 5,
  SCM_RIGHTS: 1,
  MSG_TRUNC: 0x20,
  MSG_DONTWAIT: 0x40,
  MSG_NOSIGNAL: 0x4000,
  EAGAIN: 11,
  EINTR: 4,
} as const;

/** sun_path of struct sockaddr_un, its final zero left out. */
const PATH_BYTES_MAX = 107;
const BACKLOG = 16;
/** struct msghdr and struct cmsghdr on 64 bits. */
const MSGHDR_BYTES = 56;
const CMSGHDR_BYTES = 16;
/** More would be refused by the kernel (SCM_MAX_FD). */
const FDS_PER_PACKET_MAX = 253;

/** A packet that came; `truncated` when it was longer than the reader's limit. */
export interface ReceivedPacket {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly truncated: boolean;
}

/** One peer. Its waits belong to one reader at a time. */
export class SeqpacketPeer implements Disposable {
  #fd: number;
  readonly #buffer: Uint8Array<ArrayBuffer>;

  constructor(fd: number, packetBytesMax: number) {
    this.#fd = fd;
    this.#buffer = new Uint8Array(new ArrayBuffer(packetBytesMax));
  }

  /**
   * Sends one packet with these files open beside it; they are opened and closed here, the peer gets its own. Throws a
   * CallError when the peer is gone or does not read.
   */
  send(bytes: Uint8Array<ArrayBuffer>, paths: readonly string[] = []): void {
    const fds: number[] = [];
    try {
      for (const path of paths) fds.push(openFile(path));
      sendPacket(this.#fd, bytes, fds);
    } finally {
      for (const fd of fds) c.close(fd);
    }
  }

  /** The next packet; null when the peer has closed, or this side has. */
  async receive(): Promise<ReceivedPacket | null> {
    for (;;) {
      if (this.#fd < 0) return null;
      const packet = this.#receiveNow();
      if (packet !== undefined) return packet;
      await waiterOfThread().wait(this.#fd, C.EPOLLIN);
    }
  }

  [Symbol.dispose](): void {
    if (this.#fd < 0) return;
    const fd = this.#fd;
    this.#fd = -1;
    waiterOfThread().cancel(fd);
    c.close(fd);
  }

  #receiveNow(): ReceivedPacket | null | undefined {
    const { length } = this.#buffer;
    // With MSG_TRUNC the answer is the packet's true length, whatever fits.
    const flags = N.MSG_DONTWAIT | N.MSG_TRUNC;
    const count = Number(l().recv(this.#fd, this.#buffer, BigInt(length), flags));
    if (count === 0) return null;
    if (count > 0) {
      return { bytes: this.#buffer.slice(0, Math.min(count, length)), truncated: count > length };
    }
    const failed = errno();
    if (failed === N.EAGAIN || failed === N.EINTR) return undefined;
    // Whatever it was (ECONNRESET where our words were left unread), nothing more will come.
    return null;
  }
}

/** Peers by the order in which they came. */
export class SeqpacketListener implements Disposable {
  #fd: number;

  private constructor(
    fd: number,
    private readonly path: string,
    private readonly packetBytesMax: number,
  ) {
    this.#fd = fd;
  }

  /** Listens at `path`, in place of whatever socket is there; throws a CallError. */
  static listen(path: string, packetBytesMax: number): SeqpacketListener {
    const name = new TextEncoder().encode(path);
    if (name.length > PATH_BYTES_MAX) {
      throw new Error(`cannot listen at ${path}: longer than ${PATH_BYTES_MAX} bytes`);
    }
    const sockaddr = new Uint8Array(new ArrayBuffer(2 + name.length + 1));
    new DataView(sockaddr.buffer).setUint16(0, N.AF_UNIX, true);
    sockaddr.set(name, 2);
    removeSocket(path);
    const fd = c.socket(N.AF_UNIX, N.SOCK_SEQPACKET | C.SOCK_CLOEXEC | C.SOCK_NONBLOCK, 0);
    if (fd < 0) throw new CallError("socket", errno());
    for (
      const [call, result] of [
        ["bind", () => c.bind(fd, sockaddr, sockaddr.length)],
        ["listen", () => c.listen(fd, BACKLOG)],
      ] as const
    ) {
      if (result() === 0) continue;
      const failed = errno();
      c.close(fd);
      throw new CallError(`${call} ${path}`, failed);
    }
    return new SeqpacketListener(fd, path, packetBytesMax);
  }

  /** The next peer; null once this is closed. */
  async accept(): Promise<SeqpacketPeer | null> {
    for (;;) {
      if (this.#fd < 0) return null;
      const flags = C.SOCK_CLOEXEC | C.SOCK_NONBLOCK;
      const fd = l().accept4(this.#fd, null, null, flags);
      if (fd >= 0) return new SeqpacketPeer(fd, this.packetBytesMax);
      const failed = errno();
      if (failed !== N.EAGAIN && failed !== N.EINTR) throw new CallError("accept4", failed);
      await waiterOfThread().wait(this.#fd, C.EPOLLIN);
    }
  }

  /** Ends accepting and takes the socket's file away; peers live on. */
  [Symbol.dispose](): void {
    if (this.#fd < 0) return;
    const fd = this.#fd;
    this.#fd = -1;
    waiterOfThread().cancel(fd);
    c.close(fd);
    removeSocket(this.path);
  }
}

function openFile(path: string): number {
  const fd = c.open(cString(path), C.O_CLOEXEC);
  if (fd < 0) throw new CallError(`open ${path}`, errno());
  return fd;
}

function sendPacket(
  fd: number,
  bytes: Uint8Array<ArrayBuffer>,
  fds: readonly number[],
): void {
  if (fds.length > FDS_PER_PACKET_MAX) throw new Error(`at most ${FDS_PER_PACKET_MAX} files`);
  // An empty part would have no address to point to.
  const body = bytes.length > 0 ? bytes : new Uint8Array(new ArrayBuffer(1));
  const part = new BigUint64Array([addressOf(body), BigInt(bytes.length)]);
  const parts = new Uint8Array(part.buffer);
  const control = controlOf(fds);
  const header = new Uint8Array(new ArrayBuffer(MSGHDR_BYTES));
  const view = new DataView(header.buffer);
  view.setBigUint64(16, addressOf(parts), true);
  view.setBigUint64(24, 1n, true);
  if (control !== undefined) {
    view.setBigUint64(32, addressOf(control), true);
    view.setBigUint64(40, BigInt(control.length), true);
  }
  const sent = l().sendmsg(fd, header, N.MSG_NOSIGNAL | N.MSG_DONTWAIT);
  if (Number(sent) < 0) throw new CallError("sendmsg", errno());
}

/** One struct cmsghdr of SCM_RIGHTS, padded to 8 bytes. */
function controlOf(fds: readonly number[]): Uint8Array<ArrayBuffer> | undefined {
  if (fds.length === 0) return undefined;
  const length = CMSGHDR_BYTES + 4 * fds.length;
  const control = new Uint8Array(new ArrayBuffer((length + 7) & ~7));
  const view = new DataView(control.buffer);
  view.setBigUint64(0, BigInt(length), true);
  view.setInt32(8, C.SOL_SOCKET, true);
  view.setInt32(12, N.SCM_RIGHTS, true);
  for (const [index, fd] of fds.entries()) view.setInt32(CMSGHDR_BYTES + 4 * index, fd, true);
  return control;
}

function addressOf(bytes: Uint8Array<ArrayBuffer>): bigint {
  return BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes)));
}

function removeSocket(path: string): void {
  try {
    if (Deno.lstatSync(path).isSocket) Deno.removeSync(path);
  } catch {
    // None is there, or bind will say what is.
  }
}
