/**
 * The lists in force in one thread, and the live connections that a new list may end (behaviour.md 9.8).
 * @module
 */
import type { Clock } from "#system";
import { RevocationLists } from "./crl.ts";
import { CertificateError } from "./error.ts";
import { type PackedList, packLists } from "./packed_crl.ts";
import type { RevocationCheck } from "./types.ts";

/** Between two slices of a look at all chains the thread serves its connections; one chain takes some 50 us. */
const SLICE_MS = 4;

/** A connection below the lists: disposed when it is over. */
interface Live {
  readonly peer: "client" | "server";
  readonly end: () => void;
}

/** Live connections with one and the same verified path. */
interface Chain {
  /** Leaf, intermediates, root. */
  readonly path: readonly Uint8Array[];
  readonly connections: Set<Live>;
}

export interface RevocationsOptions {
  readonly clock: Clock;
  /** Somebody with a revoked certificate was refused, or a live connection with one was ended: what the peer was to us. */
  readonly onRevoked: (peer: "client" | "server") => void;
}

/** Judges handshakes by the newest lists, and live connections again whenever new lists come. */
export class Revocations implements RevocationCheck {
  #lists = new RevocationLists([]);
  /** By leaf, so that a peer with a thousand connections is looked at once. */
  readonly #chains = new Map<string, Chain>();
  #loading: Promise<number> = Promise.resolve(0);

  /** Lists from their file, for any number of threads to `load`; a slice at a time. */
  static readonly pack = packLists;

  constructor(private readonly options: RevocationsOptions) {}

  check(path: readonly Uint8Array[]): void {
    this.#lists.check(path);
  }

  refused(peer: "client" | "server"): void {
    this.options.onRevoked(peer);
  }

  follow(path: readonly Uint8Array[], peer: "client" | "server", end: () => void): Disposable {
    const key = path.map((der) => der.toBase64()).join(" ");
    let chain = this.#chains.get(key);
    if (chain === undefined) this.#chains.set(key, chain = { path, connections: new Set() });
    const live: Live = { peer, end };
    const { connections } = chain;
    connections.add(live);
    return {
      [Symbol.dispose]: () => {
        connections.delete(live);
        if (connections.size === 0 && this.#chains.get(key)?.connections === connections) {
          this.#chains.delete(key);
        }
      },
    };
  }

  /**
   * From now on handshakes are judged by these lists; live connections are judged again, as of now, whatever has expired
   * meanwhile. Resolves to how many were ended.
   */
  load(lists: readonly PackedList[]): Promise<number> {
    this.#lists = new RevocationLists(lists);
    const recheck = () => this.#recheck();
    // Whatever went wrong with the lists before.
    return this.#loading = this.#loading.then(recheck, recheck);
  }

  async #recheck(): Promise<number> {
    const { clock } = this.options;
    let endedCount = 0;
    let sliceEndMs = clock.monotonicMs() + SLICE_MS;
    for (const [key, chain] of [...this.#chains]) {
      if (this.#isRevoked(chain.path)) {
        this.#chains.delete(key);
        for (const { peer, end } of [...chain.connections]) {
          endedCount++;
          this.options.onRevoked(peer);
          end();
        }
      }
      if (clock.monotonicMs() < sliceEndMs) continue;
      await clock.sleep(0);
      sliceEndMs = clock.monotonicMs() + SLICE_MS;
    }
    return endedCount;
  }

  #isRevoked(path: readonly Uint8Array[]): boolean {
    try {
      this.#lists.check(path);
      return false;
    } catch (error) {
      if (error instanceof CertificateError) return true;
      throw error;
    }
  }
}
