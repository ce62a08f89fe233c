/**
 * Which certificates a node will need, and which it needs no more (behaviour.md 9.6; shared mode).
 * @module
 */
import { SpiffeId } from "#values";

/** What counts of a workload here; the mesh's own records have it. */
export interface LocalRecord {
  readonly trustDomain: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly node: string;
  readonly protocol: "HBONE" | "TCP";
  readonly nativeTunnel: boolean;
}

/** A pod as its node knows it. */
export interface PodNames {
  readonly namespace: string;
  readonly serviceAccount: string;
}

export interface PrefetchOptions {
  /** NODE_NAME; without it nothing is fetched ahead, because everybody would count. */
  readonly localNode: string | undefined;
  /** Fetches a certificate that nobody waits for yet. */
  readonly want: (identity: SpiffeId) => void;
  /** Nobody here has this identity any more. */
  readonly forget: (identity: SpiffeId) => void;
  /** Ours, which is never forgotten. */
  readonly own?: SpiffeId | undefined;
}

/**
 * Fetches certificates of this node's workloads before their first connection, and forgets an identity when neither a
 * workload of the node nor a running pod has its namespace and service account. The trust domain does not count for that
 * (18.25): it is the mesh's, the rest is the node's.
 */
export class Prefetch {
  /** Workloads of this node, by uid, with the account they have. */
  readonly #workloads = new Map<string, Account>();
  /** How many workloads and pods have an account. */
  readonly #users = new Map<Account, number>();
  /** What was fetched for an account. */
  readonly #identities = new Map<Account, Set<SpiffeId>>();

  constructor(private readonly options: PrefetchOptions) {}

  /** After a commit: `uids` are those of this node that came, went or changed, `find` is how they are now. */
  changed(uids: readonly string[], find: (uid: string) => LocalRecord | undefined): void {
    const left: Account[] = [];
    for (const uid of uids) {
      const before = this.#workloads.get(uid);
      const record = find(uid);
      const after = record !== undefined && this.#isOurs(record) ? accountOf(record) : undefined;
      // A new user before an old one goes, so that a mere change forgets nothing.
      if (after !== undefined) {
        this.#workloads.set(uid, after);
        this.#use(after);
      } else this.#workloads.delete(uid);
      if (before !== undefined) left.push(before);
      if (record !== undefined && after !== undefined) this.#fetchAhead(record);
    }
    for (const account of left) this.#leave(account);
  }

  /** A pod's proxy runs from now on; as often as it ends. */
  opened(pod: PodNames): void {
    this.#use(accountOf(pod));
  }

  closed(pod: PodNames): void {
    this.#leave(accountOf(pod));
  }

  /** Somebody asked for a certificate: it goes with the last user of its account. */
  wanted(identity: SpiffeId): void {
    const account = accountOf(SpiffeId.parts(identity));
    const identities = this.#identities.get(account);
    if (identities === undefined) this.#identities.set(account, new Set([identity]));
    else identities.add(identity);
  }

  #isOurs({ node }: LocalRecord): boolean {
    const { localNode } = this.options;
    return localNode !== undefined && node === localNode;
  }

  #fetchAhead(record: LocalRecord): void {
    if (record.protocol !== "HBONE" && !record.nativeTunnel) return;
    const { trustDomain, namespace, serviceAccount } = record;
    const identity = SpiffeId.of(trustDomain, namespace, serviceAccount);
    this.wanted(identity);
    this.options.want(identity);
  }

  #use(account: Account): void {
    this.#users.set(account, (this.#users.get(account) ?? 0) + 1);
  }

  #leave(account: Account): void {
    const left = (this.#users.get(account) ?? 0) - 1;
    if (left > 0) return void this.#users.set(account, left);
    this.#users.delete(account);
    const identities = this.#identities.get(account) ?? [];
    this.#identities.delete(account);
    for (const identity of identities) {
      if (identity !== this.options.own) this.options.forget(identity);
    }
  }
}

/** Namespace and service account; neither can have a slash. */
type Account = `${string}/${string}`;

function accountOf({ namespace, serviceAccount }: PodNames): Account {
  return `${namespace}/${serviceAccount}`;
}
