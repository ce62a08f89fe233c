import type { Clock, Timer } from "#system";
import { Flag, Type } from "./frames.ts";
import type { Outbox } from "./outbox.ts";
import type { Http2Settings } from "./types.ts";

/** What the last byte of a PING says about why it was sent. */
const KEEPALIVE = 1;
const DRAIN = 2;
/** A peer that does not answer the PING between the two GOAWAYs of a drain gets the second one all the same. */
const DRAIN_WAIT_MS = 1_000;

/** PINGs of one connection: is the peer there, and how far away (behaviour.md 7.6). */
export class Liveness {
  #timer: Timer | undefined;
  #drainTimer: Timer | undefined;
  #sentMs = 0;
  #isWaiting = false;
  #onDrain: (() => void) | undefined;
  /** Of the last keepalive PING; undefined before the first answer. */
  roundTripMs: number | undefined;

  /** `onTick` is called before each PING, `onDead` when one was not answered in time. */
  constructor(
    private readonly outbox: Outbox,
    private readonly settings: Http2Settings,
    private readonly clock: Clock,
    private readonly onTick: () => void,
    private readonly onDead: (message: string) => void,
  ) {}

  /** PING after `pingIntervalMs`, and again that long after each answer. */
  start(): void {
    this.#timer = this.clock.after(this.settings.pingIntervalMs, () => this.#ping(), {
      background: true,
    });
  }

  stop(): void {
    this.#timer?.cancel();
    this.#drainTimer?.cancel();
  }

  /** Calls `act` a round trip from now: what the peer sent before it heard us has come by then. */
  afterRoundTrip(act: () => void): void {
    this.#onDrain = act;
    this.#send(DRAIN);
    this.#drainTimer = this.clock.after(DRAIN_WAIT_MS, () => this.#drained());
  }

  /** A PING with ACK came. */
  answered(payload: Uint8Array): void {
    const why = payload[7];
    if (why === DRAIN) return this.#drained();
    if (why !== KEEPALIVE || !this.#isWaiting) return;
    this.#isWaiting = false;
    this.#timer?.cancel();
    this.roundTripMs = this.clock.monotonicMs() - this.#sentMs;
    this.start();
  }

  #drained(): void {
    this.#drainTimer?.cancel();
    const act = this.#onDrain;
    this.#onDrain = undefined;
    act?.();
  }

  #ping(): void {
    const { pingTimeoutMs } = this.settings;
    this.#isWaiting = true;
    this.#sentMs = this.clock.monotonicMs();
    this.#timer = this.clock.after(
      pingTimeoutMs,
      () => this.onDead(`no answer to a PING within ${pingTimeoutMs} ms`),
      { background: true },
    );
    this.#send(KEEPALIVE);
    this.onTick();
  }

  #send(why: number): void {
    this.outbox.frame(Type.ping, 0, 0, Uint8Array.of(0, 0, 0, 0, 0, 0, 0, why));
  }
}

/** Answers a PING. */
export function answerPing(outbox: Outbox, payload: Uint8Array): void {
  outbox.frame(Type.ping, Flag.ack, 0, payload);
}
