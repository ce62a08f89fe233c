import { ok } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { type HeaderField, HpackDecoder, HpackEncoder } from "../../lib/http2/hpack.ts";
import { run } from "../support/fuzz.ts";

const CORPUS = ["custom-key: custom-value", "cookie: a=b; c=d", "\0\x80\xff", "baggage"].map((
  text,
) => Uint8Array.from(Buffer.from(text, "latin1")));

Deno.test("HpackEncoder and HpackDecoder agree on any fields, however the table changes", async () => {
  const report = await run({
    name: "HpackEncoder",
    corpus: CORPUS,
    try(input, rng) {
      const encoder = new HpackEncoder();
      const decoder = new HpackDecoder({
        tableBytesMax: 4_096,
        listBytesMax: 1 << 20,
        fieldsMax: 1 << 20,
      });
      const text = Buffer.from(input).toString("latin1");
      for (let block = 0; block < 4; block++) {
        if (rng.below(2) === 0) encoder.setTableSizeMax(rng.below(3) * 300);
        const fields: HeaderField[] = Array.from({ length: rng.below(8) }, () => {
          const at = rng.below(text.length + 1);
          return [text.slice(at, at + rng.below(4)), text.slice(at)];
        });
        const back = decoder.decode(encoder.encode(fields));
        ok(JSON.stringify(back) === JSON.stringify(fields), "other fields came back");
        ok(encoder.tableBytes === decoder.tableBytes, "the tables are out of step");
      }
      return "same";
    },
  });
  ok(report.inputs > 100, `only ${report.inputs} inputs`);
});
