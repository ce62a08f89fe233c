import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { fromBinary } from "@bufbuild/protobuf";
import { DeltaDiscoveryRequestSchema } from "#proto/xds_pb.ts";
import { seededRng } from "#system";
import { VERSION_TEXT_BYTES_MAX, VersionBook } from "../../../lib/xds/version_book.ts";

/** Names and versions, as a protobuf reader has them. */
function entriesOf(book: VersionBook): Record<string, string> {
  const bytes = Array.from(book.mapEntries(5)).flatMap((piece) => [...piece]);
  return fromBinary(DeltaDiscoveryRequestSchema, Uint8Array.from(bytes)).initialResourceVersions;
}

Deno.test("a version book with any history is what a Map would be", () => {
  const seed = Number(Deno.env.get("SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0]);
  const rng = seededRng(seed);
  const [book, map] = [new VersionBook(), new Map<string, string>()];
  let seen = new Set<string>();
  for (let step = 0; step < 60_000; step++) {
    const name = `ns-${rng.below(5)}/ö-${rng.below(3_000)}${"x".repeat(rng.below(3))}`;
    const act = rng.below(100);
    if (act < 60) {
      const version = "v".repeat(rng.below(30));
      book.set(name, version);
      map.set(name, version);
      seen.add(name);
    } else if (act < 80) {
      book.delete(name);
      map.delete(name);
    } else {
      book.see(name);
      seen.add(name);
    }
    if (step % 10_000 !== 0) continue;
    deepStrictEqual(entriesOf(book), Object.fromEntries(map), `SEED=${seed}, step ${step}`);
    deepStrictEqual([...book.names()].sort(), [...map.keys()].sort());
    strictEqual(book.size, map.size);
    const unseen = [...map.keys()].filter((each) => !seen.has(each)).sort();
    if (step > 0) deepStrictEqual([...book.unseen()].sort(), unseen, `SEED=${seed}, step ${step}`);
    book.beginSweep();
    seen = new Set();
  }
});

Deno.test("marks of long ago do not pass for those of now", () => {
  const book = new VersionBook();
  for (let sweep = 0; sweep < 700; sweep++) {
    book.beginSweep();
    if (sweep % 100 === 0) {
      book.set("a", "");
      deepStrictEqual([...book.unseen()], []);
    } else deepStrictEqual([...book.unseen()], ["a"], `sweep ${sweep}`);
  }
});

Deno.test("what is too long is not kept", () => {
  const book = new VersionBook();
  book.set("n".repeat(VERSION_TEXT_BYTES_MAX), "v".repeat(VERSION_TEXT_BYTES_MAX));
  strictEqual(book.size, 1);
  book.set("m".repeat(VERSION_TEXT_BYTES_MAX + 1), "");
  book.set("o", "v".repeat(VERSION_TEXT_BYTES_MAX + 1));
  strictEqual(book.size, 1);
});

Deno.test("texts come out as they went in, whatever they are", () => {
  const book = new VersionBook();
  const texts = ["", "\ufeffname", "ü/日本/😀", "\0\x7f\x9b", "x".repeat(2_000)];
  for (const text of texts) book.set(text, `${text}\ufeff`);
  deepStrictEqual(
    entriesOf(book),
    Object.fromEntries(texts.map((text) => [text, `${text}\ufeff`])),
  );
});
