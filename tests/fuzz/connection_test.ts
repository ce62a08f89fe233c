import { notStrictEqual, ok } from "node:assert/strict";
import { serve, type ServerConnection } from "#http2";
import type { Rng } from "#system";
import { FakeClock } from "../support/fake_clock.ts";
import { Wire } from "../support/h2_wire.ts";
import { run } from "../support/fuzz.ts";
import {
  CONNECT,
  fields,
  FLAG,
  frame,
  join,
  PREFACE,
  resetStream,
  SETTING,
  settings,
  TYPE,
  windowUpdate,
} from "../support/h2_raw.ts";

const SETTINGS = {
  streamWindowBytes: 65_535,
  connectionWindowBytes: 1 << 17,
  frameBytesMax: 16_384,
  headerListBytesMax: 4_096,
  concurrentStreamsMax: 8,
  pingIntervalMs: 10_000,
  pingTimeoutMs: 20_000,
};
const INTERNAL_ERROR = 2;
const request = (id: number) => frame(TYPE.headers, FLAG.endHeaders, id, fields(...CONNECT));

const CORPUS = [
  join([request(1), frame(TYPE.data, 0, 1, new Uint8Array(100)), request(3)]),
  join([
    settings([[SETTING.initialWindowSize, 10], [SETTING.headerTableSize, 0]]),
    frame(TYPE.settings, FLAG.ack, 0),
    request(1),
    windowUpdate(1, 5),
    windowUpdate(0, 70_000),
    frame(TYPE.data, FLAG.endStream, 1, new Uint8Array(9)),
    settings([[SETTING.initialWindowSize, 100_000]]),
    resetStream(1),
  ]),
  join([
    settings([[SETTING.frameSizeMax, 1 << 20], [SETTING.headerListSizeMax, 1]]),
    frame(TYPE.headers, 0, 1, fields(...CONNECT)),
    frame(TYPE.continuation, FLAG.endHeaders, 1, fields(["a", "b"])),
    frame(TYPE.ping, 0, 0, new Uint8Array(8)),
    frame(TYPE.goaway, 0, 0, new Uint8Array(8)),
    frame(TYPE.rst, 0, 1, new Uint8Array(4)),
  ]),
];

function handle(rng: Rng): Parameters<typeof serve>[3] {
  return (request) => {
    if (request.method !== "CONNECT" || rng.below(3) === 0) return request.refuse(503);
    const stream = request.accept(new Map([["a", ["b"]]]));
    const fate = rng.below(4);
    if (fate === 0) return stream.abort();
    if (fate === 1) void stream.closeWrite().catch(() => {});
    if (fate === 2) void stream.write(new Uint8Array(200)).catch(() => {});
    void stream.read().catch(() => {});
  };
}

Deno.test("a server's connection meets any bytes with frames, and never with a bug", async () => {
  const report = await run({
    name: "ServerConnection",
    corpus: CORPUS,
    try(input, rng) {
      const wire = new Wire();
      const clock = new FakeClock();
      const server: ServerConnection = serve(wire.stream, SETTINGS, clock, handle(rng));
      // Most of what goes wrong in a preface ends it there.
      if (rng.below(16) > 0) wire.arrive(join([PREFACE, settings()]));
      const cut = rng.below(input.length + 1);
      wire.arrive(input.subarray(0, cut));
      if (rng.below(8) === 0) server.drain();
      wire.arrive(input.subarray(cut));
      ok(server.activeStreams <= SETTINGS.concurrentStreamsMax, "more streams than we allow");
      notStrictEqual(wire.said().goaway, INTERNAL_ERROR, "a bug");
      const streams = server.activeStreams;
      server.destroy();
      wire.taker!.ended();
      wire.stream.abort();
      const { goaway, types } = wire.said();
      return `GOAWAY ${goaway}, sent ${types}, ${Math.min(streams, 2)} streams`;
    },
  });
  ok(report.inputs > 100, `only ${report.inputs} inputs`);
  ok(report.outcomes.size > 5, [...report.outcomes.keys()].join());
});
