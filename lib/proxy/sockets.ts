import type { Metrics, Series } from "#metrics";

/**
 * - `handshake`: a peer's socket that has not proved who it is yet.
 * - `tunnel`: a peer's verified socket, whatever the number of tunnels in it.
 * - `connecting`: an application's connection whose other half is not there yet.
 * - `established`: one that bytes may take both ways.
 * - `half_closed`: one of which one direction has ended.
 */
export type SocketState = "handshake" | "tunnel" | "connecting" | "established" | "half_closed";
export type Reporter = "source" | "destination";

/** The gauge of sockets by state (`ztunnel_sockets`). */
export class SocketStates {
  readonly #series: Readonly<Record<Reporter, Map<SocketState, Series>>> = {
    source: new Map(),
    destination: new Map(),
  };

  readonly #open: { source?: Series; destination?: Series } = {};

  constructor(private readonly metrics: Metrics) {}

  /** One socket goes from one state to another; undefined is before its beginning and after its end. */
  move(reporter: Reporter, from: SocketState | undefined, to: SocketState | undefined): void {
    if (from !== undefined) this.#of(reporter, from).add(-1);
    if (to !== undefined) this.#of(reporter, to).add(1);
  }

  /** The gauge of all sockets that came in (`istio_tcp_sockets_open`). */
  open(reporter: Reporter): Series {
    return this.#open[reporter] ??= this.metrics.series("istio_tcp_sockets_open", [reporter]);
  }

  /** Held for good: ten at most. */
  #of(reporter: Reporter, state: SocketState): Series {
    let series = this.#series[reporter].get(state);
    if (series === undefined) {
      series = this.metrics.series("ztunnel_sockets", [reporter, state]);
      this.#series[reporter].set(state, series);
    }
    return series;
  }
}
