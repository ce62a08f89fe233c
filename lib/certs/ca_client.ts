/**
 * The CA's RPC (behaviour.md 9.1) over one verified channel that is kept while requests come.
 * @module
 */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { IstioCertificateRequestSchema, IstioCertificateResponseSchema } from "#proto/ca_pb.ts";
import {
  connectChannel,
  type Endpoint,
  type GrpcChannel,
  GrpcError,
  type Network,
  readRoots,
} from "#grpc";
import type { Log } from "#log";
import type { Clock, Timer } from "#system";
import type { CaClient, CaRequest } from "./ca_authority.ts";
import { LastNews } from "./last_news.ts";

const PATH = "/istio.v1.auth.IstioCertificateService/CreateCertificate";

export const CA_LIMITS = {
  /** From the request to its answer, connecting included. A CA in trouble is asked again by the manager. */
  callTimeoutMs: 20_000,
  /**
   * An unused channel is closed after this: nobody pings it, so that a middlebox may have forgotten it, and the next
   * renewal is hours away. A burst of requests shares one.
   */
  channelIdleMs: 30_000,
} as const;

/** gRPC's codes for a call that never got through, or whose connection broke. */
const CANCELLED = 1;
const UNKNOWN = 2;
const DEADLINE_EXCEEDED = 4;
const INTERNAL = 13;
const UNAVAILABLE = 14;
const CHANNEL_IS_BROKEN: readonly number[] = [
  CANCELLED,
  UNKNOWN,
  DEADLINE_EXCEEDED,
  INTERNAL,
  UNAVAILABLE,
];

export interface CaClientOptions {
  readonly endpoint: Endpoint;
  readonly clock: Clock;
  /** With `CONTROL_KEEPALIVE` of #grpc. */
  readonly dialer: Network["dialer"];
  readonly log: Log;
}

/**
 * Asks the CA at `endpoint`. Roots are read for every request: when they have changed, the next request goes over a new
 * channel that trusts the new ones (9.5); when they cannot be used, those that worked before stay in force.
 */
export function createCaClient(options: CaClientOptions): CaClient & Disposable {
  return new ChannelKeeper(options);
}

/** A channel, and who uses it. */
interface Held {
  readonly channel: GrpcChannel;
  readonly rootsPem: string;
  callsCount: number;
  /** Whether a call got through. */
  wasGood: boolean;
  /** No new calls: it is closed when the last one is over. */
  isDropped: boolean;
  idle?: Timer;
}

class ChannelKeeper implements CaClient, Disposable {
  #held: Held | undefined;
  /** As a channel was made with last: what is written over them may be half of something, or rubbish. */
  #goodRootsPem: string | undefined;
  /** One request after another looks after the channel, so that a burst opens one. */
  #turn: Promise<unknown> = Promise.resolve();
  /** Of roots that cannot be used. */
  readonly #rootsNews = new LastNews();
  #isDisposed = false;

  constructor(private readonly options: CaClientOptions) {}

  async createCertificate(request: CaRequest): Promise<readonly string[]> {
    const message = encode(request);
    const first = await this.#take();
    const { wasGood } = first;
    try {
      return decode(await this.#call(first, message));
    } catch (error) {
      // A channel that was good once may have been closed by the server meanwhile: no reason to keep anybody waiting.
      if (!wasGood || !(error instanceof GrpcError) || error.code !== UNAVAILABLE) throw error;
    }
    return decode(await this.#call(await this.#take(), message));
  }

  [Symbol.dispose](): void {
    this.#isDisposed = true;
    if (this.#held !== undefined) this.#drop(this.#held, true);
  }

  async #call(held: Held, message: Uint8Array): Promise<Uint8Array> {
    try {
      const answer = await held.channel.unary(PATH, message, {
        timeoutMs: CA_LIMITS.callTimeoutMs,
      });
      held.wasGood = true;
      return answer;
    } catch (error) {
      if (error instanceof GrpcError && CHANNEL_IS_BROKEN.includes(error.code)) this.#drop(held);
      throw error;
    } finally {
      this.#release(held);
    }
  }

  /** A channel for one call; `#release` gives it back. */
  #take(): Promise<Held> {
    const taking = this.#turn.then(() => this.#takeNow());
    this.#turn = taking.catch(() => {});
    return taking;
  }

  async #takeNow(): Promise<Held> {
    const held = await this.#current();
    if (this.#isDisposed) {
      this.#drop(held, true);
      throw new Error("shutting down");
    }
    held.callsCount++;
    held.idle?.cancel();
    return held;
  }

  /** The channel that there is, or a new one if there is none or the roots have changed. */
  async #current(): Promise<Held> {
    const { endpoint, log } = this.options;
    try {
      const rootsPem = await readRoots(endpoint.roots);
      const before = this.#held;
      const held = before?.rootsPem === rootsPem ? before : await this.#open(rootsPem);
      this.#rootsNews.over();
      if (held === before) return held;
      if (before !== undefined) {
        log.info?.("the roots of the certificate authority's server changed", {
          address: endpoint.url,
        });
        this.#drop(before);
      }
      return held;
    } catch (error) {
      if (this.#goodRootsPem === undefined) throw error;
      const reason = error instanceof Error ? error.message : String(error);
      if (this.#rootsNews.isNew(reason)) {
        log.warn?.("new roots of the certificate authority's server cannot be used, the old stay", {
          error: reason,
        });
      }
      return this.#held ?? await this.#open(this.#goodRootsPem);
    }
  }

  async #open(rootsPem: string): Promise<Held> {
    const { endpoint, clock, dialer } = this.options;
    const channel = await connectChannel(
      { ...endpoint, roots: { kind: "inline", pem: rootsPem } },
      { clock, dialer },
    );
    this.#goodRootsPem = rootsPem;
    return this.#held = { channel, rootsPem, callsCount: 0, wasGood: false, isDropped: false };
  }

  #release(held: Held): void {
    held.callsCount--;
    if (held.callsCount > 0) return;
    if (held.isDropped) return held.channel[Symbol.dispose]();
    held.idle = this.options.clock.after(CA_LIMITS.channelIdleMs, () => {
      if (held.callsCount === 0) this.#drop(held);
    }, { background: true });
  }

  #drop(held: Held, now = false): void {
    if (this.#held === held) this.#held = undefined;
    held.isDropped = true;
    held.idle?.cancel();
    if (now || held.callsCount === 0) held.channel[Symbol.dispose]();
  }
}

function encode({ csrPem, validitySeconds, impersonatedIdentity }: CaRequest): Uint8Array {
  return toBinary(
    IstioCertificateRequestSchema,
    create(IstioCertificateRequestSchema, {
      csr: csrPem,
      validityDuration: BigInt(validitySeconds),
      ...(impersonatedIdentity !== undefined &&
        { metadata: { ImpersonatedIdentity: impersonatedIdentity } }),
    }),
  );
}

function decode(answer: Uint8Array): readonly string[] {
  try {
    return fromBinary(IstioCertificateResponseSchema, answer).certChain;
  } catch {
    throw new Error("the CA's answer is no message that we know");
  }
}
