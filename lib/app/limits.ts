import type { WatchLimits } from "./thread_watch.ts";

/** Bounds of the data threads' keeping. */
export const THREAD_LIMITS = {
  /** A thread that tells nothing of its connections for so long, or no more of them, is left out of the dump. */
  reportTimeoutMs: 2_000,
  /** How long after a drain's deadline a thread that says nothing is waited for: longer than its own forced end. */
  drainSlackMs: 2_000,
  /** Before the first replacement of a dead thread; doubled at each, so that a thread that dies at once is no busy loop. */
  restartFirstMs: 100,
  restartMaxMs: 10_000,
  /** A thread that has lived so long was sound: its replacement waits `restartFirstMs` again. */
  soundAfterMs: 60_000,
  /** So many deaths in `deathsWindowMs`, of all threads together, end the process: somebody else must help. */
  deathsMax: 5,
  deathsWindowMs: 60_000,
  /** A replacement that cannot open what its predecessor had open tries again after this. */
  reopenMs: 1_000,
  /** How often, and how long, a dead thread is looked for before its descriptors are closed. */
  goneCheckMs: 20,
  goneMaxMs: 5_000,
} as const;

/**
 * A thread in a turn without an end keeps its connections and its share of new ones, and cannot be ended: after a while
 * only a new process helps.
 */
export const WATCH_LIMITS: WatchLimits = {
  askMs: 2_000,
  tellAfterMs: 10_000,
  loseAfterMs: 60_000,
};
