/** What workloads, services and policies on the wire have in common. */
import { Cidr, Ip } from "#values";

/** What a resource means, or why it means nothing that we could use: one sentence for whoever sent it. */
export type Decoded<T> = { readonly value: T } | { readonly rejected: string };

/** Why a resource cannot be used; never leaves this room. */
class Rejection extends Error {
  override readonly name = "Rejection";
}

export function reject(reason: string): never {
  throw new Rejection(reason);
}

/** `convert`'s value, or the reason that it rejected with. */
export function decoded<T>(convert: () => T): Decoded<T> {
  try {
    return { value: convert() };
  } catch (error) {
    if (error instanceof Rejection) return { rejected: error.message };
    throw error;
  }
}

/**
 * What a resource on the wire may have of one kind, where a few bytes become an object of some hundred: an object of
 * Kubernetes, of 1.5 MB at most, has room for 45,000 matches of policies.
 */
const ELEMENTS_MAX = 65_536;

export function limitElements(count: number, field: string): void {
  if (count > ELEMENTS_MAX) reject(`more than ${ELEMENTS_MAX} ${field}`);
}

/** Longest piece of a sender's text in a reason: a reason goes back to the sender and into our log. */
const QUOTED_CHARS_MAX = 100;

export function quoted(text: string): string {
  return JSON.stringify(
    text.length > QUOTED_CHARS_MAX ? `${text.slice(0, QUOTED_CHARS_MAX)}…` : text,
  );
}

/** Numbers on the wire have 32 bits, ports have 16: the upper ones are dropped, as the reference does. */
export function portOf(wire: number): number {
  return wire & 0xffff;
}

/** Enums are open on the wire; what we do not know must not pass for something that we do. */
export function named<T>(names: Readonly<Record<number, T>>, value: number, field: string): T {
  return Object.hasOwn(names, value) ? names[value]! : reject(`unknown ${field} ${value}`);
}

export function ipOf(bytes: Uint8Array, field: string): Ip {
  return Ip.fromBytes(bytes) ??
    reject(`${field} of ${bytes.length} bytes, expected 4 or 16`);
}

/** A range; one of v4-mapped IPv6 addresses becomes the IPv4 range that it is. */
export function cidrOf(bytes: Uint8Array, prefixLength: number, field: string): Cidr {
  const base = ipOf(bytes, field);
  // Ip is canonical, so that 16 bytes may have become an IPv4 address, whose prefix is 96 bits shorter.
  const isMapped = bytes.length === 16 && Ip.family(base) === 4;
  return Cidr.of(base, isMapped ? prefixLength - 96 : prefixLength) ??
    reject(`${field} ${base} with an impossible prefix length ${prefixLength}`);
}

/** Namespaces and the like become segments of names with `/` between them: with its own `/` it would be another name. */
export function segment(text: string, field: string): string {
  return text.includes("/") ? reject(`${field} ${quoted(text)} contains "/"`) : text;
}
