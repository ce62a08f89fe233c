import { bytesTag, Cursor } from "./cursor.ts";
import { readPolicy } from "./read_policy.ts";
import { readService } from "./read_service.ts";
import { readWorkload } from "./read_workload.ts";
import type { Policy, Service, Workload } from "./types.ts";
import { type Decoded, decoded, reject } from "./wire_shared.ts";

/** A workload or a service, and the part of the message that is its own. */
export type AddressBytes =
  | { readonly workload: Workload; readonly body: Uint8Array }
  | { readonly service: Service; readonly body: Uint8Array };

/** The resource of the subscription, straight from its bytes; total. Address: workload = 1, service = 2. */
export function decodeAddressBytes(bytes: Uint8Array): Decoded<AddressBytes> {
  return decoded(() => {
    const cursor = new Cursor(bytes);
    let read: AddressBytes | undefined;
    for (let tag = cursor.tag(cursor.end); tag !== 0; tag = cursor.tag(cursor.end)) {
      if (tag !== bytesTag(1) && tag !== bytesTag(2)) {
        cursor.skip(tag);
        continue;
      }
      const end = cursor.length();
      const body = bytes.subarray(cursor.at, end);
      read = tag === bytesTag(1)
        ? { workload: readWorkload(cursor, end, false), body }
        : { service: readService(cursor, end, false), body };
    }
    return read ?? reject("neither a workload nor a service");
  });
}

/** `key`: the xDS resource name, by which policies are known (behaviour.md 3.5). Total. */
export function decodePolicyBytes(key: string, bytes: Uint8Array): Decoded<Policy> {
  return decoded(() => readPolicy(new Cursor(bytes), bytes.length, key, false));
}
