/**
 * What a data thread asks control for where addresses are fetched only when somebody needs them (behaviour.md 3.8).
 *
 * `want` is posted once per name however many connections wait. Control always answers, within the control plane's own
 * limit, so that nobody waits for ever.
 */
export class Addresses {
  readonly #waiters = new Map<string, PromiseWithResolvers<boolean>>();

  constructor(private readonly want: (name: string) => void) {}

  /**
   * Resolves when the control plane has said what it knows of `network/ip`, a uid or `namespace/hostname`: look again, it
   * may still be unknown. To false if it did not answer in time. Never rejects.
   */
  ask(name: string): Promise<boolean> {
    let waiter = this.#waiters.get(name);
    if (waiter === undefined) {
      waiter = Promise.withResolvers<boolean>();
      this.#waiters.set(name, waiter);
      this.want(name);
    }
    return waiter.promise;
  }

  /** The next `ask` is a new question. */
  answered(name: string, isAnswered: boolean): void {
    this.#waiters.get(name)?.resolve(isAnswered);
    this.#waiters.delete(name);
  }
}
