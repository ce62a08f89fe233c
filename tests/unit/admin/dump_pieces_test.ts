/** What can grow without bound is never one string, and never one turn. */
import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { createMesh, type ServiceKey } from "#mesh";
import { ADMIN_LIMITS } from "../../../lib/admin/limits.ts";
import { configDump } from "../../../lib/admin/config_dump.ts";
import { Entries, jsonPieces } from "../../../lib/admin/json_pieces.ts";
import { service, workload } from "../mesh/builders.ts";
import { sourcesWith } from "./harness.ts";

const COUNT = 20_000;

Deno.test("a dump of one large service, of endpoints that wait, and of many connections comes in small pieces", async () => {
  const mesh = createMesh({});
  const large = service("large.shop", { ports: new Map([[80, 8080]]) });
  mesh.writer.upsertService(large);
  const services = new Map<ServiceKey, ReadonlyMap<number, number>>([
    ["shop/large.shop", new Map([[80, 8080]])],
    ["shop/waits.shop", new Map([[80, 8081]])],
  ]);
  for (let at = 0; at < COUNT; at++) mesh.writer.upsertWorkload(workload(`w-${at}`, { services }));
  mesh.writer.commit();
  const row = {
    src: "10.0.0.1:1",
    originalDst: null,
    actualDst: "10.0.0.2:80",
    protocol: "TCP" as const,
  };
  const outbound = Array.from({ length: COUNT }, () => row);
  const sources = sourcesWith({
    mesh: mesh.view,
    report: () =>
      Promise.resolve({
        connections: { inbound: [], outbound },
        tunnels: [],
        floods: [],
        workloadState: { uid: { connections: { inbound: [], outbound }, state: "Up" } },
      }),
  });
  let text = "";
  let turns = 0;
  let longest = 0;
  const pause = () => Promise.resolve(void turns++);
  for await (const piece of await configDump(sources, pause)) {
    text += piece;
    longest = Math.max(longest, piece.length);
  }
  ok(longest < 2 * ADMIN_LIMITS.pieceChars, `${longest} characters in one piece`);
  ok(turns > text.length / ADMIN_LIMITS.pieceChars, `${turns} turns`);
  const dump = JSON.parse(text);
  strictEqual(text, `${JSON.stringify(dump, null, 2)}\n`, "as one JSON.stringify would write it");
  strictEqual(Object.keys(dump.services[0].endpoints).length, COUNT);
  deepStrictEqual(dump.services[0].endpoints["w-7"], {
    workloadUid: "w-7",
    port: { 80: 8080 },
    status: "Healthy",
  });
  strictEqual(dump.services[0].hostname, "large.shop");
  strictEqual(Object.keys(dump.stagedServices["shop/waits.shop"]).length, COUNT);
  deepStrictEqual(dump.stagedServices["shop/waits.shop"]["w-7"].port, { 80: 8081 });
  strictEqual(dump.connections.outbound.length, COUNT);
  strictEqual(dump.workloadState.uid.connections.outbound.length, COUNT);
});

Deno.test("jsonPieces() are together what JSON.stringify() writes", () => {
  const long = Array.from({ length: 100 }, (_, at) => at);
  const values: unknown[] = [
    null,
    7,
    "two\nlines",
    [],
    {},
    [[], {}],
    { a: undefined, b: [{ c: { d: [1, "x"] } }], e: { f: long }, g: undefined },
    [long, { long }],
  ];
  for (const value of values) {
    const text = [...jsonPieces(value, "")].join("");
    strictEqual(text, JSON.stringify(value, null, 2));
  }
  strictEqual(jsonPieces(undefined, "").next().value, "null");
  const lazy = new Entries([["a", 1], ["gone", undefined], ["b", new Entries([])]]);
  strictEqual(
    [...jsonPieces(lazy, "")].join(""),
    JSON.stringify({ a: 1, b: {} }, null, 2),
  );
  // As in a terminal: what would move its cursor is escaped, in names too.
  ok(![...jsonPieces({ "\u009b2J": ["\u202e"] }, "")].join("").match(/[\u009b\u202e]/));
});
