/** XDS_HEADER_* and CA_HEADER_*: gRPC metadata of every request (behaviour.md 3.1). */
import { type Reader } from "./reader.ts";
import type { Family } from "./variables.ts";

/** What gRPC's ASCII metadata can carry; keys that end in -bin would be taken as base64. */
const KEY = /^[0-9a-z_.-]+$/;
const VALUE = /^[\x20-\x7e]*$/;

export function familyHeaders(
  reader: Reader,
  family: Family,
): readonly (readonly [string, string])[] {
  return reader.family(family).flatMap(([suffix, value]): (readonly [string, string])[] => {
    const key = suffix.toLowerCase();
    const refuse = (reason: string) =>
      reader.refuseNamed({ variable: `${family.prefix}${suffix}`, value: "(hidden)", reason });
    if (!KEY.test(key) || key.startsWith("grpc-") || key.endsWith("-bin")) {
      refuse("the part after the prefix cannot be the name of a header");
      return [];
    }
    if (!VALUE.test(value)) {
      refuse("the value has characters that a header cannot carry");
      return [];
    }
    return [[key, value]];
  });
}
