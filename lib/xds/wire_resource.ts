import { bytesTag, type Cursor } from "#mesh";

/** One resource. Its payload is a view of what arrived, good until the reader's next `release`. */
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

/** Fields of Resource and Any (behaviour.md, appendix A). */
export const RESOURCE = { version: 1, resource: 2, name: 3, aliases: 4 } as const;
const ANY = { typeUrl: 1, value: 2 } as const;

/**
 * What the cursor is over, and of what type it says that it is; that is not looked at where it is known (`isTyped`). A
 * payload that cannot be read costs the resource its payload only: its name stands behind it.
 */
export function resourceOf(
  cursor: Cursor,
  isTyped: boolean,
): { readonly resource: WireResource; readonly innerType: string } {
  const { end } = cursor;
  let [name, version, innerType] = ["", "", ""];
  let any: { readonly from: number; readonly to: number } | undefined;
  let payload: Uint8Array | undefined;
  let malformed: string | undefined;
  let aliases: string[] | undefined;
  try {
    for (let tag = cursor.tag(end); tag !== 0; tag = cursor.tag(end)) {
      if (tag === bytesTag(RESOURCE.name)) name = cursor.text();
      else if (tag === bytesTag(RESOURCE.version)) version = cursor.text();
      else if (tag === bytesTag(RESOURCE.aliases)) (aliases ??= []).push(cursor.text());
      else if (tag === bytesTag(RESOURCE.resource)) {
        const to = cursor.length();
        any = { from: cursor.at, to };
        cursor.at = to;
      } else cursor.skip(tag);
    }
    if (any !== undefined) {
      cursor.at = any.from;
      cursor.end = any.to;
      for (let tag = cursor.tag(any.to); tag !== 0; tag = cursor.tag(any.to)) {
        if (tag === bytesTag(ANY.value)) payload = cursor.bytes();
        else if (tag === bytesTag(ANY.typeUrl) && !isTyped) innerType = cursor.text();
        else cursor.skip(tag);
      }
      payload ??= new Uint8Array();
    }
  } catch (error) {
    payload = undefined;
    malformed = error instanceof Error ? error.message : String(error);
  }
  return { resource: { name, version, aliases: aliases ?? NONE, payload, malformed }, innerType };
}

const NONE: readonly string[] = [];
