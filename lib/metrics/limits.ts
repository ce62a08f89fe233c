/** Bounds of the metrics. */
export const METRICS_LIMITS = {
  /** Label values come from peers, so there must be an end. 20,000 traffic series are 27 MB of text in 0.4 s. */
  seriesMax: 50_000,
  /** A counter that nobody holds and nobody touched for this long is forgotten, so that gone pods do not add up. */
  idleMs: 10 * 60_000,
  /** When the room is full, how often it is searched for idle series: a search visits all of them. */
  searchIntervalMs: 10_000,
  /** Longest label value; a SPIFFE ID of legal parts is shorter. The rest is cut off. */
  labelCharsMax: 1_024,
  /** Series that are formatted in one go: a few milliseconds. */
  seriesPerChunk: 200,
} as const;
