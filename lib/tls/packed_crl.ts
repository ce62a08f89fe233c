/**
 * Revocation lists as all threads share them: their bytes once, and where each serial number stands. Whoever follows the
 * file packs them, a slice at a time; to use them costs a thread nothing, however long they are.
 * @module
 */
import { Buffer } from "node:buffer";
import { type Pace, Slices } from "#system";
import {
  bodyOf,
  childrenOf,
  expectTag,
  readTime,
  readTlv,
  readWhole,
  readWholeBits,
  Tag,
  type Tlv,
  wholeOf,
} from "./der.ts";
import { CertificateError } from "./error.ts";
import { assertStrongSignature } from "./strength.ts";

/** A list of a million revoked certificates is about 40 MB; more is a mistake. */
const FILE_BYTES_MAX = 64 << 20;
/** Entries of all lists of a file: each takes 8 bytes of memory more, or 16. */
const SERIALS_MAX = 3_000_000;
/** A ConfigMap takes 1 MiB, in which there is no room for more. Each costs every handshake a comparison. */
const LISTS_MAX = 4_096;
/** What a certificate has at most, whole: a longer serial number is nobody's. */
const SERIAL_BYTES_MAX = 65_535;
const [PEM_BEGIN, PEM_END] = ["-----BEGIN X509 CRL-----", "-----END X509 CRL-----"];
/** Decoded at a time: a fraction of a millisecond. */
const PEM_CHUNK_CHARACTERS = 64 << 10;
/** Searched at a time: half a millisecond. */
const SEARCH_BYTES = 256 << 10;
/** The clock is looked at so seldom: the shortest entry has 5 bytes, and takes a fraction of a microsecond. */
const BYTES_PER_LOOK = 8 << 10;

/** Plain data over shared memory. */
export interface PackedList {
  /** The whole list, DER. */
  readonly der: Uint8Array<SharedArrayBuffer>;
  /** Where serial numbers stand in it: each at the place of its hash or behind it, 0 for none. Their number is a power of 2. */
  readonly places: Uint32Array<SharedArrayBuffer>;
}

/** What a list says beside its serial numbers. */
export interface ListHead {
  readonly tbs: Uint8Array;
  readonly signature: Uint8Array;
  /** Hex of the AlgorithmIdentifier. */
  readonly signatureAlgorithm: string;
  /** DER of the Name. */
  readonly issuer: Uint8Array;
  /** The revoked certificates, if there are any. */
  readonly entries: Tlv | undefined;
}

/**
 * The lists in PEM (other blocks are skipped), or in one DER list; empty bytes are no lists. Throws a CertificateError for
 * what is no list.
 */
export async function packLists(bytes: Uint8Array, pace: Pace): Promise<readonly PackedList[]> {
  if (bytes.length > FILE_BYTES_MAX) {
    throw new CertificateError("malformed", `more than ${FILE_BYTES_MAX} bytes of CRLs`);
  }
  const slices = new Slices(pace);
  const lists: PackedList[] = [];
  let serialsLeft = SERIALS_MAX;
  try {
    for await (const der of dersOf(bytes, slices)) {
      if (lists.length === LISTS_MAX) {
        throw new CertificateError("malformed", `more than ${LISTS_MAX} CRLs`);
      }
      const { entries } = readHead(der);
      const count = await eachEntry(der, entries, slices, () => {});
      if (count > serialsLeft) {
        throw new CertificateError("malformed", `more than ${SERIALS_MAX} revoked certificates`);
      }
      serialsLeft -= count;
      lists.push({ der, places: await placesOf(der, entries, count, slices) });
    }
  } catch (error) {
    if (!(error instanceof CertificateError)) throw error;
    // The reader of DER speaks of certificates, which is what it mostly reads.
    throw new CertificateError(error.code, error.message.replace(/^certificate/, "CRL"));
  }
  return lists;
}

async function* dersOf(
  bytes: Uint8Array,
  slices: Slices,
): AsyncGenerator<Uint8Array<SharedArrayBuffer>> {
  if (bytes.length === 0) return;
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (!text.subarray(0, 10).equals(Buffer.from(PEM_BEGIN.slice(0, 10)))) {
    const der = sharedBytes(bytes.length);
    der.set(bytes);
    return yield der;
  }
  for (let at = 0;;) {
    const begin = await find(text, PEM_BEGIN, at, slices);
    if (begin < 0) return;
    const end = await find(text, PEM_END, begin, slices);
    if (end < 0) throw new CertificateError("malformed", "a CRL's PEM ends in the middle");
    yield await decoded(text.subarray(begin + PEM_BEGIN.length, end), slices);
    at = end;
  }
}

/** Where `what` stands next; -1 for nowhere. */
async function find(text: Buffer, what: string, from: number, slices: Slices): Promise<number> {
  for (let at = from; at < text.length; at += SEARCH_BYTES) {
    // What begins in this part may end in the next one.
    const found = text.subarray(at, at + SEARCH_BYTES + what.length - 1).indexOf(what, 0, "latin1");
    if (found >= 0) return at + found;
    if (slices.isOver) await slices.rest();
  }
  return -1;
}

async function decoded(base64: Buffer, slices: Slices): Promise<Uint8Array<SharedArrayBuffer>> {
  const bytes = sharedBytes(Math.ceil(base64.length / 4) * 3);
  let [readCount, writtenCount] = [0, 0];
  while (readCount < base64.length) {
    const chunkEnd = readCount + PEM_CHUNK_CHARACTERS;
    const lastChunkHandling = chunkEnd >= base64.length ? "loose" : "stop-before-partial";
    try {
      const { read, written } = bytes.subarray(writtenCount).setFromBase64(
        base64.toString("latin1", readCount, chunkEnd),
        { lastChunkHandling },
      );
      if (read === 0) throw new SyntaxError("nothing but the beginning of a group");
      readCount += read;
      writtenCount += written;
    } catch {
      throw new CertificateError("malformed", "a CRL's PEM is no base64");
    }
    if (slices.isOver) await slices.rest();
  }
  return bytes.subarray(0, writtenCount);
}

function sharedBytes(count: number): Uint8Array<SharedArrayBuffer> {
  return new Uint8Array(new SharedArrayBuffer(count));
}

/** All but the serial numbers; that costs the same for any list. Throws a CertificateError. */
export function readHead(der: Uint8Array): ListHead {
  const [tbs, algorithm, bits, ...more] = childrenOf(
    der,
    expectTag(readWhole(der), Tag.sequence, "a CRL"),
  );
  if (more.length > 0) throw new CertificateError("malformed", "CRL has too many parts");
  const signatureAlgorithm = wholeOf(
    der,
    expectTag(algorithm, Tag.sequence, "the CRL's algorithm"),
  ).toHex();
  assertStrongSignature(signatureAlgorithm);
  const fields = childrenOf(der, expectTag(tbs, Tag.sequence, "the CRL's content"));
  // version is optional here, and an INTEGER; the algorithm that follows is a SEQUENCE.
  if (fields[0]?.tag === Tag.integer) fields.shift();
  const [inner, issuer, thisUpdate, ...rest] = fields;
  if (wholeOf(der, expectTag(inner, Tag.sequence, "an algorithm")).toHex() !== signatureAlgorithm) {
    throw new CertificateError("malformed", "CRL names two signature algorithms");
  }
  readTime(der, thisUpdate);
  return {
    tbs: wholeOf(der, tbs!),
    signature: readWholeBits(der, bits, "the CRL's signature"),
    signatureAlgorithm,
    issuer: wholeOf(der, expectTag(issuer, Tag.sequence, "the CRL's issuer")),
    // nextUpdate, if any, and the entries, if any, come before the extensions.
    entries: rest.find((value) => value.tag === Tag.sequence),
  };
}

async function placesOf(
  der: Uint8Array,
  entries: Tlv | undefined,
  count: number,
  slices: Slices,
): Promise<Uint32Array<SharedArrayBuffer>> {
  let placesCount = 1;
  while (placesCount < 2 * count) placesCount *= 2;
  const places = new Uint32Array(new SharedArrayBuffer(placesCount * 4));
  await eachEntry(der, entries, slices, (entry) => {
    const serial = readTlv(der, entry.body, entry.end);
    expectTag(serial, Tag.integer, "a serial number");
    if (serial.end - serial.body > SERIAL_BYTES_MAX) return;
    const place = placeOf({ der, places }, bodyOf(der, serial));
    places[place] = serial.start;
  });
  return places;
}

async function eachEntry(
  der: Uint8Array,
  entries: Tlv | undefined,
  slices: Slices,
  act: (entry: Tlv) => void,
): Promise<number> {
  let count = 0;
  if (entries === undefined) return count;
  const { body, end } = entries;
  let lookAt = body;
  for (let at = body; at < end; count++) {
    const entry = expectTag(readTlv(der, at, end), Tag.sequence, "a revoked certificate");
    act(entry);
    at = entry.end;
    if (at < lookAt) continue;
    lookAt = at + BYTES_PER_LOOK;
    if (slices.isOver) await slices.rest();
  }
  return count;
}

/** Whether the list has this serial number (the content of its INTEGER). */
export function hasSerial(
  list: { readonly der: Uint8Array; readonly places: Uint32Array },
  serial: Uint8Array,
): boolean {
  return list.places[placeOf(list, serial)] !== 0;
}

/** Where the number is, or else the empty place where it would be: half of them are empty, so the search ends. */
function placeOf(
  { der, places }: { readonly der: Uint8Array; readonly places: Uint32Array },
  serial: Uint8Array,
): number {
  const mask = places.length - 1;
  let place = hashOf(serial) & mask;
  while (places[place] !== 0 && !isSerialAt(der, places[place]!, serial)) {
    place = (place + 1) & mask;
  }
  return place;
}

function isSerialAt(der: Uint8Array, at: number, serial: Uint8Array): boolean {
  const { body, end } = readTlv(der, at);
  if (end - body !== serial.length) return false;
  for (let index = 0; index < serial.length; index++) {
    if (der[body + index] !== serial[index]) return false;
  }
  return true;
}

/** FNV-1a, its bits mixed once more: a CA may number its certificates one after another. */
function hashOf(bytes: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193);
  return (hash ^ (hash >>> 15)) >>> 0;
}
