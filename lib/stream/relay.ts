import type { Failure } from "#values";
import type { ByteStream } from "./byte_stream.ts";

/** Counts bytes as they are accepted by the other side; `received` is downstream to upstream (behaviour.md 13.3). */
export interface Meter {
  received(bytes: number): void;
  sent(bytes: number): void;
}

export interface RelayOptions {
  readonly downstream: ByteStream;
  readonly upstream: ByteStream;
  readonly meter: Meter;
  /** Aborting ends both streams at once; its reason is a Failure, which becomes the result. */
  readonly revoked: AbortSignal;
}

export function relay(_options: RelayOptions): Promise<Failure | undefined> {
  throw new Error("not written");
}
