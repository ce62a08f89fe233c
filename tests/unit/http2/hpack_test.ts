import { deepStrictEqual, match, ok, strictEqual, throws } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { seededRng } from "#system";
import {
  type HeaderField,
  HeaderListTooLarge,
  HpackDecoder,
  HpackEncoder,
  HpackError,
} from "../../../lib/http2/hpack.ts";
import { APPENDIX_C, REQUESTS } from "./hpack_vectors.ts";

const LIMITS = { tableBytesMax: 4_096, listBytesMax: 65_536, fieldsMax: 128 };

const bytes = (hex: string) => Uint8Array.from(Buffer.from(hex.replaceAll(" ", ""), "hex"));
const hex = (block: Uint8Array) => Buffer.from(block).toString("hex");

for (const { section, tableBytesMax, steps } of APPENDIX_C) {
  Deno.test(`HpackDecoder decodes RFC 7541, ${section}`, () => {
    const decoder = new HpackDecoder({ ...LIMITS, tableBytesMax });
    for (const { hex, fields, tableBytes } of steps) {
      deepStrictEqual(decoder.decode(bytes(hex)), fields);
      strictEqual(decoder.tableBytes, tableBytes);
    }
  });
}

Deno.test("HpackEncoder encodes as RFC 7541, C.4", () => {
  const encoder = new HpackEncoder();
  const blocks = REQUESTS.map((fields) => hex(encoder.encode(fields)));
  const { steps } = APPENDIX_C.find(({ section }) => section === "C.4")!;
  deepStrictEqual(blocks, steps.map((step) => hex(bytes(step.hex))));
});

Deno.test("HpackDecoder reads the integers of RFC 7541, C.1", () => {
  // As size updates, whose prefix has five bits: 10, and 1,337.
  for (const [block, size] of [["2a", 10], ["3f9a0a", 1_337]] as const) {
    deepStrictEqual(new HpackDecoder({ ...LIMITS, tableBytesMax: size }).decode(bytes(block)), []);
    throws(
      () => new HpackDecoder({ ...LIMITS, tableBytesMax: size - 1 }).decode(bytes(block)),
      new RegExp(`Cannot set the table to ${size} bytes: ${size - 1} are allowed`),
    );
  }
});

interface Corpus {
  readonly stories: readonly {
    readonly fields: string;
    readonly huffman: boolean;
    readonly blocks: readonly (readonly [hex: string, fields: readonly string[], table: number])[];
  }[];
}

Deno.test("HpackDecoder agrees with another implementation's 216 blocks", async () => {
  const url = new URL("../../testdata/hpack/corpus.json", import.meta.url);
  const corpus: Corpus = JSON.parse(await Deno.readTextFile(url));
  let blocksCount = 0;
  for (const [number, { fields, huffman, blocks }] of corpus.stories.entries()) {
    const decoder = new HpackDecoder(LIMITS);
    for (const [hex, texts, tableBytes] of blocks) {
      const story = `story ${number} (${fields}, huffman ${huffman}), block ${hex}`;
      deepStrictEqual(decoder.decode(bytes(hex)).flat(), texts, story);
      strictEqual(decoder.tableBytes, tableBytes, story);
      blocksCount++;
    }
  }
  strictEqual(blocksCount, 216);
});

/** Each is refused, alone and behind a block that is right. */
const MALFORMED: readonly (readonly [what: string, hex: string, error: RegExp])[] = [
  ["index 0", "80", /index 0 .*no such entry/],
  ["an index behind the tables", "be", /index 62 .*no such entry/],
  ["a name's index behind the tables", "7f00 00", /index 63 .*no such entry/],
  ["a huge index", "ffff ffff 7f", /index 268435582 .*no such entry/],
  ["an integer that stops", "ff", /Cannot read an integer: the block ends/],
  ["an integer that stops later", "ff80", /Cannot read an integer: the block ends/],
  ["an integer of five octets", "ff80 8080 8000", /too long/],
  ["an integer above 2^28", "ffff ffff ff07", /too long/],
  ["no name", "40", /Cannot read a string: the block ends/],
  ["no value", "4001 61", /Cannot read a string: the block ends/],
  ["a name that stops", "4003 6161", /Cannot read a string: the block ends/],
  ["a value that stops", "4001 6102 61", /Cannot read a string: the block ends/],
  ["a length without its rest", "007f", /Cannot read an integer: the block ends/],
  ["a length of 256 MiB", "007f 81ff ff7f 61", /Cannot read a string: the block ends/],
  ["EOS in a string", "0084 ffff ffff 00", /bad Huffman code or padding/],
  ["EOS behind a character", "0085 1fff ffff ff00", /bad Huffman code or padding/],
  ["padding of eight ones", "0082 1fff 00", /bad Huffman code or padding/],
  ["padding of zeros", "0081 1800 00", /bad Huffman code or padding/],
  ["half a long code", "0082 ffc0 00", /bad Huffman code or padding/],
  ["a table larger than allowed", "3fe2 1f", /Cannot set the table to 4097 bytes/],
  ["a table set behind a field", "8220", /Cannot set the table at octet 1: behind a field/],
];

for (const [what, block, error] of MALFORMED) {
  Deno.test(`HpackDecoder refuses ${what}`, () => {
    for (const before of ["", "82"]) {
      // Behind a field a size update is wrong for another reason.
      if (before !== "" && /table/.test(what)) continue;
      const decoder = new HpackDecoder(LIMITS);
      throws(() => decoder.decode(bytes(before + block)), (thrown: unknown) => {
        ok(thrown instanceof HpackError, String(thrown));
        match(thrown.message, error);
        return true;
      });
    }
  });
}

Deno.test("HpackDecoder takes what looks wrong and is not", () => {
  const decode = (block: string) => new HpackDecoder(LIMITS).decode(bytes(block));
  deepStrictEqual(decode(""), []);
  deepStrictEqual(decode("0000 00"), [["", ""]], "empty texts");
  deepStrictEqual(decode("0080 80"), [["", ""]], "empty texts by Huffman");
  const value = "62".repeat(127);
  deepStrictEqual(decode(`0001 61 7f 8080 8000 ${value}`), [["a", "b".repeat(127)]], "long zero");
  deepStrictEqual(decode("2020 3fe1 1f82"), [[":method", "GET"]], "three size updates");
  // All 256 byte values, spelled out.
  const all = String.fromCharCode(...Array.from({ length: 256 }, (_, char) => char));
  const spelled = hex(Buffer.from(all, "latin1"));
  deepStrictEqual(decode(`0001 61 7f 8101 ${spelled}`), [["a", all]]);
});

Deno.test("HpackDecoder empties its table for a field that is larger, and for a size of 0", () => {
  const decoder = new HpackDecoder({ ...LIMITS, tableBytesMax: 64 });
  const small = bytes("4001 6101 62");
  decoder.decode(small);
  strictEqual(decoder.tableBytes, 34);
  strictEqual(decoder.decode(bytes(`4001 63 28 ${"64".repeat(40)}`))[0]![1].length, 40);
  strictEqual(decoder.tableBytes, 0);
  decoder.decode(small);
  deepStrictEqual(decoder.decode(bytes("be")), [["a", "b"]]);
  decoder.decode(bytes("20"));
  throws(() => decoder.decode(bytes("be")), HpackError);
});

Deno.test("HpackDecoder may name an entry that its own insertion evicts (RFC 7541, 4.4)", () => {
  const decoder = new HpackDecoder({ ...LIMITS, tableBytesMax: 40 });
  decoder.decode(bytes("4004 6e61 6d65 0161"));
  deepStrictEqual(decoder.decode(bytes("7e01 62 be")), [["name", "b"], ["name", "b"]]);
});

const OVER: readonly (readonly [what: string, limits: Partial<typeof LIMITS>, error: RegExp])[] = [
  ["fields", { fieldsMax: 3 }, /^4 header fields are over 3$/],
  ["bytes", { listBytesMax: 140 }, /^141 bytes of headers are over 140$/],
];

for (const [what, limits, error] of OVER) {
  Deno.test(`HpackDecoder stays in step when a list has too many ${what}`, () => {
    const decoder = new HpackDecoder({ ...LIMITS, ...limits });
    const encoder = new HpackEncoder();
    // 33 + 35 + 35 + 38 bytes; the last one is over the limit and goes into the table all the same.
    const list: HeaderField[] = [["a", ""], ["b", "22"], ["c", "33"], ["last", "ab"]];
    throws(() => decoder.decode(encoder.encode(list)), (thrown: unknown) => {
      ok(thrown instanceof HeaderListTooLarge);
      match(thrown.message, error);
      return true;
    });
    strictEqual(decoder.tableBytes, encoder.tableBytes);
    deepStrictEqual(decoder.decode(encoder.encode(list.slice(3))), list.slice(3));
    const fine = new HpackDecoder({
      ...LIMITS,
      ...(limits.fieldsMax === undefined ? { listBytesMax: 141 } : { fieldsMax: 4 }),
    });
    deepStrictEqual(fine.decode(new HpackEncoder().encode(list)), list);
  });
}

Deno.test("HpackDecoder keeps nothing of a small block that expands a thousandfold", () => {
  const decoder = new HpackDecoder(LIMITS);
  decoder.decode(bytes(`4001 61 7f a11e ${"62".repeat(4_000)}`));
  strictEqual(decoder.tableBytes, 4_033);
  throws(
    () => decoder.decode(new Uint8Array(16_384).fill(0xbe)),
    /66076672 bytes of headers are over 65536/,
  );
});

Deno.test("HpackDecoder and HpackEncoder take texts larger than what a thread keeps", () => {
  const list: HeaderField[] = [["a", "x".repeat(60_000)], ["b", "\xff".repeat(20_000)]];
  const decoder = new HpackDecoder({ ...LIMITS, listBytesMax: 1 << 20 });
  deepStrictEqual(decoder.decode(new HpackEncoder().encode(list)), list);
});

Deno.test("HpackEncoder never indexes what is secret", () => {
  const encoder = new HpackEncoder();
  for (const name of ["authorization", "proxy-authorization", "cookie", "set-cookie"]) {
    for (let time = 0; time < 2; time++) {
      const block = encoder.encode([[name, "secret"]]);
      strictEqual(block[0]! & 0xf0, 0x10, `${name} is not marked as never indexed`);
      deepStrictEqual(new HpackDecoder(LIMITS).decode(block), [[name, "secret"]]);
    }
  }
  strictEqual(encoder.tableBytes, 0);
});

Deno.test("HpackEncoder shortens what comes again, and spells out what changes", () => {
  const encoder = new HpackEncoder();
  const request = (trace: string): HeaderField[] => [
    [":method", "CONNECT"],
    [":authority", "10.0.0.1:80"],
    ["baggage", "k8s.namespace.name=shop,service.name=cart"],
    ["traceparent", trace],
  ];
  ok(encoder.encode(request("00-aa-bb-00")).length > 50);
  const filled = encoder.tableBytes;
  const again = encoder.encode(request("00-cc-dd-00"));
  ok(again.length < 20, `${again.length} bytes`);
  strictEqual(encoder.tableBytes, filled, "the second trace is in the table");
});

Deno.test("HpackEncoder tells of the smallest table and the last one, and keeps 4 KiB at most", () => {
  const encoder = new HpackEncoder();
  const get: HeaderField[] = [[":method", "GET"]];
  const encode = () => hex(encoder.encode(get));
  encoder.setTableSizeMax(65_536);
  strictEqual(encode(), "82", "a larger table is not used");
  encoder.setTableSizeMax(0);
  strictEqual(encode(), "2082");
  strictEqual(encode(), "82", "told once");
  encoder.setTableSizeMax(100);
  strictEqual(encode(), "3f4582");
  encoder.setTableSizeMax(10);
  encoder.setTableSizeMax(1 << 30);
  strictEqual(encode(), "2a3fe11f82");
});

Deno.test("HpackEncoder evicts, and its table never grows above what the peer allows", () => {
  const encoder = new HpackEncoder();
  const decoder = new HpackDecoder(LIMITS);
  for (let number = 0; number < 1_000; number++) {
    const fields: HeaderField[] = [["x-number", `${number}`], ["x-last", `${number - 1}`]];
    deepStrictEqual(decoder.decode(encoder.encode(fields)), fields);
    ok(encoder.tableBytes <= 4_096);
    strictEqual(encoder.tableBytes, decoder.tableBytes);
  }
  encoder.setTableSizeMax(200);
  ok(encoder.tableBytes <= 200);
});

Deno.test("HpackEncoder refuses what is no latin1, and its next block is right", () => {
  const encoder = new HpackEncoder();
  const decoder = new HpackDecoder(LIMITS);
  const fields: HeaderField[] = [["x-a", "1"], ["x-b", "2"]];
  decoder.decode(encoder.encode(fields));
  throws(() => encoder.encode([["x-new", "3"], ["x-bad", "\u0100"]]), {
    name: "RangeError",
    message: 'Cannot encode "Ā": a character is above 255',
  });
  const next: HeaderField[] = [...fields, ["x-new", "3"]];
  for (let time = 0; time < 2; time++) {
    deepStrictEqual(decoder.decode(encoder.encode(next)), next);
    strictEqual(decoder.tableBytes, encoder.tableBytes);
  }
});

Deno.test("HpackEncoder and HpackDecoder agree on random lists", () => {
  const rng = seededRng(7_541);
  const encoder = new HpackEncoder();
  const decoder = new HpackDecoder({ ...LIMITS, listBytesMax: 1 << 20 });
  const text = (chars: number, first: number, last: number) =>
    String.fromCharCode(
      ...Array.from({ length: rng.below(chars) }, () => first + rng.below(last - first + 1)),
    );
  const names = Array.from({ length: 12 }, () => text(20, 0x61, 0x7a));
  for (let block = 0; block < 500; block++) {
    if (rng.below(20) === 0) encoder.setTableSizeMax(rng.below(5_000));
    const fields = Array.from({ length: rng.below(12) }, (): HeaderField => [
      names[rng.below(names.length)]!,
      rng.below(2) === 0 ? text(3, 0x30, 0x32) : text(200, 0, 255),
    ]);
    deepStrictEqual(decoder.decode(encoder.encode(fields)), fields, `block ${block}`);
    strictEqual(decoder.tableBytes, encoder.tableBytes, `block ${block}`);
  }
});
