import type { Http2Settings, IncomingConnect } from "#http2";
import type { Clock } from "#system";
import type { Peer, Secured } from "#tls";

export interface TunnelServerOptions {
  readonly settings: Http2Settings;
  readonly clock: Clock;
}
export interface TunnelServer {
  /** GOAWAY; running tunnels go on. */
  drain(): void;
  destroy(): void;
  readonly closed: Promise<Error | undefined>;
}
/** Serves the tunnels of one verified connection; `onTunnel` gets every request, also those that are no CONNECT. */
export function serveTunnels(
  _secured: Secured,
  _options: TunnelServerOptions,
  _onTunnel: (request: IncomingConnect, peer: Peer) => void,
): TunnelServer {
  throw new Error("not written");
}
