import { ok } from "node:assert/strict";
import { Buffer } from "node:buffer";
import {
  type HeaderField,
  HeaderListTooLarge,
  HpackDecoder,
  HpackError,
} from "../../lib/http2/hpack.ts";
import { run } from "../support/fuzz.ts";

const LIMITS = { tableBytesMax: 4_096, listBytesMax: 8_192, fieldsMax: 64 };

const CORPUS = [
  // RFC 7541, C.2.1 to C.2.3, C.4.1, C.6.1.
  "400a637573746f6d2d6b65790d637573746f6d2d686561646572",
  "040c2f73616d706c652f70617468",
  "100870617373776f726406736563726574",
  "828684418cf1e3c2e5f23a6ba0ab90f4ff",
  "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
  // Size updates, and an integer of the most octets.
  "203fe11f82",
  "ff80808000",
].map((hex) => Uint8Array.from(Buffer.from(hex, "hex")));

/** What the limits promise of a decoded list. */
function checkList(fields: readonly HeaderField[]): void {
  const bytes = fields.reduce((sum, [name, value]) => sum + name.length + value.length + 32, 0);
  ok(bytes <= LIMITS.listBytesMax && fields.length <= LIMITS.fieldsMax, "a list over its limits");
}

/** The kind of end, or of error without its figures, so that outcomes are few. */
function outcomeOf(decoder: HpackDecoder, block: Uint8Array): string {
  try {
    const fields = decoder.decode(block);
    checkList(fields);
    return `${Math.min(fields.length, 8)} fields`;
  } catch (error) {
    if (error instanceof HeaderListTooLarge) return "too large";
    if (error instanceof HpackError) return error.message.replaceAll(/\d+/g, "N");
    throw error;
  } finally {
    ok(decoder.tableBytes <= LIMITS.tableBytesMax, "a table over its limit");
  }
}

Deno.test("HpackDecoder gives fields or its own errors for any bytes, within its limits", async () => {
  const report = await run({
    name: "HpackDecoder",
    corpus: CORPUS,
    try(input, rng) {
      const decoder = new HpackDecoder(LIMITS);
      // The first block fills the table that the second one reads; a list too large leaves it usable.
      const cut = rng.below(input.length + 1);
      const first = outcomeOf(decoder, input.subarray(0, cut));
      return first.startsWith("Cannot") ? first : outcomeOf(decoder, input.subarray(cut));
    },
  });
  ok(report.inputs > 100, `only ${report.inputs} inputs`);
  ok(report.outcomes.size > 5, [...report.outcomes.keys()].join());
});
