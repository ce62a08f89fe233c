import type { FamilyName, Metrics, Series } from "#metrics";
import type { TerminationReason } from "./retry.ts";
import { type PushOutcome, type ResourceType, type Session, TYPE_URLS } from "./session.ts";
import type { LinkRecord } from "./status.ts";

const TYPES = Object.keys(TYPE_URLS) as readonly ResourceType[];
/** A server may send any text as a type; series are for those that mean something. */
const OTHER_TYPE = "unknown";

/** The families of behaviour.md 13.4, and ours that say how fresh the mesh is. Dispose it with the watch. */
export class XdsMetrics implements Disposable {
  readonly #metrics: Metrics;
  readonly #owned = new DisposableStack();
  readonly #series = new Map<string, Series>();

  constructor(metrics: Metrics, session: Session, link: LinkRecord, monotonicMs: () => number) {
    this.#metrics = metrics;
    const gauge = (family: FamilyName, labels: readonly string[], read: () => number) =>
      void this.#owned.use(metrics.gauge(family, labels, read));
    gauge("ztunnel_xds_connected", [], () => link.isConnected ? 1 : 0);
    gauge("ztunnel_xds_staleness_seconds", [], () => link.stalenessSeconds(monotonicMs()));
    // What never happened has no time: such a gauge is left out of a scrape.
    gauge("ztunnel_xds_connected_since_seconds", [], () => seconds(link.connectedMs));
    for (const type of TYPES) {
      const url = [TYPE_URLS[type]];
      const record = () => session.recordOf(type).record;
      gauge("ztunnel_xds_resources", url, () => session.recordOf(type).resources);
      gauge("ztunnel_xds_last_ack_seconds", url, () => seconds(record().lastAckMs));
      gauge("ztunnel_xds_last_nack_seconds", url, () => seconds(record().lastNackMs));
      this.#count("ztunnel_xds_resources_received", TYPE_URLS[type], 0);
      this.#count("ztunnel_xds_resources_rejected", TYPE_URLS[type], 0);
    }
  }

  terminated(reason: TerminationReason): void {
    this.#count("istio_xds_connection_terminations", reason, 1);
  }

  received(type: ResourceType | undefined, outcome: PushOutcome): void {
    const url = type === undefined ? OTHER_TYPE : TYPE_URLS[type];
    this.#count("istio_xds_message", url, 1);
    this.#count("istio_xds_message_bytes", url, outcome.bytesCount);
    this.#count("ztunnel_xds_resources_received", url, outcome.resourcesCount);
    this.#count("ztunnel_xds_resources_rejected", url, outcome.rejectedCount);
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }

  #count(family: FamilyName, label: string, amount: number): void {
    const key = `${family} ${label}`;
    let series = this.#series.get(key);
    if (series === undefined) {
      // Held, so that it is not forgotten while nothing happens for long.
      series = this.#owned.use(this.#metrics.series(family, [label]));
      this.#series.set(key, series);
    }
    series.add(amount);
  }
}

function seconds(unixMs: number | undefined): number {
  return unixMs === undefined ? NaN : unixMs / 1_000;
}
