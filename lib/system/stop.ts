/**
 * What of an AbortSignal those read who have to stop. The platform's own is one; `Stop` makes one that costs a tenth of
 * it, for each connection has several.
 */
export interface StopSignal {
  readonly aborted: boolean;
  /** What `abort` was called with. */
  readonly reason: unknown;
  /** `act` is called when it aborts, once. */
  addEventListener(type: "abort", act: () => void): void;
  removeEventListener(type: "abort", act: () => void): void;
}

/** As an AbortController, and its signal at once. */
export class Stop implements StopSignal {
  aborted = false;
  reason: unknown;
  /** Mostly none or one. */
  #acts: (() => void)[] | undefined;

  get signal(): StopSignal {
    return this;
  }

  /** The second call does nothing. */
  abort(reason?: unknown): void {
    if (this.aborted) return;
    this.aborted = true;
    this.reason = reason;
    const acts = this.#acts ?? [];
    this.#acts = undefined;
    for (const act of acts) act();
  }

  addEventListener(_type: "abort", act: () => void): void {
    if (this.aborted) return;
    if (this.#acts === undefined) this.#acts = [act];
    else if (!this.#acts.includes(act)) this.#acts.push(act);
  }

  removeEventListener(_type: "abort", act: () => void): void {
    const at = this.#acts?.indexOf(act) ?? -1;
    if (at >= 0) this.#acts!.splice(at, 1);
  }
}
