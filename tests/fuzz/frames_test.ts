import { ok, strictEqual } from "node:assert/strict";
import { FrameReader } from "../../lib/http2/frame_reader.ts";
import { Fault, nameOf } from "../../lib/http2/frames.ts";
import { run } from "../support/fuzz.ts";
import {
  CONNECT,
  fields,
  FLAG,
  frame,
  join,
  resetStream,
  settings,
  TYPE,
  uint32,
  windowUpdate,
} from "../support/h2_raw.ts";

const FRAME_BYTES_MAX = 16_384;
const BLOCK_BYTES_MAX = 4_096;

const CORPUS = [
  join([settings([[4, 65_535]]), frame(TYPE.settings, FLAG.ack, 0), windowUpdate(0, 1_000)]),
  join([
    settings(),
    frame(TYPE.headers, FLAG.endHeaders, 1, fields(...CONNECT)),
    frame(TYPE.data, 0, 1, new Uint8Array(300).fill(7)),
    frame(TYPE.data, FLAG.padded, 1, Uint8Array.of(3, 1, 2, 0, 0, 0)),
    frame(TYPE.data, FLAG.endStream, 1),
    resetStream(1),
  ]),
  join([
    settings(),
    frame(TYPE.headers, FLAG.padded | FLAG.priority, 3, Uint8Array.of(1, 0, 0, 0, 0, 9, 0x82, 0)),
    frame(TYPE.continuation, 0, 3, Uint8Array.of(0x84)),
    frame(TYPE.continuation, FLAG.endHeaders, 3, Uint8Array.of(0x86)),
    frame(TYPE.ping, 0, 0, new Uint8Array(8)),
    frame(TYPE.goaway, 0, 0, new Uint8Array(20)),
    frame(TYPE.priority, 0, 3, new Uint8Array(5)),
    frame(0xfa, 0xff, 9, new Uint8Array(40)),
    frame(TYPE.pushPromise, 0, 3, uint32(2)),
  ]),
];

/** What comes out of the reader, data joined, so that it does not matter how the bytes were cut. */
function read(input: Uint8Array, cuts: readonly number[]): { said: string; outcome: string } {
  const said: string[] = [];
  let isData = false;
  let dataBytes = 0;
  const reader = new FrameReader(
    {
      dataBegins(id, flags, length) {
        ok(!isData && length <= FRAME_BYTES_MAX, "DATA inside of DATA, or too long");
        isData = true;
        dataBytes = 0;
        said.push(`DATA ${id} ${flags} ${length}`);
      },
      dataPiece(bytes, start, end) {
        ok(isData && end > start && end <= bytes.length, "a piece of nothing");
        dataBytes += end - start;
        const hex = bytes.subarray(start, end).toHex();
        if (said.at(-1)!.startsWith("=")) said[said.length - 1] += hex;
        else said.push(`=${hex}`);
      },
      dataPadding(bytes) {
        dataBytes += bytes;
        said.push(`padding ${bytes}`);
      },
      dataEnds(id) {
        ok(isData, "an end of nothing");
        isData = false;
        said.push(`end ${id} ${dataBytes}`);
      },
      frame(type, flags, id, payload) {
        ok(!isData && payload.length <= FRAME_BYTES_MAX, "a frame inside of DATA, or too long");
        said.push(`${type} ${flags} ${id} ${payload.toHex()}`);
      },
    },
    FRAME_BYTES_MAX,
    BLOCK_BYTES_MAX,
  );
  let at = 0;
  try {
    for (const end of [...cuts, input.length]) {
      // A copy that is spoilt afterwards: what a handler was lent it may not have kept.
      const piece = input.slice(at, end);
      reader.read(piece, 0, piece.length);
      piece.fill(0xa5);
      at = end;
    }
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    said.push(error.message);
    return { said: said.join("\n"), outcome: `${nameOf(error.code)} ${said.length > 3}` };
  }
  return { said: said.join("\n"), outcome: `${Math.min(said.length, 12)} events` };
}

Deno.test("FrameReader reads any bytes alike, however they are cut, and throws nothing but a Fault", async () => {
  const report = await run({
    name: "FrameReader",
    corpus: CORPUS,
    try(input, rng) {
      const whole = read(input, []);
      const cuts = Array.from({ length: rng.below(6) }, () => rng.below(input.length + 1)).sort((
        a,
        b,
      ) => a - b);
      strictEqual(read(input, cuts).said, whole.said, `cut at ${cuts}`);
      return whole.outcome;
    },
  });
  ok(report.inputs > 100, `only ${report.inputs} inputs`);
  ok(report.outcomes.size > 8, [...report.outcomes.keys()].join());
});
