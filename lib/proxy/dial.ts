import { type Dialer, DialError, type DialOptions } from "#stream";
import type { StopSignal } from "#system";
import { type Failure, Refusal, type SocketAddress } from "#values";
import { PROXY_LIMITS, type ProxyParts } from "./parts.ts";

const GAVE_UP: Failure = { kind: "io", cause: "the peer gave the request up" };

type Dialed = Awaited<ReturnType<Dialer["dial"]>>;

/**
 * Connects to `target`; rejects with a Refusal of `kind`, or as soon as the connection's row is revoked with the reason of
 * that: a drain does not wait for a host that never answers, and neither does the access line. `abandoned` aborts when
 * nobody waits for the connection any more: a peer that asks and resets would leave a socket behind each time.
 */
export async function dialFor(
  parts: ProxyParts,
  target: SocketAddress,
  { kind, revoked, abandoned, ...options }: Pick<DialOptions, "spoof"> & {
    readonly kind: "application_connect" | "io";
    readonly revoked: StopSignal;
    readonly abandoned?: StopSignal;
  },
): Promise<Dialed> {
  const { from } = parts.settings;
  const dialing = parts.dialer.dial(target, {
    timeoutMs: PROXY_LIMITS.connectTimeoutMs,
    ...options,
    ...(from === undefined ? {} : { from }),
  });
  const stopped = Promise.withResolvers<never>();
  const onRevoked = () => {
    stopped.reject(new Refusal(revoked.aborted ? revoked.reason as Failure : GAVE_UP));
    // What comes after all has nobody to serve.
    dialing.then((stream) => stream.abort(), () => {});
  };
  if (revoked.aborted || abandoned?.aborted) onRevoked();
  revoked.addEventListener("abort", onRevoked);
  abandoned?.addEventListener("abort", onRevoked);
  try {
    return await Promise.race([stopped.promise, dialing]);
  } catch (error) {
    if (!(error instanceof DialError)) throw error;
    throw new Refusal({ kind, cause: error.message });
  } finally {
    revoked.removeEventListener("abort", onRevoked);
    abandoned?.removeEventListener("abort", onRevoked);
  }
}
