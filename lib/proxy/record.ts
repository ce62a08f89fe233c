/**
 * What remains of a connection: four counters and one line.
 * @module
 */
import { display, type Fields, type Log } from "#log";
import type { Metrics, Series } from "#metrics";
import type { Meter } from "#stream";
import type { Clock } from "#system";
import { CONSEQUENCES, describeFailure, type Failure, SocketAddress } from "#values";
import { labelsOfPair, type Traffic, withFlag } from "./labels.ts";

export interface Ends {
  readonly client: SocketAddress;
  /** Next hop outbound, local address inbound, original destination for plaintext (behaviour.md 13.8). */
  readonly hop: SocketAddress;
  /** The CONNECT's authority, HBONE only. */
  readonly hboneTarget?: string;
}

export interface RecordParts {
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly access: Log;
}

/** From "the request is built" to "the connection is over": counts, and writes the one line at its end. */
export class ConnectionRecord implements Meter, Disposable {
  readonly #startMs: number;
  readonly #labels: readonly string[];
  readonly #receivedSeries: Series;
  readonly #sentSeries: Series;
  #receivedBytes = 0;
  #sentBytes = 0;
  #failure: Failure | undefined = { kind: "drained" };

  constructor(
    private readonly parts: RecordParts,
    private readonly traffic: Traffic,
    private readonly ends: Ends,
    startMs: number,
  ) {
    this.#startMs = startMs;
    this.#labels = labelsOfPair(traffic);
    using opened = parts.metrics.series("istio_tcp_connections_opened", this.#labels);
    opened.add(1);
    this.#receivedSeries = parts.metrics.series("istio_tcp_received_bytes", this.#labels);
    this.#sentSeries = parts.metrics.series("istio_tcp_sent_bytes", this.#labels);
    parts.access.debug?.("connection opened", this.#fields());
  }

  received(bytes: number): void {
    this.#receivedBytes += bytes;
    this.#receivedSeries.add(bytes);
  }

  sent(bytes: number): void {
    this.#sentBytes += bytes;
    this.#sentSeries.add(bytes);
  }

  /** In both directions. */
  get movedBytes(): number {
    return this.#receivedBytes + this.#sentBytes;
  }

  /** How it ended. A record that is disposed without it was cut off by a drain (behaviour.md 13.3). */
  end(failure: Failure | undefined): void {
    this.#failure = failure;
  }

  [Symbol.dispose](): void {
    const failure = this.#failure;
    const flag = failure === undefined ? "-" : CONSEQUENCES[failure.kind].flag;
    const labels = withFlag(this.#labels, flag);
    this.#count("istio_tcp_connections_closed", labels);
    if (flag !== "-") this.#count("istio_tcp_connections_failed", labels);
    this.#receivedSeries[Symbol.dispose]();
    this.#sentSeries[Symbol.dispose]();
    const write = failure === undefined ? this.parts.access.info : this.parts.access.error;
    write?.("connection complete", { ...this.#fields(), ...this.#ending(failure) });
  }

  #count(
    family: "istio_tcp_connections_closed" | "istio_tcp_connections_failed",
    labels: readonly string[],
  ) {
    using series = this.parts.metrics.series(family, labels);
    series.add(1);
  }

  /** Absent fields are left out (behaviour.md 13.8). */
  #fields(): Fields {
    const { reporter, source, destination, service, mutualTls } = this.traffic;
    const derived = source.baggage;
    return {
      "src.addr": display(SocketAddress.format(this.ends.client)),
      "src.workload": present(source.workload?.name ?? derived?.serviceName),
      "src.namespace": present(source.workload?.namespace ?? derived?.namespace),
      "src.identity": mutualTls ? present(source.principal) : undefined,
      "src.cluster": present(source.workload?.clusterId ?? derived?.clusterId),
      "dst.addr": display(SocketAddress.format(this.ends.hop)),
      "dst.hbone_addr": this.ends.hboneTarget === undefined
        ? undefined
        : display(this.ends.hboneTarget),
      "dst.service": present(service?.hostname),
      "dst.workload": present(destination.workload?.name),
      "dst.namespace": present(destination.workload?.namespace),
      "dst.identity": mutualTls ? present(destination.principal) : undefined,
      "dst.cluster": present(destination.workload?.clusterId),
      direction: reporter === "source" ? "outbound" : "inbound",
    };
  }

  #ending(failure: Failure | undefined): Fields {
    // Sent and received as the side that we stand on sees them: a client sends what a server receives.
    const [sent, received] = this.traffic.reporter === "source"
      ? [this.#receivedBytes, this.#sentBytes]
      : [this.#sentBytes, this.#receivedBytes];
    return {
      bytes_sent: sent,
      bytes_recv: received,
      duration: `${Math.round(this.parts.clock.monotonicMs() - this.#startMs)}ms`,
      error: failure === undefined ? undefined : describeFailure(failure),
    };
  }
}

/** The line of a connection that never became a request: no metrics (behaviour.md 13.8). */
export function logEarlyDenial(
  access: Log,
  ends: Ends,
  direction: "inbound" | "outbound",
  failure: Failure,
): void {
  access.warn?.("connection failed", {
    "src.addr": display(SocketAddress.format(ends.client)),
    "dst.addr": display(SocketAddress.format(ends.hop)),
    direction,
    error: describeFailure(failure),
  });
}

function present(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}
