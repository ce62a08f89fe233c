import type { ReceiveBuffer } from "./buffers.ts";
import type { Batch } from "./outbox.ts";
import type { Tunnel } from "./tunnel.ts";

/** What of a connection sends a tunnel's DATA. */
export interface TunnelSender {
  /** Sends what the windows and the queue allow now; returns how far it got. The rest follows by `sent`. */
  send(tunnel: Tunnel, chunk: Uint8Array): number;
  /** Sends what was read while `maySend` was true; returns how far the windows let it get. */
  sendRead(tunnel: Tunnel, bytes: Uint8Array, count: number): number;
  /** Another batch of this stream may be read. */
  maySend(tunnel: Tunnel): boolean;
  /** What both windows let through. */
  windowOf(tunnel: Tunnel): number;
  /** Calls `goOn` when `maySend` may have changed. */
  awaitRoom(tunnel: Tunnel): void;
  sendEnd(tunnel: Tunnel): void;
  /** Memory for a whole frame to be read into, if the windows and the peer take one; for `sendWhole` or `giveBack`. */
  lendWhole(tunnel: Tunnel): Batch | undefined;
  giveBack(batch: Batch): void;
  /** Sends what was read into `batch`; false, and nothing done, if windows have shrunk meanwhile. */
  sendWhole(tunnel: Tunnel, batch: Batch, count: number): boolean;
}

/** What a tunnel needs of its connection. */
export interface Carrier {
  readonly sender: TunnelSender;
  sendReset(tunnel: Tunnel, code: number): void;
  /** The application took so many bytes. */
  taken(tunnel: Tunnel, bytes: number): void;
  /** So many bytes will never be taken. */
  dropped(bytes: number): void;
  /** Both directions are over. */
  forget(tunnel: Tunnel): void;
  hold(): ReceiveBuffer | undefined;
  lend(): ReceiveBuffer;
  release(buffer: ReceiveBuffer): void;
  abandon(buffer: ReceiveBuffer): void;
}
