import { type Pace, Slices } from "#system";
import { configDump, type DumpSources } from "./config_dump.ts";
import type { HttpAnswer } from "./http_server.ts";
import { ADMIN_LIMITS } from "./limits.ts";

/** Answers `/config_dump` (behaviour.md 14.3), so that many who ask at once cost everybody else no more than one. */
export class Dumps {
  /** Not yet written to their end, and their client is still there. */
  #count = 0;
  readonly #slices: Slices;
  #resting: Promise<void> | undefined;

  constructor(private readonly sources: DumpSources, pace: Pace) {
    this.#slices = new Slices(pace);
  }

  async answer(): Promise<HttpAnswer> {
    if (this.#count >= ADMIN_LIMITS.dumpsMax) {
      const body = `too many dumps at once, at most ${ADMIN_LIMITS.dumpsMax}\n`;
      return { status: 503, headers: { "Retry-After": "1" }, body };
    }
    this.#count++;
    try {
      const body = this.#untilOver(await configDump(this.sources, () => this.#pause()));
      return { status: 200, contentType: "application/json", body };
    } catch (error) {
      this.#count--;
      throw error;
    }
  }

  /** All dumps share one slice, and rest together. */
  async #pause(): Promise<void> {
    if (!this.#slices.isOver) return;
    this.#resting ??= this.#slices.rest().finally(() => this.#resting = undefined);
    await this.#resting;
  }

  async *#untilOver(pieces: AsyncIterable<string>): AsyncGenerator<string> {
    try {
      yield* pieces;
    } finally {
      this.#count--;
    }
  }
}
