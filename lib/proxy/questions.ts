import { missingAddress } from "#route";
import type { Ip } from "#values";
import { PROXY_LIMITS, type ProxyParts } from "./parts.ts";

/** What one connection makes us ask the control plane for (behaviour.md 3.8); nothing, where it sends everything anyway. */
export class Questions {
  readonly #answered: Set<string> | undefined;

  constructor(
    private readonly parts: Pick<ProxyParts, "addresses" | "clock" | "settings" | "view">,
  ) {
    this.#answered = parts.settings.onDemand ? new Set() : undefined;
  }

  /** For the next decision: names that need not be asked for again; undefined where nothing is asked for. */
  get answered(): ReadonlySet<string> | undefined {
    return this.#answered;
  }

  /** Whether it was answered, so that the decision can be made again. */
  async ask(name: string): Promise<boolean> {
    if (this.#answered === undefined || this.#answered.size >= PROXY_LIMITS.asksMax) return false;
    this.#answered.add(name);
    return await this.parts.addresses.ask(name);
  }

  /** Fetches who has a peer's address, for labels only: briefly, and whatever comes of it. */
  async askForLabels(ip: Ip): Promise<void> {
    const { view, settings, addresses, clock } = this.parts;
    const name = missingAddress(view, this.answered, settings.network, ip);
    if (name === undefined) return;
    const stop = new AbortController();
    await Promise.race([
      addresses.ask(name),
      clock.sleep(PROXY_LIMITS.attributionWaitMs, stop.signal),
    ]);
    stop.abort();
  }
}
