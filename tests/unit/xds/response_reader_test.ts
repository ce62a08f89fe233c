import { deepStrictEqual, match, ok, rejects, strictEqual } from "node:assert/strict";
import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { seededRng } from "#system";
import { TYPE_URLS } from "#xds";
import { RESPONSE_LIMITS, type ResponseReader } from "../../../lib/xds/wire_response.ts";
import { policy, type ResourceInit, responseBytes, workload } from "./messages.ts";
import { readerOf } from "./session_support.ts";

const NAME_OF_FIELD = { resources: 2, typeUrl: 4, nonce: 5, removed: 6 } as const;

/** Everything that a reader tells, resources first. */
async function told(reader: ResponseReader) {
  await reader.begin();
  const typeUrl = reader.typeUrl;
  const resources: { name: string; version: string; payload: string; malformed?: string }[] = [];
  do {
    for (let each = reader.take(); each !== undefined; each = reader.take()) {
      const { name, version, payload, malformed } = each;
      resources.push({
        name,
        version,
        payload: payload === undefined ? "none" : payload.toHex(),
        ...(malformed !== undefined && { malformed }),
      });
    }
    reader.release();
  } while (await reader.more());
  strictEqual(reader.typeUrl, typeUrl, "the type changed");
  return { typeUrl, nonce: reader.nonce, removed: [...reader.removed], resources };
}

/** A response's fields, to be put together in any order. */
function fieldsOf(typeUrl: string, resources: readonly ResourceInit[]) {
  const whole = responseBytes(typeUrl, { nonce: "n1", resources, removed: ["gone"] });
  const fields: { readonly field: number; readonly bytes: Uint8Array }[] = [];
  for (let at = 0; at < whole.length;) {
    const field = whole[at]! >> 3;
    let [length, shift, from] = [0, 0, at + 1];
    for (let byte = 0x80; byte >= 0x80; shift += 7) {
      byte = whole[from++]!;
      length |= (byte & 0x7f) << shift;
    }
    fields.push({ field, bytes: whole.slice(at, from + length) });
    at = from + length;
  }
  return fields;
}

function joined(parts: readonly { readonly bytes: Uint8Array }[]): Uint8Array {
  return Uint8Array.from(parts.flatMap(({ bytes }) => [...bytes]));
}

const RESOURCES = [workload("w1"), workload("w2", { node: "n".repeat(300) }), workload("w3")];
/** Any without a type: what the response says is all there is. */
const UNTYPED = RESOURCES.map((each) =>
  ({ ...each, resource: { ...each.resource, typeUrl: "" } }) as ResourceInit
);

Deno.test("what was taken stays as it is until it is released, however much arrives meanwhile", async () => {
  const resources = Array.from(
    { length: 40 },
    (_, i) => workload(`w${i}`, { node: `${i}`.repeat(9_000) }),
  );
  const reader = readerOf(responseBytes("address", { nonce: "n1", resources }), () => 16_384);
  await reader.begin();
  const taken: { readonly view: Uint8Array; readonly copy: Uint8Array }[] = [];
  do {
    for (let each = reader.take(); each !== undefined; each = reader.take()) {
      taken.push({ view: each.payload!, copy: each.payload!.slice() });
    }
  } while (await reader.more());
  strictEqual(taken.length, 40);
  for (const { view, copy } of taken) deepStrictEqual(view, copy);
});

Deno.test("a response says the same however its bytes are cut and its fields are ordered", async () => {
  const seed = Number(Deno.env.get("SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0]);
  const rng = seededRng(seed);
  for (const resources of [RESOURCES, UNTYPED]) {
    const fields = fieldsOf("address", resources);
    const expected = await told(readerOf(joined(fields)));
    deepStrictEqual(expected.resources.map(({ name }) => name), ["w1", "w2", "w3"]);
    strictEqual(expected.typeUrl, TYPE_URLS.address);
    deepStrictEqual([expected.nonce, expected.removed], ["n1", ["gone"]]);
    for (let round = 0; round < 300; round++) {
      const resourcesInOrder = fields.filter(({ field }) => field === NAME_OF_FIELD.resources);
      const shuffled: typeof fields = [];
      for (const each of fields) {
        if (each.field === NAME_OF_FIELD.resources) continue;
        shuffled.splice(rng.below(shuffled.length + 1), 0, each);
      }
      for (const each of resourcesInOrder) shuffled.splice(rng.below(shuffled.length + 1), 0, each);
      const order = resourcesInOrder[Symbol.iterator]();
      const mixed = shuffled.map((each) =>
        each.field === NAME_OF_FIELD.resources ? order.next().value! : each
      );
      const bytes = joined(mixed);
      const reader = readerOf(bytes, () => 1 + rng.below(round % 3 === 0 ? 3 : bytes.length));
      deepStrictEqual(await told(reader), expected, `SEED=${seed}, round ${round}`);
    }
  }
});

Deno.test("a response that ends anywhere else than at its end is refused, and what was whole was right", async () => {
  const whole = responseBytes("address", { resources: RESOURCES, removed: ["x"] });
  const ends = new Set<number>();
  for (let at = 0; at < whole.length; at++) {
    const reader = readerOf(whole.slice(0, at), () => 7);
    const names: string[] = [];
    try {
      await reader.begin();
      do {
        for (let each = reader.take(); each; each = reader.take()) names.push(each.name);
      } while (await reader.more());
      ends.add(at);
    } catch (error) {
      ok(error instanceof Error && !(error instanceof TypeError), String(error));
    }
    deepStrictEqual(names, ["w1", "w2", "w3"].slice(0, names.length));
  }
  // Between two fields a shorter message is a message.
  ok(ends.size <= 7, `${ends.size}`);
});

/** What a reader tells of a message, or its error. */
async function verdictOf(reader: ResponseReader) {
  try {
    return await told(reader);
  } catch (error) {
    return error;
  }
}

Deno.test("bytes that are no protobuf are an error and nothing worse, however they are cut", async () => {
  const seed = Number(Deno.env.get("SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0]);
  const rng = seededRng(seed);
  for (let round = 0; round < 2_000; round++) {
    const resources = round % 2 === 0 ? RESOURCES : UNTYPED;
    const bytes = responseBytes("address", { resources, removed: ["x"] });
    for (let edits = 1 + rng.below(8); edits > 0; edits--) {
      bytes[rng.below(bytes.length)] = rng.below(256);
    }
    const whole = await verdictOf(readerOf(bytes));
    const cut = await verdictOf(readerOf(bytes, () => 1 + rng.below(200)));
    const where = `SEED=${seed}, round ${round}: ${cut}`;
    if (whole instanceof Error) ok(cut instanceof Error && !(cut instanceof ReferenceError), where);
    else deepStrictEqual(cut, whole, where);
  }
});

Deno.test("a resource above the limit is refused by its name, and costs no memory", async () => {
  const { resourceBytesMax } = RESPONSE_LIMITS;
  const bytes = responseBytes("address", {
    resources: [
      workload("w1"),
      workload("big", { node: "n".repeat(resourceBytesMax) }),
      workload("w3"),
    ],
  });
  for (const size of [16_384, 1_000_000, bytes.length]) {
    const { resources } = await told(readerOf(bytes, () => size));
    deepStrictEqual(resources.map(({ name }) => name), ["w1", "big", "w3"]);
    match(resources[1]?.malformed ?? "", /^\d+ bytes, at most 4194304$/);
    strictEqual(resources[1]?.payload, "none");
    strictEqual(resources[2]?.malformed, undefined);
  }
});

Deno.test("a resource above the limit is refused by its name wherever it stands, in front of everything too", async () => {
  const { resourceBytesMax } = RESPONSE_LIMITS;
  const big = workload("big", { node: "n".repeat(resourceBytesMax) });
  for (const type of ["address", "x.y/Z"]) {
    for (const resources of [[big, workload("w1")], [big], [big, big, workload("w1"), big]]) {
      const given = type === "address" ? resources : [big];
      const bytes = responseBytes(type, { resources: given, removed: ["gone"], nonce: "n1" });
      for (const size of [16_384, bytes.length]) {
        const verdict = await told(readerOf(bytes, () => size));
        strictEqual(verdict.typeUrl, type === "address" ? TYPE_URLS.address : type);
        deepStrictEqual([verdict.nonce, verdict.removed], ["n1", ["gone"]]);
        deepStrictEqual(
          verdict.resources.map(({ name, malformed }) => [name, malformed !== undefined]).sort(),
          given.map(({ name }) => [name, name === "big"]).sort(),
        );
      }
    }
  }
});

Deno.test("a field that reaches beyond the end behind what waits for its type ends the response", async () => {
  const untyped = joined(fieldsOf("", UNTYPED).filter(({ field }) => field === 2));
  const beyond = Uint8Array.from([...untyped, 0x7a, 100, ...new Uint8Array(60)]);
  for (const size of [1, 7, beyond.length]) {
    await rejects(told(readerOf(beyond, () => size)), /premature EOF/);
  }
});

Deno.test("a response of another type than its resources is refused", async () => {
  const bytes = responseBytes("authorization", { resources: [workload("w1")] });
  await rejects(told(readerOf(bytes)), /of type .*Authorization, its resources of .*Address/);
  // With the type in front the resources' own is not looked at (behaviour.md 3.4).
  const fields = fieldsOf("authorization", [workload("w1")]);
  const { typeUrl } = await told(readerOf(joined(fields.toReversed())));
  strictEqual(typeUrl, TYPE_URLS.authorization);
});

Deno.test("a response of an unknown type, and one without any, are read to their end", async () => {
  const odd = {
    name: "a",
    resource: { typeUrl: "x.y/Z", value: Uint8Array.of(1) },
  } as ResourceInit;
  const unknown = await told(readerOf(responseBytes("x.y/Z", { resources: [odd] }), () => 3));
  deepStrictEqual([unknown.typeUrl, unknown.resources.length], ["x.y/Z", 1]);
  const none = await told(readerOf(responseBytes("", { resources: [odd], nonce: "n" }), () => 3));
  deepStrictEqual([none.resources.length, none.nonce], [1, "n"]);
  const empty = await told(readerOf(new Uint8Array()));
  deepStrictEqual([empty.typeUrl, empty.resources.length], ["", 0]);
});

Deno.test("a text that is too long, and a group, end the response", async () => {
  const long = new BinaryWriter().tag(5, 2).string("n".repeat(RESPONSE_LIMITS.textBytesMax + 1));
  await rejects(told(readerOf(long.finish())), /a text of 65537 bytes/);
  await rejects(told(readerOf(Uint8Array.of(0x3b, 0x3c, 0x07))));
});

Deno.test("what was taken stays readable until it is released", async () => {
  const resources = Array.from({ length: 3_000 }, (_, i) => policy(`shop/p${i}`));
  const bytes = responseBytes("authorization", { resources });
  const reader = readerOf(bytes, () => 5_000);
  await reader.begin();
  const lent: (Uint8Array | undefined)[] = [];
  do {
    for (let each = reader.take(); each; each = reader.take()) lent.push(each.payload);
  } while (await reader.more());
  strictEqual(lent.length, 3_000);
  const whole = readerOf(bytes);
  await whole.begin();
  for (const payload of lent) deepStrictEqual(payload, whole.take()?.payload);
});

Deno.test("the verdict is the same wherever the bytes are cut", async () => {
  const messages = [
    // A field that nobody wants, an untyped resource that is no message, and another such field.
    Uint8Array.fromHex("0a026e6f120473e86f700a026f70"),
    joined(fieldsOf("address", UNTYPED)),
    joined([{ bytes: Uint8Array.fromHex("0a026f6b") }, ...fieldsOf("address", UNTYPED), {
      bytes: Uint8Array.fromHex("0a026f6b"),
    }]),
    Uint8Array.fromHex("120473e86f70"),
    Uint8Array.fromHex("12050a0161ff01220161"),
  ];
  for (const bytes of messages) {
    const whole = await verdictOf(readerOf(bytes));
    for (let cut = 1; cut < bytes.length; cut++) {
      let isFirst = true;
      const sizeOf = () => isFirst ? (isFirst = false, cut) : bytes.length;
      deepStrictEqual(await verdictOf(readerOf(bytes, sizeOf)), whole, `cut at ${cut}`);
    }
    deepStrictEqual(await verdictOf(readerOf(bytes, () => 1)), whole, "cut everywhere");
  }
});

Deno.test("resources that do not say of what type they are wait for that in limited memory", async () => {
  const large = workload("w", { node: "n".repeat(1 << 20) });
  const untyped = { ...large, resource: { ...large.resource, typeUrl: "" } } as ResourceInit;
  const of = (count: number) =>
    readerOf(
      responseBytes("address", { resources: Array.from({ length: count }, () => untyped) }),
      () => 100_000,
    );
  strictEqual((await told(of(15))).resources.length, 15);
  await rejects(told(of(17)), {
    message: `more than ${16 << 20} bytes before it is known of what type they are`,
  });
});
