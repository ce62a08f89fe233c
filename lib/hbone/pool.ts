import type { Headers, Http2Settings } from "#http2";
import type { ByteStream, Dialer } from "#stream";
import type { Clock } from "#system";
import type { CertBundle, Tls } from "#tls";
import type { Ip, SocketAddress, SpiffeId } from "#values";

/** What may share a connection (behaviour.md 7.7). */
export interface TunnelKey {
  readonly source: SpiffeId;
  readonly expected: readonly SpiffeId[];
  readonly hop: SocketAddress;
  readonly client: Ip;
}

export interface TunnelRequest {
  readonly authority: string;
  readonly headers: Headers;
}

export interface TunnelStream {
  readonly stream: ByteStream;
  /** Of the 200 response. */
  readonly headers: Headers;
  /** Which of the peer's names we accepted. */
  readonly peerIdentity: SpiffeId | undefined;
}

export interface PoolOptions {
  readonly dialer: Dialer;
  /** Our own address to leave from, if one is prescribed. */
  readonly from?: Ip;
  readonly tls: Tls;
  readonly clock: Clock;
  /** Our certificate, fetched for each new connection (behaviour.md 7.2); rejects with a Refusal(identity). */
  readonly bundleOf: (identity: SpiffeId) => Promise<CertBundle>;
  readonly settings: Http2Settings;
  readonly streamsPerConnectionMax: number;
  readonly idleReleaseMs: number;
}

/** Pooled HBONE connections of one proxy (behaviour.md 7.7). */
export class TunnelPool {
  constructor(_options: PoolOptions) {}
  /** Opens a tunnel: resolves only after a 200. Rejects with a Refusal. */
  open(_key: TunnelKey, _request: TunnelRequest, _stop?: AbortSignal): Promise<TunnelStream> {
    throw new Error("not written");
  }
  /** Live pooled connections, for tests and the dump. */
  get connectionsCount(): number {
    return 0;
  }
  /** No new tunnels; connections end with their last stream. */
  drain(): void {}
  /** Ends everything at once. */
  destroy(): void {}
}
