import type { Commit, MeshWriter } from "#mesh";
import type { Push } from "./session.ts";
import { type Pace, SLICE_MS, Slices } from "#system";
import type { WireResource } from "./wire_resource.ts";
import type { ResponseReader } from "./wire_response.ts";

export interface ApplyOptions extends Pace {
  readonly writer: MeshWriter;
  /** With how many resources were written or removed for it, those included that said what was known. */
  readonly onCommit: (commit: Commit, resourcesCount: number) => void;
  /** What is not done when it aborts is left, and the rest of a slice is not committed. */
  readonly stop: AbortSignal;
}

/** The clock is looked at so seldom: a resource takes some 10 us. */
const RESOURCES_PER_LOOK = 16;
/**
 * Addresses are committed so many at a time, and told once per slice: what waits for a commit outlives the collector's
 * young generation, and 100,000 of them would leave 50 MB of that behind.
 */
const RESOURCES_PER_COMMIT = 64;

/**
 * Writes a response into the mesh while it arrives, upserts first and in order (behaviour.md 3.4), slice by slice.
 * Addresses are seen slice by slice too, and removals after them; the policies of a response are one commit,
 * because half of them could allow what the whole forbids. False if it was stopped.
 *
 * Rejects with what the response rejects with. What came of addresses before that is kept and known by its version: each
 * is whole; of policies nothing is kept.
 */
export async function apply(
  response: ResponseReader,
  push: Push,
  options: ApplyOptions,
): Promise<boolean> {
  const work = new Work(response, push, options);
  let isWhole = false;
  try {
    isWhole = await work.takeAll();
    return isWhole;
  } finally {
    if (!isWhole) work.leave();
  }
}

class Work {
  readonly #slices: Slices;
  #takenCount = 0;
  #writtenCount = 0;
  /** What was committed in this slice. */
  #untold: Commit | undefined;
  #untoldCount = 0;
  /** A commit failed: the mesh does not have what was to be in it. */
  #isFull = false;

  constructor(
    private readonly response: ResponseReader,
    private readonly push: Push,
    private readonly options: ApplyOptions,
  ) {
    this.#slices = new Slices(options);
  }

  async takeAll(): Promise<boolean> {
    const { response, push } = this;
    const { stop } = this.options;
    for (;;) {
      const resource = response.take();
      if (resource === undefined) {
        if (response.isTight) this.#endSlice();
        if (!await this.#more()) break;
        if (stop.aborted) return false;
        continue;
      }
      this.#write(resource);
      if (this.#isSliceOver() && !await this.#rest()) return false;
    }
    for (const name of push.removals()) {
      this.#remove(name);
      if (this.#isSliceOver() && !await this.#rest()) return false;
    }
    this.#commit();
    return true;
  }

  /** A wait longer than a slice has an end only if the server goes on: whoever is to hear of what came hears it before. */
  async #more(): Promise<boolean> {
    const more = this.response.more();
    if (!this.#hasNews) return await more;
    let isLong = false;
    const { promise: long, resolve } = Promise.withResolvers<void>();
    const timer = this.options.clock.after(SLICE_MS, () => {
      isLong = true;
      resolve();
    });
    try {
      await Promise.race([more, long]);
    } finally {
      timer.cancel();
    }
    if (isLong && !this.options.stop.aborted) this.#endSlice();
    return await more;
  }

  /** Whether something was written that nobody was told of. Policies are told when the response is whole. */
  get #hasNews(): boolean {
    return this.push.type === "address" && (this.#untold !== undefined || this.#writtenCount > 0);
  }

  #isSliceOver(): boolean {
    return ++this.#takenCount % RESOURCES_PER_LOOK === 0 && this.#slices.isOver;
  }

  /** Lets others have their turn; false if we were stopped meanwhile. */
  async #rest(): Promise<boolean> {
    this.#endSlice();
    await this.#slices.rest();
    return !this.options.stop.aborted;
  }

  #remove(name: string): void {
    const { writer } = this.options;
    if (this.push.type !== "address") {
      if (writer.removePolicy(name)) this.#writtenCount++;
    } else if (writer.removeAddress(name)) this.#wrote();
  }

  /** The response will not be whole. */
  leave(): void {
    if (this.push.type === "address" && !this.options.stop.aborted) this.#commit();
    this.options.writer.discard();
  }

  #write(resource: WireResource): void {
    const { push } = this;
    const { writer } = this.options;
    const change = push.take(resource);
    if (change === undefined) return;
    const rejected = push.type === "address"
      ? writer.upsertAddressBytes(change.bytes)
      : writer.upsertAuthorizationBytes(change.name, change.bytes);
    if (rejected !== undefined) return push.reject(resource, rejected);
    push.accept(resource);
    this.#wrote();
  }

  #wrote(): void {
    this.#writtenCount++;
    if (this.push.type !== "address" || this.#writtenCount < RESOURCES_PER_COMMIT) return;
    this.#commitQuietly();
  }

  /** Nothing is lent after it: addresses are committed, and policies have been copied. */
  #endSlice(): void {
    if (this.push.type === "address") this.#commit();
    this.response.release();
  }

  #commit(): void {
    this.#commitQuietly();
    if (this.#untold === undefined) return;
    this.options.onCommit(this.#untold, this.#untoldCount);
    this.#untold = undefined;
    this.#untoldCount = 0;
  }

  #commitQuietly(): void {
    if (this.#isFull) return;
    if (this.#writtenCount > 0) this.#commitWritten();
    this.push.committed();
  }

  #commitWritten(): void {
    this.#isFull = true;
    const { epoch, policiesChanged, touched } = this.options.writer.commit();
    this.#isFull = false;
    this.#untoldCount += this.#writtenCount;
    this.#writtenCount = 0;
    const before = this.#untold;
    this.#untold = {
      epoch,
      policiesChanged: policiesChanged || before?.policiesChanged === true,
      touched: before === undefined ? touched : before.touched.concat(touched),
    };
  }
}
