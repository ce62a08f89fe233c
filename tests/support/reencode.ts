/**
 * A genuine certificate with other unsigned bytes: its signature still fits, yet node:tls's parser calls it badly
 * encoded, and then no longer asks for its private key (runtime.md S1).
 * @module
 */
import { Buffer } from "node:buffer";
import { bits, longTlv, sequence, tlv } from "./der_writer.ts";

export const REENCODINGS: Readonly<Record<string, (der: Uint8Array) => Uint8Array>> = {
  "a long-form outer length": (der) => longTlv(0x30, ...partsOf(der)),
  "an element after the signature": (der) => sequence(...partsOf(der), tlv(0x05)),
  "an unused-bits octet of 1": (der) => {
    const [tbs, algorithm, signature] = partsOf(der);
    const { body } = bodyAt(signature!, 0);
    return sequence(tbs!, algorithm!, bits(1, signature!.subarray(body + 1)));
  },
  "a long-form BIT STRING length": (der) => {
    const [tbs, algorithm, signature] = partsOf(der);
    return sequence(
      tbs!,
      algorithm!,
      longTlv(0x03, signature!.subarray(bodyAt(signature!, 0).body)),
    );
  },
  "bytes after its end": (der) => Buffer.concat([der, Uint8Array.of(0x05, 0x00)]),
};

/** The signed part, the algorithm and the signature. */
function partsOf(der: Uint8Array): Uint8Array[] {
  const parts: Uint8Array[] = [];
  for (let at = bodyAt(der, 0).body; at < der.length;) {
    const { end } = bodyAt(der, at);
    parts.push(der.subarray(at, end));
    at = end;
  }
  return parts;
}

/** Of a value that `der_writer.ts` wrote. */
function bodyAt(der: Uint8Array, at: number): { body: number; end: number } {
  const first = der[at + 1]!;
  if (first < 0x80) return { body: at + 2, end: at + 2 + first };
  const body = at + 2 + (first & 0x7f);
  const length = der.subarray(at + 2, body).reduce((sum, byte) => sum * 256 + byte, 0);
  return { body, end: body + length };
}
