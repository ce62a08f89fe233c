import { type FloodViolation, type Http2Settings, type IncomingConnect, serve } from "#http2";
import type { Clock } from "#system";
import type { Peer, Secured } from "#tls";

export interface TunnelServerOptions {
  /** behaviour.md 7.6, server column; `concurrentStreamsMax` is 200 there. */
  readonly settings: Http2Settings;
  readonly clock: Clock;
}

export interface TunnelServer {
  /** Tunnels in it. */
  readonly activeStreams: number;
  /** Of the last keepalive PING; undefined before the first. */
  readonly roundTripMs: number | undefined;
  /** GOAWAY; running tunnels go on. */
  drain(): void;
  destroy(): void;
  /** Resolves when the connection is over, with the reason if that was an error; never rejects. */
  readonly closed: Promise<Error | undefined>;
}

/**
 * Serves the tunnels of one verified connection (behaviour.md 7.8) and owns it from here on; `onTunnel` gets every
 * request, also those that are no CONNECT, and must not throw; nor must `onFlood`, which hears what the peer did too often.
 */
export function serveTunnels(
  secured: Secured,
  options: TunnelServerOptions,
  onTunnel: (request: IncomingConnect, peer: Peer) => void,
  onFlood?: (violation: FloodViolation, peer: Peer) => void,
): TunnelServer {
  return serve(
    secured.stream,
    options.settings,
    options.clock,
    (request) => onTunnel(request, secured.peer),
    (violation) => onFlood?.(violation, secured.peer),
  );
}
