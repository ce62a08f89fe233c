import { deepStrictEqual, ok } from "node:assert/strict";
import type { ConnectionRow, InstanceReport } from "#link";
import { partsOf, REPORT_ROWS_MAX } from "../../../lib/proxy/report_parts.ts";

const rows = (count: number, name: string): ConnectionRow[] =>
  Array.from({ length: count }, (_, at) => ({
    src: `${name}-${at}`,
    originalDst: null,
    actualDst: "",
    protocol: "TCP",
  }));

const report = (instance: number, inbound: number, outbound: number): InstanceReport => ({
  instance,
  connections: {
    inbound: rows(inbound, `in-${instance}`),
    outbound: rows(outbound, `out-${instance}`),
  },
  tunnels: [],
  floods: [],
});

Deno.test("partsOf() keeps every row and its order, and no part has too many", () => {
  const reports = [
    report(1, 3, 0),
    report(2, 0, 0),
    report(3, 2 * REPORT_ROWS_MAX + 7, REPORT_ROWS_MAX),
    report(4, 0, REPORT_ROWS_MAX - 1),
  ];
  const parts = [...partsOf(reports)];
  ok(parts.length >= 5);
  for (const part of parts) {
    const count = part.reduce(
      (sum, { connections: { inbound, outbound } }) => sum + inbound.length + outbound.length,
      0,
    );
    ok(count <= REPORT_ROWS_MAX, `${count} rows`);
  }
  for (const { instance, connections } of reports) {
    const own = parts.flat().filter((each) => each.instance === instance);
    deepStrictEqual(own.flatMap((each) => each.connections.inbound), connections.inbound);
    deepStrictEqual(own.flatMap((each) => each.connections.outbound), connections.outbound);
    ok(own.length > 0, "also one without any row");
  }
});

Deno.test("partsOf() is one part for what is small, and none for nothing", () => {
  deepStrictEqual([...partsOf([report(1, 5, 5), report(2, 1, 0)])].map((part) => part.length), [2]);
  deepStrictEqual([...partsOf([])], []);
});
