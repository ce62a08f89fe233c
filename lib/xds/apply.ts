import type { Commit, MeshWriter } from "#mesh";
import type { Clock } from "#system";
import type { Push } from "./session.ts";
import type { WireResponse } from "./wire_response.ts";

export interface ApplyOptions {
  readonly writer: MeshWriter;
  readonly clock: Clock;
  readonly onCommit: (commit: Commit) => void;
  /** What is not done when it aborts is left, and the rest of a slice is not committed. */
  readonly stop: AbortSignal;
}

/** Between two slices readiness, admin and the CNI get their turn. */
const SLICE_MS = 4;
/** The clock is looked at so seldom: a resource takes some 10 us. */
const RESOURCES_PER_LOOK = 16;

/**
 * Writes a response into the mesh, upserts first and in order (behaviour.md 3.4), slice by slice. Addresses are seen
 * slice by slice too, and removals with the last one; the policies of a response are one commit, because half of them
 * could allow what the whole forbids. False if it was stopped.
 */
export async function apply(
  response: WireResponse,
  push: Push,
  { writer, clock, onCommit, stop }: ApplyOptions,
): Promise<boolean> {
  let sliceEndMs = clock.monotonicMs() + SLICE_MS;
  let takenCount = 0;
  let writtenCount = 0;
  const commit = () => {
    if (writtenCount > 0) onCommit(writer.commit());
    writtenCount = 0;
  };
  for (const resource of response.resources) {
    const change = push.take(resource);
    if (change !== undefined) {
      const rejected = push.type === "address"
        ? writer.upsertAddressBytes(change.bytes)
        : writer.upsertAuthorizationBytes(change.name, change.bytes);
      if (rejected === undefined) {
        push.accept(resource);
        writtenCount++;
      } else push.reject(resource, rejected);
    }
    if (++takenCount % RESOURCES_PER_LOOK !== 0 || clock.monotonicMs() < sliceEndMs) continue;
    if (push.type === "address") commit();
    await clock.sleep(0, stop);
    if (stop.aborted) return false;
    sliceEndMs = clock.monotonicMs() + SLICE_MS;
  }
  for (const name of push.removals()) {
    const isGone = push.type === "address" ? writer.removeAddress(name) : writer.removePolicy(name);
    if (isGone) writtenCount++;
  }
  commit();
  return true;
}
