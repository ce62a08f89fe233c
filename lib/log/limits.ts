/** Bounds of the log. */
export const LOG_LIMITS = {
  /** As ztunnel's queue. JavaScript cannot park a producer, so a full batch is written at once: nothing is lost. */
  linesMax: 10_000,
  /** Long lines fill memory before 10,000 of them do. */
  batchCharsMax: 1024 * 1024,
  /**
   * Lines of one data thread that wait for control. Control writes them at once unless stdout is stuck; about 5 MB of
   * access lines.
   */
  relayedLinesMax: 10_000,
  /** How long a data thread gathers lines, so that control is not woken for each: short for a reader's eye. */
  relayDelayMs: 5,
  /** Targets that a filter names; /logging appends to it, so it would grow with every call. */
  directivesMax: 256,
  /** A filter's text: what is longer is no command of a person. */
  filterCharsMax: 16 * 1024,
  /** Stdout that takes nothing (EAGAIN) may stop the process this long per batch, then the batch is lost and said so. */
  stallMaxMs: 1_000,
} as const;
