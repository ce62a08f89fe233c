import type { Clock } from "#system";

/**
 * What a peer can do too often (users.md 3.2). Who hits which, and with what amount:
 *
 * - `rapid_reset`: the peer reset a stream that we had not answered yet (CVE-2023-44487).
 * - `made_you_reset`: we reset a stream because the peer broke the protocol on it, or opened one too many
 *   (CVE-2025-8671). Our own application's aborts and refusals are none.
 * - `continuation`: a CONTINUATION frame; amount: its place in its header block, from 1 (CVE-2024-27316).
 * - `header_list`: a list above our limit in bytes or fields; amount: how many times the limit, rounded up.
 * - `hpack_table`: a change of a table's size, by SETTINGS or by an instruction in a header block.
 * - `ping`: a PING that wants an answer (CVE-2019-9512).
 * - `settings`: a SETTINGS frame that wants an answer; amount: `settingsCost` (CVE-2019-9515).
 * - `empty_data`: DATA without a payload and without END_STREAM, padded or not (CVE-2019-9518).
 * - `tiny_data`: DATA with a payload below `TINY_DATA_BYTES` and without END_STREAM.
 * - `window_update`: a WINDOW_UPDATE, and what else only keeps us busy: PRIORITY, frames of unknown type.
 * - `zero_window`: the peer grants no window while we hold bytes (CVE-2019-9511, 9517); amount: the KiB that
 *   wait, once in each `STALL_TICK_MS`; and `DRIBBLE_COST` for each DATA frame that its window cut below
 *   `TINY_DATA_BYTES` while more was waiting.
 * - `handshake`: the preface and SETTINGS did not come in time. Always cuts.
 */
export type FloodKind =
  | "rapid_reset"
  | "made_you_reset"
  | "continuation"
  | "header_list"
  | "hpack_table"
  | "ping"
  | "settings"
  | "empty_data"
  | "tiny_data"
  | "window_update"
  | "zero_window"
  | "handshake";

/** A hit over its limit: the connection is cut. */
export interface FloodViolation {
  readonly kind: FloodKind;
  /** Of the hit; units at FloodKind. */
  readonly amount: number;
  /** The limit in words: "500 at once, 250 per second". */
  readonly limit: string;
}
/** Told of each violation before the connection is cut; must not throw. */
export type OnFlood = (violation: FloodViolation) => void;

/** Below this a DATA frame carries less than its cost is worth; h2's threshold, too. */
export const TINY_DATA_BYTES = 256;
/** How often bytes that wait for a window are charged: the rhythm of our PINGs. */
export const STALL_TICK_MS = 10_000;
/** What a dribbled DATA frame costs in `zero_window`, in KiB held: an honest window ends in one such per 64 KiB. */
export const DRIBBLE_COST = 16;

/** The amount for a SETTINGS frame of so many entries: honest ones have at most eight. */
export function settingsCost(entriesCount: number): number {
  return Math.max(1, Math.ceil(entriesCount / 8));
}

/**
 * A token bucket: `burst` at once, `perSecond` for ever, and what useful work earns on top. Nothing here is a lifetime
 * total: a tunnel lives for days.
 */
interface Limit {
  readonly burst: number;
  readonly perSecond: number;
  /** Per stream that was answered, by either side. */
  readonly perStream?: number;
  /** Per DATA frame with a payload that we sent. */
  readonly perFrameSent?: number;
  readonly perByteSent?: number;
  readonly perByteReceived?: number;
  /** One hit above this trips whatever is in the bucket. */
  readonly amountMax?: number;
}

/**
 * Each row is above what honest peers do, at 40,000 requests of 50 bytes per second on one connection too, and so far
 * below what an attack needs that one connection costs its thread no more than an honest one.
 */
export const FLOOD_LIMITS: Readonly<Record<FloodKind, Limit>> = {
  // 200 streams whose clients give an unreachable application one second each: 200 resets per second, all honest. Of
  // streams that were answered each pays for one that was not (Envoy cuts at half, too); the attack needs thousands.
  rapid_reset: { burst: 500, perSecond: 250, perStream: 1 },
  // Honest peers break no rules. But one that has not seen our SETTINGS may open any number of streams: a first round
  // trip full of refused ones is within the burst.
  made_you_reset: { burst: 500, perSecond: 20 },
  // 64 KiB of headers (behaviour.md 7.6) are one HEADERS and three CONTINUATIONs of the smallest legal maximum, 16 KiB;
  // four leave one for a padded first. HBONE's own lists need none. A full block costs 1 + 2 + 3 + 4.
  continuation: { burst: 1_000, perSecond: 100, perStream: 10, amountMax: 4 },
  // A list above the limit costs its own stream only: a misconfigured client must not end its neighbours' tunnels. A
  // list of twenty times the limit is an HPACK bomb and trips at once.
  header_list: { burst: 20, perSecond: 1 },
  // Honest encoders say a size once or twice, after SETTINGS.
  hpack_table: { burst: 64, perSecond: 4 },
  // Keepalive is one in ten seconds; libraries that measure bandwidth by PING send one per round trip while data flows,
  // Go's client one with each cancelled stream.
  ping: {
    burst: 200,
    perSecond: 100,
    perStream: 1,
    perFrameSent: 1,
    perByteReceived: 1 / 4_096,
  },
  // One at the start; some peers move their window at run time.
  settings: { burst: 100, perSecond: 10 },
  // No library sends them on purpose; h2 allows 100 in all.
  empty_data: { burst: 100, perSecond: 20 },
  // Requests as small as Redis's PING (14 bytes) pay with the answers that we send, whatever their rate; one-way lines
  // and ticks pay with their own 16 bytes. Only single bytes without any answer are left to the rate, and a relay that
  // is slower than its application merges those.
  tiny_data: { burst: 100_000, perSecond: 50_000, perFrameSent: 1, perByteReceived: 1 / 16 },
  // The most eager peers answer each DATA with one for the stream and one for the connection, or each KiB that they
  // take out of a large frame; some widen each stream's window as it opens. Envoy allows 10 per DATA as well.
  window_update: {
    burst: 1_000,
    perSecond: 100,
    perStream: 4,
    perFrameSent: 10,
    perByteSent: 2 / 1_024,
  },
  // In KiB held per tick. A tunnel may stand still for days (a debugger, a pager) with its 64 KiB in our hands: 1 MiB
  // per connection may wait for ever. All of 200 streams stalled (12.5 MiB) last about ten minutes, unless the
  // connection moves bytes elsewhere.
  zero_window: { burst: 737_280, perSecond: 102.4, perByteSent: 1 / 1_024 },
  // The engine's timer is the limit.
  handshake: { burst: 0, perSecond: 0 },
};

/** The limit for people; useful work on top is left out, it depends on the connection. */
function inWords({ burst, perSecond, amountMax }: Limit): string {
  if (burst === 0) return "a fixed time";
  const most = amountMax === undefined ? "" : `, ${amountMax} in one`;
  return `${burst} at once, ${perSecond} per second${most}`;
}

interface Bucket {
  tokens: number;
  filledMs: number;
  /** What useful work had earned in all when the bucket was last filled. */
  earned: number;
}

/**
 * Judges one connection's peer. `hit` for what may be a flood, `answered`, `sent` and `received` for useful work, which
 * is what the rates are held against; those are plain additions, for the hot path.
 */
export class FloodGuard {
  #streams = 0;
  #framesSent = 0;
  #bytesSent = 0;
  #bytesReceived = 0;
  /** By need: an idle connection has two or three. */
  readonly #buckets = new Map<FloodKind, Bucket>();
  readonly #violations = new Map<FloodKind, number>();

  constructor(private readonly clock: Clock, private readonly onFlood?: OnFlood) {}

  /** True: cut the peer with ENHANCE_YOUR_CALM. Units of `amount` are at FloodKind. */
  hit(kind: FloodKind, amount = 1): boolean {
    const limit = FLOOD_LIMITS[kind];
    const bucket = this.#buckets.get(kind) ?? this.#open(kind, limit);
    bucket.tokens -= amount;
    // The clock is asked, and work counted, only when the bucket is empty: at most one more burst gets through by it.
    if (bucket.tokens < 0) this.#fill(bucket, limit);
    if (bucket.tokens >= 0 && amount <= (limit.amountMax ?? Infinity)) return false;
    this.#violations.set(kind, (this.#violations.get(kind) ?? 0) + 1);
    this.onFlood?.({ kind, amount, limit: inWords(limit) });
    return true;
  }

  /** A stream's request was answered, by us or by the peer. */
  answered(): void {
    this.#streams++;
  }

  /** DATA left with so many bytes of payload, above zero. */
  sent(bytes: number): void {
    this.#framesSent++;
    this.#bytesSent += bytes;
  }

  /** DATA came with so many bytes of payload. */
  received(bytes: number): void {
    this.#bytesReceived += bytes;
  }

  /** Hits that were over a limit, by kind: for `hbone_flood_violations_total`. Kinds without one are absent. */
  counts(): ReadonlyMap<FloodKind, number> {
    return this.#violations;
  }

  #open(kind: FloodKind, limit: Limit): Bucket {
    const bucket = {
      tokens: limit.burst,
      filledMs: this.clock.monotonicMs(),
      earned: this.#earned(limit),
    };
    this.#buckets.set(kind, bucket);
    return bucket;
  }

  #fill(bucket: Bucket, limit: Limit): void {
    const nowMs = this.clock.monotonicMs();
    const earned = this.#earned(limit);
    const fresh = (nowMs - bucket.filledMs) / 1_000 * limit.perSecond + earned - bucket.earned;
    bucket.tokens = Math.min(limit.burst, bucket.tokens + fresh);
    bucket.filledMs = nowMs;
    bucket.earned = earned;
  }

  #earned(limit: Limit): number {
    return this.#streams * (limit.perStream ?? 0) +
      this.#framesSent * (limit.perFrameSent ?? 0) +
      this.#bytesSent * (limit.perByteSent ?? 0) +
      this.#bytesReceived * (limit.perByteReceived ?? 0);
  }
}
