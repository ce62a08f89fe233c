/** How much, how many, how long; behaviour.md 10 where it says, ours where it is silent. */
export const INPOD_LIMITS = {
  /** Bytes of one packet, both ways (behaviour.md 10.1). The agent takes a longer one of ours for no answer at all. */
  packetBytesMax: 1_024,
  /** Pods of one node. Kubernetes counsels 110 and some run 500; past this an agent invents them, and each costs 4 fds. */
  podsMax: 4_096,
  /** Waits between two attempts to connect. ztunnel goes up to 15 s, and no pod can start on the node meanwhile. */
  reconnectFirstMs: 20,
  reconnectMaxMs: 2_000,
  /**
   * An add is answered by then whatever happens. The agent waits 5 s; an answer that comes later is taken for that of the
   * next message, and so on until the connection ends.
   */
  answerMs: 3_000,
  /** Waits between two attempts to start a pod's proxy; ztunnel's are all 5 s. */
  retryFirstMs: 1_000,
  retryMaxMs: 15_000,
  /** A pod that cannot be served keeps this node from being ready for so long, and no longer (an upgrade waits for us). */
  readinessHoldMs: 60_000,
  /** An agent that is silent for so long before the end of its snapshot is told of, once per connection. */
  snapshotSilenceMs: 30_000,
} as const;
