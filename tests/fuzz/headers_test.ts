import { doesNotMatch, ok, strictEqual } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { validateRequest, validateResponse, validateTrailers } from "../../lib/http2/headers.ts";
import type { HeaderField } from "../../lib/http2/hpack.ts";
import { run } from "../support/fuzz.ts";

const CORPUS = [
  ":method\0CONNECT\0:authority\0shop.example:80\0baggage\0a=b",
  ":method\0GET\0:scheme\0http\0:authority\0a\0:path\0/\0host\0a:80\0te\0trailers",
  ":method\0CONNECT\0:protocol\0websocket\0:scheme\0https\0:path\0/chat\0:authority\0a",
  ":status\x00200\0content-length\x005, 5\0content-length\x005",
  "grpc-status\x000",
].map((text) => Uint8Array.from(Buffer.from(text, "latin1")));

function fieldsOf(input: Uint8Array): HeaderField[] {
  const texts = Buffer.from(input).toString("latin1").split("\0");
  const fields: HeaderField[] = [];
  for (let at = 0; at < texts.length; at += 2) fields.push([texts[at]!, texts[at + 1] ?? ""]);
  return fields;
}

/** A reason without what it quotes. */
function kindOf(reason: string | undefined): string {
  if (reason === undefined) return "fine";
  doesNotMatch(reason, /[\r\n]/);
  return reason.replaceAll(/"(\\.|[^"\\])*"/g, "Q").replace(/^:?\S+ (came|behind)/, "N $1");
}

Deno.test("header validation has a head or a reason for any fields", async () => {
  const report = await run({
    name: "header validation",
    corpus: CORPUS,
    try(input) {
      const fields = fieldsOf(input);
      const results = [validateRequest(fields), validateResponse(fields), validateTrailers(fields)];
      for (const { head, reason } of results) {
        strictEqual(head === undefined, reason !== undefined, "neither or both");
      }
      const headers = results.at(2)!.head;
      if (headers !== undefined) ok(fields.every(([name]) => !name.startsWith(":")));
      return results.map(({ reason }) => kindOf(reason))[input.length % 3]!;
    },
  });
  ok(report.inputs > 100, `only ${report.inputs} inputs`);
  ok(report.outcomes.size > 10, [...report.outcomes.keys()].join());
});
