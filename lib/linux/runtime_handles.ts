/**
 * What we need of node:net beyond its documentation. Each assumption has a test in
 * `tests/unit/linux/runtime_handles_test.ts` that fails on a runtime that keeps it no longer.
 * @module
 */
import net from "node:net";

interface HandleOwner {
  readonly _handle: { fdForIpc(): number; useUserBuffer?(buffer: Uint8Array): void } | null;
}

/** Makes a stream of a connected socket; it owns the fd from here on. Nothing is read until somebody asks. */
export function adoptSocket(fd: number): net.Socket {
  const options = { fd, readable: true, writable: true, allowHalfOpen: true, pauseOnCreate: true };
  return new net.Socket(options as net.SocketConstructorOpts);
}

/** A duplicate of the fd underneath, which the caller owns; -1 when it is gone, or when there are no fds left. */
export function duplicateFdOf(owner: net.Socket | net.Server): number {
  return (owner as unknown as HandleOwner)._handle?.fdForIpc() ?? -1;
}

/**
 * Reads of `socket` go into `buffer` from now on, instead of a fresh 64 KiB each, and `onBytes` gets their count; its
 * `false` stops reading until the socket's next `read(0)`. Node has this as the option `onread`, but not for accepted
 * sockets. To be called while the socket is not reading: before the first read, or after a `false`.
 */
export function readInto(
  socket: net.Socket,
  buffer: Uint8Array,
  onBytes: (count: number) => boolean,
): void {
  const handle = (socket as unknown as HandleOwner)._handle;
  if (handle === null) return;
  symbols ??= findSymbols(socket);
  if (handle.useUserBuffer === undefined) throw unknownRuntime("useUserBuffer");
  const slots = socket as unknown as Record<symbol, unknown>;
  slots[symbols.buffer] = buffer;
  slots[symbols.callback] = onBytes;
  handle.useUserBuffer(buffer);
}

let symbols: { readonly buffer: symbol; readonly callback: symbol } | undefined;

/** Private symbols are found by their descriptions; every socket has the slots from its making. */
function findSymbols(socket: net.Socket) {
  const all = Object.getOwnPropertySymbols(socket);
  const named = (description: string): symbol => {
    const found = all.find((symbol) => symbol.description === description);
    if (found === undefined) throw unknownRuntime(description);
    return found;
  };
  return { buffer: named("kBuffer"), callback: named("kBufferCb") };
}

function unknownRuntime(missing: string): Error {
  return new Error(`cannot read into our own buffer: sockets of this runtime have no ${missing}`);
}
