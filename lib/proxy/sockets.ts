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
  readonly #series = new Map<string, Series>();

  constructor(private readonly metrics: Metrics) {}

  /** One socket goes from one state to another; undefined is before its beginning and after its end. */
  move(reporter: Reporter, from: SocketState | undefined, to: SocketState | undefined): void {
    if (from !== undefined) this.#of(reporter, from).add(-1);
    if (to !== undefined) this.#of(reporter, to).add(1);
  }

  /** Held for good: ten at most. */
  #of(reporter: Reporter, state: SocketState): Series {
    const key = `${reporter} ${state}`;
    let series = this.#series.get(key);
    if (series === undefined) {
      series = this.metrics.series("ztunnel_sockets", [reporter, state]);
      this.#series.set(key, series);
    }
    return series;
  }
}
