import type { Metrics } from "#metrics";
import type { Clock } from "#system";
import { Revocations } from "#tls";

/** What one thread's TLS judges peers by, counted as ztunnel counts it (behaviour.md 9.8, 13.6). */
export function revocationsOf(metrics: Metrics, clock: Clock): Revocations {
  return new Revocations({
    clock,
    onRevoked: (peer) => {
      // Whoever dialled a server is the source of the connection.
      const reporter = peer === "server" ? "source" : "destination";
      using rejections = metrics.series("istio_crl_policy_rejections", [reporter]);
      rejections.add(1);
    },
  });
}
