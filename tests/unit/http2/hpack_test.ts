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

const LIMITS = { tableBytesMax: 4_096, listBytesMax: 65_536, fieldsMax: 128 };

const bytes = (hex: string) => Uint8Array.from(Buffer.from(hex.replaceAll(" ", ""), "hex"));
const hex = (block: Uint8Array) => Buffer.from(block).toString("hex");

interface Step {
  readonly hex: string;
  readonly fields: readonly HeaderField[];
  /** What the dynamic table takes afterwards. */
  readonly tableBytes: number;
}

interface Example {
  readonly section: string;
  readonly tableBytesMax: number;
  readonly steps: readonly Step[];
}

const REQUESTS: readonly (readonly HeaderField[])[] = [
  [[":method", "GET"], [":scheme", "http"], [":path", "/"], [":authority", "www.example.com"]],
  [
    [":method", "GET"],
    [":scheme", "http"],
    [":path", "/"],
    [":authority", "www.example.com"],
    ["cache-control", "no-cache"],
  ],
  [
    [":method", "GET"],
    [":scheme", "https"],
    [":path", "/index.html"],
    [":authority", "www.example.com"],
    ["custom-key", "custom-value"],
  ],
];

const RESPONSES: readonly (readonly HeaderField[])[] = [
  [
    [":status", "302"],
    ["cache-control", "private"],
    ["date", "Mon, 21 Oct 2013 20:13:21 GMT"],
    ["location", "https://www.example.com"],
  ],
  [
    [":status", "307"],
    ["cache-control", "private"],
    ["date", "Mon, 21 Oct 2013 20:13:21 GMT"],
    ["location", "https://www.example.com"],
  ],
  [
    [":status", "200"],
    ["cache-control", "private"],
    ["date", "Mon, 21 Oct 2013 20:13:22 GMT"],
    ["location", "https://www.example.com"],
    ["content-encoding", "gzip"],
    ["set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"],
  ],
];

function steps(
  lists: readonly (readonly HeaderField[])[],
  blocks: readonly (readonly [hex: string, tableBytes: number])[],
): Step[] {
  return blocks.map(([hex, tableBytes], at) => ({ hex, fields: lists[at]!, tableBytes }));
}

/** RFC 7541, appendix C.2 to C.6, without C.1, whose integers have tests of their own. */
const APPENDIX_C: readonly Example[] = [
  {
    section: "C.2.1",
    tableBytesMax: 4_096,
    steps: [{
      hex: "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
      fields: [["custom-key", "custom-header"]],
      tableBytes: 55,
    }],
  },
  {
    section: "C.2.2",
    tableBytesMax: 4_096,
    steps: [{
      hex: "040c 2f73 616d 706c 652f 7061 7468",
      fields: [[":path", "/sample/path"]],
      tableBytes: 0,
    }],
  },
  {
    section: "C.2.3",
    tableBytesMax: 4_096,
    steps: [{
      hex: "1008 7061 7373 776f 7264 0673 6563 7265 74",
      fields: [["password", "secret"]],
      tableBytes: 0,
    }],
  },
  {
    section: "C.2.4",
    tableBytesMax: 4_096,
    steps: [{ hex: "82", fields: [[":method", "GET"]], tableBytes: 0 }],
  },
  {
    section: "C.3",
    tableBytesMax: 4_096,
    steps: steps(REQUESTS, [
      ["8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", 57],
      ["8286 84be 5808 6e6f 2d63 6163 6865", 110],
      ["8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65", 164],
    ]),
  },
  {
    section: "C.4",
    tableBytesMax: 4_096,
    steps: steps(REQUESTS, [
      ["8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", 57],
      ["8286 84be 5886 a8eb 1064 9cbf", 110],
      ["8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", 164],
    ]),
  },
  {
    section: "C.5",
    tableBytesMax: 256,
    steps: steps(RESPONSES, [
      [
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133" +
        "2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70" +
        "6c65 2e63 6f6d",
        222,
      ],
      ["4803 3330 37c1 c0bf", 222],
      [
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d" +
        "54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049" +
        "5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e" +
        "3d31",
        215,
      ],
    ]),
  },
  {
    section: "C.6",
    tableBytesMax: 256,
    steps: steps(RESPONSES, [
      [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6" +
        "2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        222,
      ],
      ["4883 640e ffc1 c0bf", 222],
      [
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab" +
        "77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f" +
        "9587 3160 65c0 03ed 4ee5 b106 3d50 07",
        215,
      ],
    ]),
  },
];

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
