/**
 * What we need of node:net beyond its documentation. Each assumption has a test in
 * `tests/unit/linux/runtime_handles_test.ts` that fails on a runtime that keeps it no longer; `missingIn` finds out at
 * run time, and then sockets are read and written by their public interface, which is slower.
 * @module
 */
import net from "node:net";

interface Handle {
  /** Whether the runtime believes that it is reading. */
  reading: boolean;
  fdForIpc(): number;
  useUserBuffer?(buffer: Uint8Array): void;
  readStart?(): number;
  readStop?(): number;
}

interface Inside {
  readonly _handle: Handle | null;
}

/** Makes a stream of a connected socket; it owns the fd from here on. Nothing is read until somebody asks. */
export function adoptSocket(fd: number): net.Socket {
  const options = { fd, readable: true, writable: true, allowHalfOpen: true, pauseOnCreate: true };
  return new net.Socket(options as net.SocketConstructorOpts);
}

/** A duplicate of the fd underneath, which the caller owns; -1 when it is gone, or when there are no fds left. */
export function duplicateFdOf(owner: net.Socket | net.Server): number {
  return inside(owner)._handle?.fdForIpc() ?? -1;
}

/** What `socket` lacks for `readInto` and the rest; undefined if it has everything. */
export function missingIn(socket: net.Socket): string | undefined {
  const handle = inside(socket)._handle;
  if (handle === null) return undefined;
  symbols ??= findSymbols(socket);
  for (const [name, symbol] of Object.entries(symbols)) if (symbol === undefined) return name;
  for (const name of ["useUserBuffer", "readStart", "readStop"] as const) {
    if (typeof handle[name] !== "function") return name;
  }
  return undefined;
}

/**
 * Reads of `socket` go into `buffer` from now on, instead of a fresh 64 KiB each, and `onBytes` gets their count; its
 * `false` stops reading until `readOn`. Node has this as the option `onread`, but not for accepted sockets. To be called
 * while the socket is not reading, or from `onBytes`.
 */
export function readInto(
  socket: net.Socket,
  buffer: Uint8Array,
  onBytes: (count: number) => boolean,
): void {
  const handle = inside(socket)._handle;
  if (handle === null) return;
  symbols ??= findSymbols(socket);
  const slots = socket as unknown as Record<symbol, unknown>;
  slots[symbols.kBuffer!] = buffer;
  slots[symbols.kBufferCb!] = onBytes;
  handle.useUserBuffer!(buffer);
}

/** Reads again, or for the first time. */
export function readOn(socket: net.Socket): void {
  const handle = inside(socket)._handle;
  if (handle === null || handle.reading) return;
  handle.reading = true;
  handle.readStart!();
}

/** Stops reading, outside of `onBytes`. */
export function readNoMore(socket: net.Socket): void {
  const handle = inside(socket)._handle;
  if (handle === null || !handle.reading) return;
  handle.reading = false;
  handle.readStop!();
}

function inside(owner: net.Socket | net.Server): Inside {
  return owner as unknown as Inside;
}

let symbols: ReturnType<typeof findSymbols> | undefined;

/** Private symbols are found by their descriptions; every socket has the slots from its making. */
function findSymbols(socket: net.Socket) {
  const all = Object.getOwnPropertySymbols(socket);
  const named = (description: string) => all.find((symbol) => symbol.description === description);
  return { kBuffer: named("kBuffer"), kBufferCb: named("kBufferCb") };
}
