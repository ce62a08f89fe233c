import type { OnFlood } from "./flood.ts";
import type { HeaderBlock } from "./header_blocks.ts";
import type { Tunnel } from "./tunnel.ts";

/** What differs between a client and a server. */
export interface Role {
  readonly isServer: boolean;
  /** How long the peer's SETTINGS may take. */
  readonly settingsTimeoutMs: number;
  readonly onFlood: OnFlood | undefined;
  /** The peer's SETTINGS are in, for the first time or again. */
  settingsCame(): void;
  /** A whole header block. Throws a Fault. */
  headersCame(block: HeaderBlock): void;
  /** GOAWAY: the peer looks at nothing above `lastId`. */
  goawayCame(lastId: number, code: number): void;
  /** A stream that the peer may have opened, or that we have: whether it has ever been. */
  hasBeen(id: number): boolean;
  /** A stream is over. */
  tunnelEnded(tunnel: Tunnel): void;
}
