/** What happened between istiod and us, for people and their dashboards. */

/** A point in time: on the wall, for people, and on a clock that never goes back, for durations. */
export interface Moment {
  readonly wallMs: number;
  readonly monotonicMs: number;
}

/** One subscription. Times are RFC 3339; absent is never. */
export interface TypeStatus {
  readonly typeUrl: string;
  readonly lastAck?: string;
  readonly lastNack?: string;
  /** What the last refusal said. */
  readonly lastNackReason?: string;
  /** Held now, by name. */
  readonly resources: number;
  /** Since the process started. */
  readonly messagesReceived: number;
  readonly resourcesReceived: number;
  readonly resourcesRejected: number;
  readonly bytesReceived: number;
}

/** The control plane's part of the dump. */
export interface XdsStatus {
  readonly address: string;
  readonly state: "connecting" | "connected" | "waiting" | "closed";
  /** Whether every subscription was answered and accepted once. */
  readonly ready: boolean;
  /** Only while connected. */
  readonly connectedSince?: string;
  /** For how long nothing could have reached us; 0 while connected. */
  readonly stalenessSeconds: number;
  /** Streams begun since the process started. */
  readonly streams: number;
  /** Why the last stream ended. */
  readonly lastError?: string;
  readonly lastErrorAt?: string;
  /** Connections that wait to be told of their destination. */
  readonly demandsWaiting: number;
  readonly types: readonly TypeStatus[];
}

/** The record of one subscription. */
export class TypeRecord {
  messagesReceived = 0;
  resourcesReceived = 0;
  resourcesRejected = 0;
  bytesReceived = 0;
  lastAckMs: number | undefined;
  lastNackMs: number | undefined;
  lastNackReason = "";

  constructor(readonly typeUrl: string) {}

  status(resources: number): TypeStatus {
    return {
      typeUrl: this.typeUrl,
      ...(this.lastAckMs !== undefined && { lastAck: timeText(this.lastAckMs) }),
      ...(this.lastNackMs !== undefined &&
        { lastNack: timeText(this.lastNackMs), lastNackReason: this.lastNackReason }),
      resources,
      messagesReceived: this.messagesReceived,
      resourcesReceived: this.resourcesReceived,
      resourcesRejected: this.resourcesRejected,
      bytesReceived: this.bytesReceived,
    };
  }
}

/** Since when we know what istiod knows, and since when not. */
export class LinkRecord {
  streams = 0;
  lastError: string | undefined;
  #lastErrorMs = 0;
  #connectedMs: number | undefined;
  #staleSinceMs: number;

  constructor(now: Moment) {
    this.#staleSinceMs = now.monotonicMs;
  }

  get isConnected(): boolean {
    return this.#connectedMs !== undefined;
  }

  /** Unix milliseconds; undefined while not connected. */
  get connectedMs(): number | undefined {
    return this.#connectedMs;
  }

  connected(now: Moment): void {
    this.#connectedMs ??= now.wallMs;
  }

  disconnected(now: Moment, error: string | undefined): void {
    if (this.isConnected) this.#staleSinceMs = now.monotonicMs;
    this.#connectedMs = undefined;
    if (error === undefined) return;
    this.lastError = error;
    this.#lastErrorMs = now.wallMs;
  }

  stalenessSeconds(monotonicMs: number): number {
    return this.isConnected ? 0 : (monotonicMs - this.#staleSinceMs) / 1_000;
  }

  status(now: Moment) {
    return {
      ...(this.#connectedMs !== undefined && { connectedSince: timeText(this.#connectedMs) }),
      stalenessSeconds: Math.round(this.stalenessSeconds(now.monotonicMs)),
      streams: this.streams,
      ...(this.lastError !== undefined &&
        { lastError: this.lastError, lastErrorAt: timeText(this.#lastErrorMs) }),
    };
  }
}

function timeText(wallMs: number): string {
  return new Date(wallMs).toISOString().replace(/\.\d+Z$/, "Z");
}
