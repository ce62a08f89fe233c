/**
 * The undocumented inside of a node:tls socket in Deno 2.9.6, as far as we need it: the exact presented chain; the TCP
 * handle below, which a paused TLSSocket goes on reading (runtime.md S6), and what that reads; reading and writing past the
 * queues of node:stream. `tests/unit/tls/handle_test.ts` holds the runtime to it; `missingIn` finds out at run time, and
 * then connections are read and written by their public interface, which is slower.
 * @module
 */
import type { TLSSocket } from "node:tls";

export interface TlsHandle {
  /** DER, leaf first, also on resumed sessions; no chain before the handshake or without a certificate. */
  getPeerCertificateChain?(): { readonly certificates: readonly Uint8Array[] } | null | undefined;
  /** Absent when the TLS runs over something else than TCP. */
  readonly _nativeTcpHandle?: TcpHandle | null;
  /** The function that node:net installs on every handle: counts a read, and hands it to the handle's owner. */
  readonly onread?: unknown;
  useUserBuffer?(buffer: Uint8Array): void;
  /** Ciphertext in, of which it keeps a copy; plaintext comes out before it returns. */
  receive?(ciphertext: Uint8Array): void;
  emitEof?(): void;
}

interface TcpHandle {
  readStart(): void;
  readStop(): void;
  unref?(): void;
  useUserBuffer?(buffer: Uint8Array): void;
  /** With ciphertext, or without anything at FIN and at RST alike. Looked up at `readStart`. */
  onread(this: TcpHandle, ciphertext: unknown): void;
}

interface Inside {
  readonly _handle?: TlsHandle | null;
  readonly _readableState: { readonly ended: boolean };
  /**
   * Writes past the queue of the Writable. The chunk is copied and encrypted before it returns, if it is not above
   * `WRITE_BYTES_MAX`. Of several writes only the last one's `done` is called, when all are with the kernel.
   */
  _writeGeneric?(
    isMany: false,
    chunk: Uint8Array,
    encoding: "buffer",
    done: (error?: Error | null) => void,
  ): void;
}

/** What the runtime encrypts in one go: three full TLS records. A larger chunk's rest would be lost by the next write. */
export const WRITE_BYTES_MAX = 48 * 1_024;

/** What one read takes from the kernel. */
const CIPHERTEXT_BYTES = 128 * 1_024;

/** undefined after the socket was destroyed: whoever wants to look later keeps what this returned. */
export function handleOf(socket: TLSSocket): TlsHandle | undefined {
  return inside(socket)._handle ?? undefined;
}

export function presentedChain(handle: TlsHandle | undefined): readonly Uint8Array[] {
  return handle?.getPeerCertificateChain?.()?.certificates ?? [];
}

/** What node:tls's own server does after 'secure'; without it `http2.performServerHandshake` waits for ever. */
export function markSecured(socket: TLSSocket): void {
  Object.assign(socket, { authorized: true, secureConnecting: false });
}

/**
 * Calls `onCut` when TCP ends although the peer has not said so by close_notify: a reset or a truncation, both of which
 * the runtime shows as an orderly end. To be called before reading starts.
 */
export function watchForCut(socket: TLSSocket, onCut: () => void): void {
  const tcp = handleOf(socket)?._nativeTcpHandle;
  if (!tcp) return;
  const { onread } = tcp;
  const { _readableState: state } = inside(socket);
  tcp.onread = function (ciphertext) {
    if (ciphertext === undefined && !state.ended) onCut();
    onread.call(this, ciphertext);
  };
}

/** What `socket` lacks for `readInto` and `writeNow`; undefined if it has everything. */
export function missingIn(socket: TLSSocket): string | undefined {
  const handle = handleOf(socket);
  const tcp = handle?._nativeTcpHandle;
  if (handle === undefined || !tcp) return "TCP handle";
  for (const [name, symbol] of Object.entries(symbolsOf(socket, handle))) {
    if (symbol === undefined) return name;
  }
  for (const name of ["useUserBuffer", "receive", "emitEof", "onread"] as const) {
    if (typeof handle[name] !== "function") return name;
  }
  if (typeof tcp.useUserBuffer !== "function") return "useUserBuffer of TCP";
  return typeof inside(socket)._writeGeneric === "function" ? undefined : "_writeGeneric";
}

/** Whom `readInto` fills. */
export interface Plaintext {
  /** Where the next bytes go; asked for before each `received`. */
  buffer(): Uint8Array;
  received(count: number): void;
  /** TCP has ended; the TLS connection may have ended in order before. */
  tcpEnded(): void;
}

/**
 * Ciphertext is read into one buffer of the thread's, instead of a fresh 64 KiB each, and plaintext into the buffers of
 * `into`. Reading does not start by it. Plaintext that had come before lies in the socket's own queue.
 */
export function readInto(socket: TLSSocket, into: Plaintext): void {
  const handle = handleOf(socket);
  if (handle === undefined) return;
  const names = symbolsOf(socket, handle);
  readPlaintext(socket, handle, names, into);
  readCiphertext(handle, names, () => into.tcpEnded());
}

type Symbols = ReturnType<typeof symbolsOf>;

function readPlaintext(
  socket: TLSSocket,
  handle: TlsHandle,
  names: Symbols,
  into: Plaintext,
): void {
  const slots = socket as unknown as Record<symbol, unknown>;
  let buffer = into.buffer();
  slots[names.kBuffer!] = buffer;
  slots[names.kBufferGen!] = null;
  slots[names.kBufferCb!] = (count: number): boolean => {
    into.received(count);
    const next = into.buffer();
    if (next !== buffer) {
      slots[names.kBuffer!] = buffer = next;
      handle.useUserBuffer!(buffer);
    }
    return true;
  };
  handle.useUserBuffer!(buffer);
}

/** One for the thread: what lies in it is copied before the runtime's callback returns. */
let ciphertextBuffer: Uint8Array | undefined;

/**
 * How many bytes a read brought is known only to the function that node:net installs on handles. It is called with a
 * stand-in for the handle, whose owner's private callback is ours.
 */
function readCiphertext(handle: TlsHandle, names: Symbols, onEnd: () => void): void {
  const tcp = handle._nativeTcpHandle!;
  const onStreamRead = handle.onread as TcpHandle["onread"];
  const buffer = ciphertextBuffer ??= new Uint8Array(new ArrayBuffer(CIPHERTEXT_BYTES));
  const end = (): void => {
    tcp.readStop();
    tcp.unref?.();
    onEnd();
    handle.emitEof!();
  };
  const owner = {
    destroyed: false,
    [names.kUpdateTimer!]: () => {},
    [names.kBuffer!]: buffer,
    [names.kBufferGen!]: null,
    [names.kBufferCb!]: (count: number): boolean => {
      handle.receive!(count === buffer.length ? buffer : buffer.subarray(0, count));
      return true;
    },
    _readableState: { endEmitted: false },
    on: () => {},
    read: () => {},
    // At a reset.
    destroy: end,
    // At a FIN.
    push: end,
  };
  const standIn = { [names.owner!]: owner, reading: true, readStop: () => 0 };
  tcp.useUserBuffer!(buffer);
  tcp.onread = (nothing) => onStreamRead.call(standIn as unknown as TcpHandle, nothing);
}

/** See `_writeGeneric`. Not to be mixed with the socket's own `write`. */
export function writeNow(
  socket: TLSSocket,
  chunk: Uint8Array,
  done: (error?: Error | null) => void,
): void {
  inside(socket)._writeGeneric!(false, chunk, "buffer", done);
}

function inside(socket: TLSSocket): Inside {
  return socket as unknown as Inside;
}

/** Private symbols are found by their descriptions, on the object or on what it inherits from. */
function symbolsOf(socket: TLSSocket, handle: TlsHandle) {
  return {
    kBuffer: symbolOf(socket, "kBuffer"),
    kBufferCb: symbolOf(socket, "kBufferCb"),
    kBufferGen: symbolOf(socket, "kBufferGen"),
    kUpdateTimer: symbolOf(socket, "kUpdateTimer"),
    owner: symbolOf(handle, "ownerSymbol"),
  };
}

function symbolOf(object: object, description: string): symbol | undefined {
  for (let at: object | null = object; at !== null; at = Object.getPrototypeOf(at)) {
    const found = Object.getOwnPropertySymbols(at).find((one) => one.description === description);
    if (found !== undefined) return found;
  }
  return undefined;
}
