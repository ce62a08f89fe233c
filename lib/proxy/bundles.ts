import type { CertBundle } from "#tls";
import { Refusal, type SpiffeId } from "#values";

/**
 * A data thread's certificates: what control has sent, and who waits for what it has not.
 *
 * `want` is posted once per identity however many connections wait; control answers with the bundle or the reason
 * (ARCHITECTURE.md, "Side roads"). A renewed bundle replaces the old one for the next handshake; live ones stay.
 */
export class Bundles {
  readonly #bundles = new Map<SpiffeId, CertBundle>();
  readonly #waiters = new Map<SpiffeId, PromiseWithResolvers<CertBundle>>();

  constructor(private readonly want: (identity: SpiffeId) => void) {}

  /** The certificate of `identity`; rejects with a Refusal (identity). */
  get(identity: SpiffeId): Promise<CertBundle> {
    const bundle = this.#bundles.get(identity);
    if (bundle !== undefined) return Promise.resolve(bundle);
    let waiter = this.#waiters.get(identity);
    if (waiter === undefined) {
      waiter = Promise.withResolvers<CertBundle>();
      this.#waiters.set(identity, waiter);
      this.want(identity);
    }
    return waiter.promise;
  }

  store(bundle: CertBundle): void {
    this.#bundles.set(bundle.identity, bundle);
    this.#take(bundle.identity)?.resolve(bundle);
  }

  /**
   * There is none that is valid: one that was stored has ended. The next `get` asks again: control knows when to try and
   * when to repeat its reason.
   */
  failed(identity: SpiffeId, cause: string): void {
    this.#bundles.delete(identity);
    this.#take(identity)?.reject(new Refusal({ kind: "identity", cause }));
  }

  /** Nobody here has this identity any more; whoever waits for it still gets an answer. */
  forget(identity: SpiffeId): void {
    this.#bundles.delete(identity);
  }

  #take(identity: SpiffeId): PromiseWithResolvers<CertBundle> | undefined {
    const waiter = this.#waiters.get(identity);
    this.#waiters.delete(identity);
    return waiter;
  }
}
