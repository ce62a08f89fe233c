import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
  type NodeSchema,
} from "#proto/xds_pb.ts";
import { Demands } from "./demands.ts";
import type { Opening } from "./opening.ts";
import { type Moment, TypeRecord, type TypeStatus } from "./status.ts";
import { VersionBook } from "./version_book.ts";
import type { WireResource } from "./wire_resource.ts";
import type { WireResponse } from "./wire_response.ts";

export type ResourceType = "address" | "authorization";

/** In the order of the subscriptions (behaviour.md 3.3). */
export const TYPE_URLS: Readonly<Record<ResourceType, string>> = {
  address: "type.googleapis.com/istio.workload.Address",
  authorization: "type.googleapis.com/istio.security.Authorization",
};
const TYPES = Object.keys(TYPE_URLS) as readonly ResourceType[];
/** Of the resources that we can use. */
export const KNOWN_TYPES: readonly string[] = Object.values(TYPE_URLS);

/** What a resource makes of the mesh: its own message, for whoever can read it. The bytes are a view of the response. */
export interface Change {
  readonly name: string;
  readonly bytes: Uint8Array;
}

export interface SessionOptions {
  readonly node: MessageInitShape<typeof NodeSchema>;
  readonly onDemand: boolean;
}

/** How much of what was refused is told: istiod reads 4 MiB, a person less. */
const NACK_CHARS_MAX = 16_384;
const SEPARATOR = "; ";
/** How the mesh's reasons begin where bytes are no message at all. */
const MALFORMED = "invalid protobuf";
/** Names asked for in one request where a single one was too large: at most some 0.5 MB of uids. */
const NAMES_PER_REQUEST = 5_000;

/** One subscription, over all streams. */
interface Subscription {
  readonly type: ResourceType;
  readonly record: TypeRecord;
  /** Everything of this type that we hold: name to version. */
  readonly versions: VersionBook;
  /** The next response says everything there is: what it does not name is gone. */
  isSnapshotDue: boolean;
  wasAcked: boolean;
}

/**
 * Our half of delta ADS (behaviour.md 3.3 to 3.9) as a machine: messages in, messages and changes out; it neither waits
 * nor sends nor knows the mesh. One stream after another runs through it.
 */
export class Session {
  readonly #options: SessionOptions;
  readonly #subscriptions: Readonly<Record<ResourceType, Subscription>>;
  readonly #demands = new Demands();
  /** Resources listed on a stream that istiod ended because that was too long a message; it will not take more. */
  #tooManyNames = Infinity;
  #listedCount = 0;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#subscriptions = {
      address: newSubscription("address"),
      authorization: newSubscription("authorization"),
    };
  }

  /** A stream has begun: what is sent first, in order (3.2, 3.3, 3.7); to be used up before a response is received. */
  open(): Iterable<Opening> {
    const heldCount = this.#heldCount();
    const isListing = heldCount < this.#tooManyNames;
    this.#listedCount = isListing ? heldCount : 0;
    const openings = TYPES.map((type) => this.#subscribe(type, isListing));
    return isListing || !this.#options.onDemand ? openings : concat(openings, this.#askAgain());
  }

  /**
   * The stream is over; nothing is forgotten. `error` is its status, if it has one. True if it says that istiod did not
   * take the list of what we hold: it is not sent again, so that everything else is.
   */
  closed(error?: { readonly code: number; readonly details: string }): boolean {
    const isListTooLong = this.#listedCount > 0 && error !== undefined && isTooLarge(error);
    if (isListTooLong) this.#tooManyNames = Math.min(this.#tooManyNames, this.#listedCount);
    this.#listedCount = 0;
    return isListTooLong;
  }

  /** A response, to be worked through in order and to its end before the next one. */
  receive(response: WireResponse): Push {
    this.#listedCount = 0;
    const type = TYPES.find((each) => TYPE_URLS[each] === response.typeUrl);
    return new Push(response, type && this.#subscriptions[type], this.#demands);
  }

  /** Somebody waits for an address (3.8, 18.7); false if it cannot be asked for. */
  demand(name: string, monotonicMs: number): boolean {
    return this.#options.onDemand && this.#demands.add(name, monotonicMs);
  }

  /** What is still to be asked on this stream, as long as somebody waits for it; without a stream the next one asks. */
  question(): DeltaDiscoveryRequest | undefined {
    const name = this.#demands.takeNext();
    return name === undefined ? undefined : request("address", { resourceNamesSubscribe: [name] });
  }

  /** Names that nobody answered in time. */
  expire(monotonicMs: number): string[] {
    return this.#demands.expire(monotonicMs);
  }

  get demandsCount(): number {
    return this.#demands.size;
  }

  /** Once true, always true (3.9). */
  get isReady(): boolean {
    const { address, authorization } = this.#subscriptions;
    return authorization.wasAcked && (address.wasAcked || this.#options.onDemand);
  }

  status(): TypeStatus[] {
    return TYPES.map((type) => {
      const { record, versions } = this.#subscriptions[type];
      return record.status(versions.size);
    });
  }

  /** What is counted of a subscription, and how much of it we hold. */
  recordOf(type: ResourceType): { readonly record: TypeRecord; readonly resources: number } {
    const { record, versions } = this.#subscriptions[type];
    return { record, resources: versions.size };
  }

  #heldCount(): number {
    return TYPES.reduce((sum, type) => sum + this.#subscriptions[type].versions.size, 0);
  }

  #subscribe(type: ResourceType, isListing: boolean): Opening {
    const subscription = this.#subscriptions[type];
    const isOnDemand = type === "address" && this.#options.onDemand;
    const everything = isOnDemand ? ["*"] : [];
    // Told of nothing, istiod cannot tell what is gone: the first answer is all there is.
    subscription.isSnapshotDue = !isListing && !isOnDemand;
    const waiting = isOnDemand ? this.#demands.takeAll() : [];
    return {
      request: request(type, {
        node: this.#options.node,
        // Both lists with everything: nothing yet, we will ask.
        resourceNamesSubscribe: everything,
        resourceNamesUnsubscribe: everything,
        initialResourceVersions: Object.fromEntries(waiting.map((name) => [name, ""])),
      }),
      ...(isListing && { held: subscription.versions }),
    };
  }

  /** In on-demand mode istiod sends what is asked for only, so that what we hold is asked for by name. */
  *#askAgain(): Generator<Opening> {
    let resourceNamesSubscribe: string[] = [];
    for (const name of this.#subscriptions.address.versions.names()) {
      resourceNamesSubscribe.push(name);
      if (resourceNamesSubscribe.length < NAMES_PER_REQUEST) continue;
      yield { request: request("address", { resourceNamesSubscribe }) };
      resourceNamesSubscribe = [];
    }
    if (resourceNamesSubscribe.length > 0) {
      yield { request: request("address", { resourceNamesSubscribe }) };
    }
  }
}

/**
 * One response on its way into the mesh: `take` each of its resources and say what became of it, then the removals, then
 * `finish`.
 */
export class Push {
  readonly type: ResourceType | undefined;
  readonly #response: WireResponse;
  readonly #subscription: Subscription | undefined;
  readonly #demands: Demands;
  /** Refused by what they say, and for being unreadable; in this order they are told. */
  readonly #refused = new Refusals();
  readonly #unreadable = new Refusals();
  /** Demanded names that it mentions: they wait, and their time runs, until the mesh has all that came of it. */
  readonly #mentioned = new Set<string>();
  /** What the mesh took since it was committed, and what it gave up. */
  readonly #accepted: (readonly [string, string])[] = [];
  readonly #gone: string[] = [];
  /** What it does not name is gone. */
  readonly #isSnapshot: boolean;
  /** It names something that cannot be read: of what it does not name nothing is known then. */
  #isNameLost = false;
  #resourcesCount = 0;
  #bytesCount = 0;

  constructor(response: WireResponse, subscription: Subscription | undefined, demands: Demands) {
    this.type = subscription?.type;
    this.#response = response;
    this.#subscription = subscription;
    this.#demands = demands;
    this.#isSnapshot = subscription?.isSnapshotDue ?? false;
    if (this.#isSnapshot) subscription?.versions.beginSweep();
  }

  /**
   * The resource as a change of the mesh; undefined if it cannot be one. Of what is given, `accept` or `reject` is called
   * before the next one is taken.
   */
  take(resource: WireResource): Change | undefined {
    const { name, payload, malformed } = resource;
    this.#resourcesCount++;
    this.#bytesCount += payload?.length ?? 0;
    this.#mention(name);
    for (const alias of resource.aliases) this.#mention(alias);
    if (this.#subscription === undefined) return undefined;
    if (this.#isSnapshot) this.#subscription.versions.see(name);
    if (malformed === undefined && payload !== undefined) return { name, bytes: payload };
    if (name === "") this.#isNameLost = true;
    this.#unreadable.add(
      `${name}: ${malformed === undefined ? "no payload" : `decode: ${malformed}`}`,
    );
    return undefined;
  }

  /** The mesh takes it. */
  accept({ name, version }: WireResource): void {
    this.#accepted.push([name, version]);
  }

  /** The mesh has what was accepted, and no more what was to go: the next stream says so. */
  committed(): void {
    for (const [name, version] of this.#accepted) this.#subscription?.versions.set(name, version);
    for (const name of this.#gone) this.#subscription?.versions.delete(name);
    this.#accepted.length = 0;
    this.#gone.length = 0;
  }

  /** The mesh cannot use it; a version that it has of an earlier response stays. */
  reject({ name }: WireResource, reason: string): void {
    if (reason.startsWith(MALFORMED)) this.#unreadable.add(`${name}: decode: ${reason}`);
    else this.#refused.add(`${name}: ${reason}`);
  }

  /** What goes, after all resources were taken: names, in their order. */
  *removals(): Generator<string> {
    const { removed } = this.#response;
    const subscription = this.#subscription;
    if (subscription === undefined) return;
    subscription.isSnapshotDue = false;
    for (const name of removed) this.#mention(name);
    const hasAll = this.#isSnapshot && !this.#isNameLost;
    for (const name of concat(removed, hasAll ? subscription.versions.unseen() : [])) {
      this.#gone.push(name);
      yield name;
    }
  }

  /** After the mesh has changed: the answer to istiod, and whose waiting has an end. */
  finish(now: Moment): PushOutcome {
    const { typeUrl, nonce } = this.#response;
    const rejectedCount = this.#refused.count + this.#unreadable.count;
    const message = nackMessage([...this.#refused.told, ...this.#unreadable.told], rejectedCount);
    if (this.#subscription !== undefined) {
      const { record } = this.#subscription;
      record.messagesReceived++;
      record.resourcesReceived += this.#resourcesCount;
      record.resourcesRejected += rejectedCount;
      record.bytesReceived += this.#bytesCount;
      if (message === undefined) {
        this.#subscription.wasAcked = true;
        record.lastAckMs = now.wallMs;
      } else {
        record.lastNackMs = now.wallMs;
        record.lastNackReason = message;
      }
    }
    return {
      reply: create(DeltaDiscoveryRequestSchema, {
        typeUrl,
        responseNonce: nonce,
        ...(message !== undefined && { errorDetail: { code: 0, message } }),
      }),
      rejection: message,
      rejectedCount,
      answered: this.answered(),
      resourcesCount: this.#resourcesCount,
      bytesCount: this.#bytesCount,
    };
  }

  /** Whose waiting has an end: by `finish`, or when the response broke and the mesh has what came of it. */
  answered(): string[] {
    return [...this.#mentioned].filter((name) => this.#demands.answer(name));
  }

  #mention(name: string): void {
    if (this.#demands.size > 0 && this.#demands.has(name)) this.#mentioned.add(name);
  }
}

export interface PushOutcome {
  /** The ACK, or the NACK. */
  readonly reply: DeltaDiscoveryRequest;
  /** What a NACK says; undefined for an ACK. */
  readonly rejection: string | undefined;
  readonly rejectedCount: number;
  /** Demanded names that the response mentions, found or not. */
  readonly answered: readonly string[];
  readonly resourcesCount: number;
  /** Sum of the resources' own messages. */
  readonly bytesCount: number;
}

function* concat<T>(...parts: readonly Iterable<T>[]): Generator<T> {
  for (const part of parts) yield* part;
}

function newSubscription(type: ResourceType): Subscription {
  return {
    type,
    record: new TypeRecord(TYPE_URLS[type]),
    versions: new VersionBook(),
    isSnapshotDue: false,
    wasAcked: false,
  };
}

function request(
  type: ResourceType,
  fields: MessageInitShape<typeof DeltaDiscoveryRequestSchema>,
): DeltaDiscoveryRequest {
  return create(DeltaDiscoveryRequestSchema, { typeUrl: TYPE_URLS[type], ...fields });
}

/** All of them are counted, and as many kept as a message has room for: a response may have a hundred million. */
class Refusals {
  count = 0;
  readonly told: string[] = [];
  #charsCount = 0;

  add(text: string): void {
    this.count++;
    if (this.#charsCount > NACK_CHARS_MAX) return;
    this.told.push(text.slice(0, NACK_CHARS_MAX));
    this.#charsCount += text.length + SEPARATOR.length;
  }
}

/** `name: reason` of each, joined with `; `, as far as there is room. */
function nackMessage(reasons: readonly string[], rejectedCount: number): string | undefined {
  if (rejectedCount === 0) return undefined;
  const told: string[] = [];
  let charsCount = 0;
  for (const reason of reasons) {
    charsCount += reason.length + SEPARATOR.length;
    if (told.length > 0 && charsCount > NACK_CHARS_MAX) break;
    told.push(reason);
  }
  const untold = rejectedCount - told.length;
  return told.join(SEPARATOR) + (untold > 0 ? `; and ${untold} more` : "");
}

const RESOURCE_EXHAUSTED = 8;

/** The words of grpc-go, which istiod speaks with: `grpc: received message larger than max (5000000 vs. 4194304)`. */
function isTooLarge(
  { code, details }: { readonly code: number; readonly details: string },
): boolean {
  return code === RESOURCE_EXHAUSTED && /larger than max/.test(details);
}
