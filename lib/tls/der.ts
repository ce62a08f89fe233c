/**
 * A strict reader of DER (X.690 section 10): whatever the bytes, it gives a value or a CertificateError, in
 * time linear in their number.
 * @module
 */
import { CertificateError } from "./error.ts";

/** One value: where it starts, where its content starts, and where it ends. */
export interface Tlv {
  readonly tag: number;
  readonly start: number;
  readonly body: number;
  readonly end: number;
}

export const Tag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** A certificate nests about ten deep; more is somebody playing. */
const DEPTH_MAX = 16;

const CONSTRUCTED = 0x20;
const CLASS_MASK = 0xc0;

/** The value at `at`, which must end by `limit`. Lengths must be definite and minimal, tags one byte. */
export function readTlv(bytes: Uint8Array, at: number, limit: number = bytes.length): Tlv {
  if (at + 2 > limit) throw malformed("ends in the middle of a value", at);
  const tag = bytes[at]!;
  if (tag === 0 || (tag & 0x1f) === 0x1f) throw malformed("has an unusable tag", at);
  let length = bytes[at + 1]!;
  let body = at + 2;
  if (length >= 0x80) {
    const digits = length & 0x7f;
    if (digits === 0 || digits > 4) throw malformed("has an unusable length", at);
    if (body + digits > limit) throw malformed("ends in the middle of a length", at);
    length = 0;
    for (let i = 0; i < digits; i++) length = length * 256 + bytes[body + i]!;
    if (length < 0x80 || length < 256 ** (digits - 1)) {
      throw new CertificateError("not_canonical", `length at byte ${at} is not minimal`);
    }
    body += digits;
  }
  const end = body + length;
  if (end > limit) throw malformed("has a value that is longer than what contains it", at);
  return { tag, start: at, body, end };
}

/** The values inside `outer`, which they must fill exactly. */
export function childrenOf(bytes: Uint8Array, outer: Tlv): Tlv[] {
  const children: Tlv[] = [];
  for (let at = outer.body; at < outer.end;) {
    const child = readTlv(bytes, at, outer.end);
    children.push(child);
    at = child.end;
  }
  return children;
}

/** The one value that `bytes` is. */
export function readWhole(bytes: Uint8Array): Tlv {
  const whole = readTlv(bytes, 0);
  if (whole.end !== bytes.length) {
    throw new CertificateError("not_canonical", `bytes follow the value that ends at ${whole.end}`);
  }
  return whole;
}

/** Holds everything below `outer` to the rules, also what nobody reads otherwise. */
export function assertStrict(bytes: Uint8Array, outer: Tlv, depth = 0): void {
  if (depth > DEPTH_MAX) throw malformed("is nested too deeply", outer.start);
  if (outer.tag & CONSTRUCTED) {
    for (const child of childrenOf(bytes, outer)) assertStrict(bytes, child, depth + 1);
  } else if ((outer.tag & CLASS_MASK) === 0) {
    assertPrimitive(bytes, outer);
  }
}

/** `value` if it has this tag. */
export function expectTag(value: Tlv | undefined, tag: number, what: string): Tlv {
  if (value === undefined) throw new CertificateError("malformed", `${what} is missing`);
  if (value.tag === tag) return value;
  throw malformed(`has tag 0x${value.tag.toString(16)} where ${what} should be`, value.start);
}

export const bodyOf = (bytes: Uint8Array, value: Tlv): Uint8Array =>
  bytes.subarray(value.body, value.end);
export const wholeOf = (bytes: Uint8Array, value: Tlv): Uint8Array =>
  bytes.subarray(value.start, value.end);

/** An INTEGER from 0 to 2^31 - 1. */
export function readSmallInteger(bytes: Uint8Array, value: Tlv, what: string): number {
  const body = bodyOf(bytes, expectTag(value, Tag.integer, what));
  if (body.length > 4 || body[0]! >= 0x80) throw malformed(`has an unusable ${what}`, value.start);
  return body.reduce((sum, byte) => sum * 256 + byte, 0);
}

export function readBoolean(bytes: Uint8Array, value: Tlv): boolean {
  assertPrimitive(bytes, expectTag(value, Tag.boolean, "a BOOLEAN"));
  return bytes[value.body] === 0xff;
}

/** Hex of an OBJECT IDENTIFIER's content, which is how we name them. */
export function readOid(bytes: Uint8Array, value: Tlv | undefined): string {
  return bodyOf(bytes, expectTag(value, Tag.oid, "an OBJECT IDENTIFIER")).toHex();
}

/** The content of a BIT STRING of whole bytes. */
export function readWholeBits(bytes: Uint8Array, value: Tlv | undefined, what: string): Uint8Array {
  const bits = expectTag(value, Tag.bitString, what);
  if (bits.end === bits.body) throw malformed(`has an empty ${what}`, bits.start);
  if (bytes[bits.body] !== 0) {
    throw new CertificateError("not_canonical", `${what} has unused bits`);
  }
  return bytes.subarray(bits.body + 1, bits.end);
}

/** Printable ASCII only, so that a name cannot carry control characters into a log line or a comparison. */
export function readPrintable(bytes: Uint8Array, value: Tlv, what: string): string {
  let text = "";
  for (const byte of bodyOf(bytes, value)) {
    if (byte < 0x20 || byte > 0x7e) {
      throw malformed(`has a ${what} with characters outside printable ASCII`, value.start);
    }
    text += String.fromCharCode(byte);
  }
  return text;
}

/** UTCTime or GeneralizedTime in the one form of RFC 5280 4.1.2.5 (Zulu, whole seconds), as Unix milliseconds. */
export function readTime(bytes: Uint8Array, value: Tlv | undefined): number {
  if (value === undefined) throw new CertificateError("malformed", "a time is missing");
  const text = readPrintable(bytes, value, "time");
  const digits = value.tag === Tag.utcTime
    ? (Number(text.slice(0, 2)) < 50 ? "20" : "19") + text
    : text;
  const known = value.tag === Tag.utcTime || value.tag === Tag.generalizedTime;
  if (!known || !/^\d{14}Z$/.test(digits)) throw malformed("has an unusable time", value.start);
  const [year, month, day, hour, minute, second] = [
    digits.slice(0, 4),
    ...digits.slice(4, 14).match(/../g)!,
  ].map(Number) as [number, number, number, number, number, number];
  const atMs = Date.UTC(year, month - 1, day, hour, minute, second);
  // Date.UTC rolls the 31st of February over, and takes two-digit years for 19xx: both differ when written back.
  const written = new Date(atMs).toISOString().replace(/[-:T]|\.\d+/g, "");
  if (written !== digits) throw malformed("has a time that does not exist", value.start);
  return atMs;
}

function assertPrimitive(bytes: Uint8Array, value: Tlv): void {
  const body = bodyOf(bytes, value);
  const first = body[0];
  switch (value.tag) {
    case Tag.boolean:
      if (body.length !== 1 || (first !== 0 && first !== 0xff)) {
        throw malformed("has an unusable BOOLEAN", value.start);
      }
      return;
    case Tag.integer:
      if (first === undefined) throw malformed("has an empty INTEGER", value.start);
      if (body.length > 1 && (first === 0 ? body[1]! < 0x80 : first === 0xff && body[1]! >= 0x80)) {
        throw new CertificateError(
          "not_canonical",
          `INTEGER at byte ${value.start} is not minimal`,
        );
      }
      return;
    case Tag.bitString: {
      const last = body[body.length - 1];
      if (first === undefined || first > 7 || (body.length === 1 && first > 0)) {
        throw malformed("has an unusable BIT STRING", value.start);
      }
      if (body.length > 1 && (last! & ((1 << first) - 1)) !== 0) {
        throw new CertificateError("not_canonical", `BIT STRING at byte ${value.start} is padded`);
      }
      return;
    }
    case Tag.oid:
      assertOid(body, value.start);
      return;
  }
}

function assertOid(body: Uint8Array, start: number): void {
  let fresh = true;
  for (const byte of body) {
    if (fresh && byte === 0x80) {
      throw new CertificateError("not_canonical", `OBJECT IDENTIFIER at byte ${start} is padded`);
    }
    fresh = byte < 0x80;
  }
  if (body.length === 0 || !fresh) throw malformed("has a broken OBJECT IDENTIFIER", start);
}

function malformed(what: string, at: number): CertificateError {
  return new CertificateError("malformed", `certificate ${what} (byte ${at})`);
}
