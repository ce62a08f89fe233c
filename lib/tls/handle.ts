/**
 * The undocumented inside of a node:tls socket in Deno 2.9.6, as far as we need it: the exact presented chain, and
 * the TCP handle below, which a paused TLSSocket goes on reading (runtime.md S6). `tests/unit/tls/handle_test.ts`
 * holds the runtime to it.
 * @module
 */
import type { TLSSocket } from "node:tls";

export interface TlsHandle {
  /** DER, leaf first, also on resumed sessions; no chain before the handshake or without a certificate. */
  getPeerCertificateChain?(): { readonly certificates: readonly Uint8Array[] } | null | undefined;
  /** Absent when the TLS runs over something else than TCP. */
  readonly _nativeTcpHandle?: TcpHandle | null;
}

interface TcpHandle {
  readStart(): void;
  readStop(): void;
  /** With ciphertext, or without anything at FIN and at RST alike. Looked up at `readStart`. */
  onread(this: TcpHandle, ciphertext: unknown): void;
}

/** undefined after the socket was destroyed: whoever wants to look later keeps what this returned. */
export function handleOf(socket: TLSSocket): TlsHandle | undefined {
  return (socket as unknown as { readonly _handle?: TlsHandle | null })._handle ?? undefined;
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
  const { _readableState: state } = socket as unknown as { _readableState: { ended: boolean } };
  tcp.onread = function (ciphertext) {
    if (ciphertext === undefined && !state.ended) onCut();
    onread.call(this, ciphertext);
  };
}
