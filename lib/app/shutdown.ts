/**
 * When to stop: signals and /quitquitquit (behaviour.md 14.8).
 *
 * Listens from its construction on; a signal that comes during the start is honoured after it.
 */
export class Shutdown {
  readonly #requested = Promise.withResolvers<string>();
  #interruptsCount = 0;
  /** What SIGHUP does. */
  onReload: () => void = () => {};

  constructor() {
    Deno.addSignalListener("SIGTERM", () => this.request("SIGTERM"));
    Deno.addSignalListener("SIGINT", () => {
      // Whoever presses Ctrl-C twice means it.
      if (++this.#interruptsCount > 1) Deno.exit(0);
      this.request("SIGINT");
    });
    Deno.addSignalListener("SIGHUP", () => this.onReload());
  }

  /** Resolves with who asked first. */
  get requested(): Promise<string> {
    return this.#requested.promise;
  }

  request(by: string): void {
    this.#requested.resolve(by);
  }
}
