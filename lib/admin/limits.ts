/** Bounds of the three HTTP servers. */
export const ADMIN_LIMITS = {
  /** From accept or the last answer to the end of the headers (behaviour.md 14.1). */
  headersTimeoutMs: 2_000,
  /** For headers and body together; nobody has a body to send. */
  requestTimeoutMs: 5_000,
  /** Prometheus asks every 15 to 60 s and may keep its connection meanwhile. */
  keepAliveTimeoutMs: 75_000,
  /** How exact the timeouts above are. */
  checkIntervalMs: 500,
  /** behaviour.md 14.1. */
  headerBytesMax: 8 * 1024,
  /** Per address. An accepted socket costs about 10 KB and a file descriptor of those that users need. */
  connectionsMax: 512,
  /**
   * Requests of one connection that are under way at once. The runtime reads and parses all that a client sends ahead:
   * without this bound, peers that send and never read took 4 GB and then the process (measured).
   */
  pipelinedRequestsMax: 8,
  /** Of answers that a client has not read, when it asks once more; more than any answer that is not streamed. */
  unreadBytesMax: 256 * 1024,
  /** A client that takes no byte of its answer for this long is gone. */
  writeStallMs: 30_000,
  /** Requests that a drain finds running. */
  drainMs: 5_000,
  /** Shorter bodies grow when compressed (behaviour.md 14.6). */
  compressBytesMin: 32,
  /**
   * Dumps under way at once. Each keeps the names of all that there is, 10 MB in a mesh of 100,000 workloads, and makes one
   * piece of text in each slice that they share, a fraction of a millisecond.
   */
  dumpsMax: 8,
  /** Text of a dump that is made before the clock is looked at: half a millisecond. */
  pieceChars: 128 * 1024,
  /** Of a dump, before the clock is looked at: before each of them a record may have been looked up, 5 us each. */
  textsPerTurn: 1_000,
  /** Records that a dump looks at before it looks at the clock; 5 us each. */
  recordsPerTurn: 500,
} as const;
