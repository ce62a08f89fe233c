import { connect, type Http2Settings } from "#http2";
import type { ByteStream } from "#stream";
import type { Clock, StopSignal } from "#system";
import type { CertBundle, Tls } from "#tls";
import type { SpiffeId } from "#values";
import { ask } from "./ask.ts";
import type { Deadlines } from "./deadlines.ts";
import type { TunnelRequest, TunnelStream } from "./pool.ts";

/** The tunnel inside another one (behaviour.md 6.9). */
export interface InnerTunnel {
  /** Whom the gateway may have picked. */
  readonly expected: readonly SpiffeId[];
  readonly request: TunnelRequest;
}

interface Means {
  readonly tls: Tls;
  readonly clock: Clock;
  readonly bundleOf: (identity: SpiffeId) => Promise<CertBundle>;
  readonly settings: Http2Settings;
}

/** Opens it over `outer`, which it owns from here on: TLS, HTTP/2, one CONNECT. Both end with the tunnel. */
export async function openInside(
  outer: ByteStream,
  source: SpiffeId,
  { expected, request }: InnerTunnel,
  { tls, clock, bundleOf, settings }: Means,
  deadlines: Deadlines,
  stop?: StopSignal,
): Promise<TunnelStream> {
  const bundle = await bundleOf(source);
  const { stream, peer } = await tls.client(outer, bundle, expected);
  const connection = await connect(stream, settings, clock);
  try {
    const answer = await ask(connection, request, deadlines, stop);
    // No other request will come: it ends with this one, and takes the outer tunnel with it.
    connection.close();
    void connection.closed.then(() => outer[Symbol.asyncDispose]());
    const peerIdentity = peer.identities.find((identity) => expected.includes(identity));
    return { stream: answer.stream, headers: answer.headers, peerIdentity, peer };
  } catch (error) {
    connection.destroy();
    throw error;
  }
}
