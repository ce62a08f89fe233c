import type { Clock } from "#system";
import { RuntimeProbe } from "./runtime_probe.ts";

/** How often a socket is looked at; a stalled listener is noticed after two looks. */
const CHECK_MS = 1000;

/**
 * For what the runtime does not tell of its sockets. One timer for all that are watched, and none while there are none; it
 * does not keep the process alive.
 */
export class SocketWatch {
  readonly #checks = new Map<object, () => void>();
  #ticking = false;

  /** `probe`: what of the runtime's sockets can be used, which every stream asks too. */
  constructor(private readonly clock: Clock, readonly probe: RuntimeProbe = new RuntimeProbe()) {}

  add(owner: object, check: () => void): void {
    this.#checks.set(owner, check);
    this.#tick();
  }

  remove(owner: object): void {
    this.#checks.delete(owner);
  }

  #tick(): void {
    if (this.#ticking || this.#checks.size === 0) return;
    this.#ticking = true;
    this.clock.after(CHECK_MS, () => {
      this.#ticking = false;
      for (const check of this.#checks.values()) check();
      this.#tick();
    }, { background: true });
  }
}
