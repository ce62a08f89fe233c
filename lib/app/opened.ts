import type { Component, InstanceSpec } from "#link";
import type { FdLedger, LinuxKernel, SharedAcceptor } from "#linux";
import type { InstanceOptions } from "#proxy";

/** A spec without file descriptors: those are made per thread. */
export type InstanceOrder = Pick<InstanceSpec, "kind" | "info">;

/** An instance that is meant to be open on every thread, with what control keeps of it. */
export class Opened {
  /** Listening sockets that all threads share, each by a descriptor of its own. */
  readonly #shared = new Map<Component, SharedAcceptor>();

  /** `netnsFd` is lent until `close`. */
  constructor(
    readonly id: number,
    readonly order: InstanceOrder,
    private readonly netnsFd: number | undefined,
  ) {}

  /** Binds all `listeners`, once for all threads: a busy port is an error. Throws a ListenError with none of them bound. */
  share(kernel: LinuxKernel, listeners: InstanceOptions["listeners"]): void {
    try {
      for (const [component, options] of Object.entries(listeners)) {
        this.#shared.set(component as Component, kernel.listen(options));
      }
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** For one thread, whose ledger has all descriptors in it. Throws a ListenError or CallError when there are none left. */
  specFor(ledger: FdLedger): InstanceSpec {
    const listenerFds: Partial<Record<Component, number>> = {};
    try {
      for (const [component, acceptor] of this.#shared) {
        listenerFds[component] = acceptor.duplicate();
        ledger.add(listenerFds[component]);
      }
      return {
        ...this.order,
        ...(this.netnsFd === undefined ? {} : { netnsFd: ledger.lend(this.netnsFd) }),
        ...(this.#shared.size === 0 ? {} : { listenerFds }),
      };
    } catch (error) {
      // It is tried again and again: each time would leave some behind, when they are scarce already.
      for (const fd of Object.values(listenerFds)) ledger.recall(fd);
      throw error;
    }
  }

  /** No connection comes any more, once the threads have closed theirs too. */
  close(): void {
    for (const acceptor of this.#shared.values()) acceptor.close();
    this.#shared.clear();
  }
}
