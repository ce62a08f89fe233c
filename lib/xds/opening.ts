import { toBinary } from "@bufbuild/protobuf";
import { type DeltaDiscoveryRequest, DeltaDiscoveryRequestSchema } from "#proto/xds_pb.ts";
import type { VersionBook } from "./version_book.ts";

/** What is said first on a stream. */
export interface Opening {
  readonly request: DeltaDiscoveryRequest;
  /** What we hold, which the request has to list. As an object it would be 110,000 texts, made and read in one turn. */
  readonly held?: VersionBook;
}

/** `initial_resource_versions` = 5, a map. */
const HELD_FIELD = 5;

/** The message, in pieces between which others may have their turn; the book must not change meanwhile. */
export function* bytesOf({ request, held }: Opening): Generator<Uint8Array> {
  yield toBinary(DeltaDiscoveryRequestSchema, request);
  if (held !== undefined) yield* held.mapEntries(HELD_FIELD);
}
