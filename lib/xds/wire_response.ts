/**
 * A response of istiod, walked where it lies. The first one has the whole mesh (28 MB for 100,000 workloads), so no
 * message objects are made of it: a resource at a time is enough.
 */
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";

/** One resource. Its payload is a view of the response. */
export interface WireResource {
  readonly name: string;
  readonly version: string;
  /** Other names that it may have been asked for by. */
  readonly aliases: readonly string[];
  /** The resource's own message; undefined if there is none. */
  readonly payload: Uint8Array | undefined;
  /** Why it cannot be read; then the fields above are those that could. */
  readonly malformed: string | undefined;
}

export interface WireResponse {
  readonly typeUrl: string;
  readonly nonce: string;
  readonly removed: readonly string[];
  /** In their order. */
  readonly resources: Iterable<WireResource>;
}

/** Fields of DeltaDiscoveryResponse, Resource and Any (behaviour.md, appendix A). */
const RESPONSE = { resources: 2, typeUrl: 4, nonce: 5, removed: 6 } as const;
const RESOURCE = { version: 1, resource: 2, name: 3, aliases: 4 } as const;
const ANY_VALUE = 2;

/** Throws an Error if the bytes are no response at all. */
export function readResponse(bytes: Uint8Array): WireResponse {
  const removed: string[] = [];
  let [typeUrl, nonce] = ["", ""];
  for (const { field, reader } of fieldsOf(bytes)) {
    if (field === RESPONSE.typeUrl) typeUrl = reader.string(true);
    else if (field === RESPONSE.nonce) nonce = reader.string(true);
    else if (field === RESPONSE.removed) removed.push(reader.string(true));
    else skipBytes(reader);
  }
  return { typeUrl, nonce, removed, resources: { [Symbol.iterator]: () => resourcesIn(bytes) } };
}

function* resourcesIn(bytes: Uint8Array): Generator<WireResource> {
  for (const { field, reader } of fieldsOf(bytes)) {
    if (field === RESPONSE.resources) yield resourceOf(reader.bytes());
    else skipBytes(reader);
  }
}

/** A payload that cannot be read costs the resource its payload only: its name stands behind it. */
function resourceOf(bytes: Uint8Array): WireResource {
  let [name, version] = ["", ""];
  let any: Uint8Array | undefined;
  let payload: Uint8Array | undefined;
  let malformed: string | undefined;
  const aliases: string[] = [];
  try {
    for (const { field, reader } of fieldsOf(bytes)) {
      if (field === RESOURCE.name) name = reader.string(true);
      else if (field === RESOURCE.version) version = reader.string(true);
      else if (field === RESOURCE.aliases) aliases.push(reader.string(true));
      else if (field === RESOURCE.resource) any = reader.bytes();
      else skipBytes(reader);
    }
    payload = any && anyValueOf(any);
  } catch (error) {
    malformed = error instanceof Error ? error.message : String(error);
  }
  return { name, version, aliases, payload, malformed };
}

function anyValueOf(bytes: Uint8Array): Uint8Array {
  let value: Uint8Array = new Uint8Array();
  for (const { field, reader } of fieldsOf(bytes)) {
    if (field === ANY_VALUE) value = reader.bytes();
    else skipBytes(reader);
  }
  return value;
}

interface Field {
  readonly field: number;
  /** Stands at the value, which is length-delimited and must be read. */
  readonly reader: BinaryReader;
}

/** The length-delimited fields of a message; others mean nothing in the messages that are read here. */
function* fieldsOf(bytes: Uint8Array): Generator<Field> {
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (wireType === WireType.LengthDelimited) yield { field, reader };
    else reader.skip(wireType, field);
  }
}

function skipBytes(reader: BinaryReader): void {
  const length = reader.uint32();
  if (length > reader.len - reader.pos) throw new RangeError("premature EOF");
  reader.pos += length;
}
