import type { DeltaDiscoveryRequest } from "#proto/xds_pb.ts";
import { Directory } from "./directory.ts";
import {
  WIRE_TYPE_URLS,
  type WireAnswer,
  type WireDifference,
  type WireResource,
  type WireType,
} from "./wire_mesh.ts";

const TYPES = Object.keys(WIRE_TYPE_URLS) as readonly WireType[];
const EVERYTHING = "*";

/** What a request was. */
export type Heard =
  | {
    readonly kind: "subscribed";
    readonly type: WireType;
    readonly isWildcard: boolean;
    /** Resources that the client says it holds from an earlier stream. */
    readonly known: number;
  }
  | { readonly kind: "asked"; readonly type: WireType; readonly names: readonly string[] }
  | { readonly kind: "ack"; readonly type: WireType; readonly nonce: string }
  | {
    readonly kind: "nack";
    readonly type: WireType;
    readonly nonce: string;
    readonly code: number;
    readonly reason: string;
  }
  | { readonly kind: "stale"; readonly type: WireType; readonly nonce: string }
  | { readonly kind: "unknown_type"; readonly typeUrl: string };

/** What a request was, and what is said to it. */
export interface Turn {
  readonly heard: Heard;
  readonly answers: readonly WireAnswer[];
}

interface Subscription {
  readonly isWildcard: boolean;
  /** Without the wildcard: what was asked for, and what was sent for it. */
  readonly names: Set<string>;
  /** Of answers that wait for an acknowledgement. */
  readonly nonces: Set<string>;
}

/**
 * istiod's half of one delta ADS stream (behaviour.md 17.1): a machine that is told of requests and of changes and says
 * what to answer. It neither waits nor sends.
 */
export class IstiodStream {
  readonly #subscriptions = new Map<WireType, Subscription>();
  #directory: Directory;
  #node = "";
  #noncesCount = 0;

  constructor(directory: Directory) {
    this.#directory = directory;
  }

  /** NODE_NAME of the client, once it has said so. */
  get node(): string {
    return this.#node;
  }

  hear(request: DeltaDiscoveryRequest): Turn {
    const { typeUrl } = request;
    const type = TYPES.find((each) => WIRE_TYPE_URLS[each] === typeUrl);
    if (type === undefined) return { heard: { kind: "unknown_type", typeUrl }, answers: [] };
    const name = request.node?.metadata?.["NODE_NAME"];
    if (typeof name === "string") this.#node = name;
    const subscription = this.#subscriptions.get(type);
    if (subscription === undefined) return this.#subscribe(type, request);
    const heard = hearAnswer(type, subscription, request);
    const { resourceNamesSubscribe: names, resourceNamesUnsubscribe: given } = request;
    for (const name of given) subscription.names.delete(name);
    if (names.length === 0) return { heard, answers: [] };
    return {
      heard: heard.kind === "stale" && heard.nonce === ""
        ? { kind: "asked", type, names: [...names] }
        : heard,
      answers: [this.#named(type, subscription, names)],
    };
  }

  /** The mesh has become another one: what this client is told of it. */
  push(directory: Directory, differences: readonly WireDifference[]): WireAnswer[] {
    this.#directory = directory;
    return differences.flatMap(({ type, changed, removed }) => {
      const subscription = this.#subscriptions.get(type);
      if (subscription === undefined) return [];
      const wanted = changed.filter((resource) => this.#isWanted(subscription, resource));
      const gone = subscription.isWildcard
        ? removed
        : removed.filter((name) => subscription.names.has(name));
      if (wanted.length + gone.length === 0) return [];
      return [this.#answer(type, subscription, wanted, gone)];
    });
  }

  #subscribe(type: WireType, request: DeltaDiscoveryRequest): Turn {
    const { resourceNamesSubscribe: asked, resourceNamesUnsubscribe: given } = request;
    // Both lists with everything: nothing yet. Both empty: everything (behaviour.md 3.3).
    const isWildcard = given.includes(EVERYTHING)
      ? false
      : asked.length === 0 || asked.includes(EVERYTHING);
    const subscription: Subscription = { isWildcard, names: new Set(), nonces: new Set() };
    this.#subscriptions.set(type, subscription);
    const known = new Map(Object.entries(request.initialResourceVersions));
    const heard: Heard = { kind: "subscribed", type, isWildcard, known: known.size };
    if (isWildcard) return { heard, answers: [this.#everything(type, subscription, known)] };
    const names = new Set([...asked, ...known.keys()]);
    for (const name of [EVERYTHING, ...given]) names.delete(name);
    return { heard, answers: [this.#named(type, subscription, [...names], known)] };
  }

  /** What the client has in this version is not sent again, and what it has and we do not is gone. */
  #everything(
    type: WireType,
    subscription: Subscription,
    known: ReadonlyMap<string, string>,
  ): WireAnswer {
    const all = this.#directory.mesh[type];
    const resources = [...all.values()].filter((resource) => !isKnown(known, resource));
    const removed = [...known.keys()].filter((name) => !all.has(name));
    return this.#answer(type, subscription, resources, removed);
  }

  /** Under their own names, whatever they were asked for by; a key that nothing has is removed. */
  #named(
    type: WireType,
    subscription: Subscription,
    keys: readonly string[],
    known: ReadonlyMap<string, string> = new Map(),
  ): WireAnswer {
    const found = new Map<string, WireResource>();
    const removed: string[] = [];
    for (const key of keys) {
      subscription.names.add(key);
      const resources = this.#directory.lookUp(type, key);
      if (resources.length === 0) removed.push(key);
      for (const resource of resources) found.set(resource.name, resource);
    }
    // Whatever runs on the client's own node will be asked for anyway.
    for (const resource of this.#directory.onNode(type, this.#node)) {
      if (!subscription.names.has(resource.name)) found.set(resource.name, resource);
    }
    for (const name of found.keys()) subscription.names.add(name);
    const fresh = [...found.values()].filter((resource) => !isKnown(known, resource));
    return this.#answer(type, subscription, fresh, removed);
  }

  #isWanted({ isWildcard, names }: Subscription, resource: WireResource): boolean {
    if (isWildcard) return true;
    const isWanted = names.has(resource.name) ||
      resource.aliases.some((alias) => names.has(alias)) ||
      resource.services.some((service) => names.has(service)) ||
      (this.#node !== "" && resource.node === this.#node);
    if (isWanted) names.add(resource.name);
    return isWanted;
  }

  #answer(
    type: WireType,
    subscription: Subscription,
    resources: readonly WireResource[],
    removed: readonly string[],
  ): WireAnswer {
    const nonce = `${type}-${++this.#noncesCount}`;
    subscription.nonces.add(nonce);
    return { type, nonce, resources, removed };
  }
}

function hearAnswer(
  type: WireType,
  { nonces }: Subscription,
  { responseNonce: nonce, errorDetail }: DeltaDiscoveryRequest,
): Heard {
  if (!nonces.delete(nonce)) return { kind: "stale", type, nonce };
  if (errorDetail === undefined) return { kind: "ack", type, nonce };
  return { kind: "nack", type, nonce, code: errorDetail.code, reason: errorDetail.message };
}

/** Policies have no version, so they are always sent again. */
function isKnown(known: ReadonlyMap<string, string>, { name, version }: WireResource): boolean {
  return version !== "" && known.get(name) === version;
}
