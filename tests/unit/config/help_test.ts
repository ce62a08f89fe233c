import { buildInfo, readEnvironment, variableTable } from "#config";
import { match, ok, strictEqual } from "node:assert/strict";
import metadata from "../../../deno.json" with { type: "json" };

Deno.test("variableTable() names each variable with its type and default", () => {
  const table = variableTable(100);
  match(table, /^ {2}ENABLE_PROXY {2}true\|false, default true\n {6}Run the TCP proxy\.$/m);
  match(table, /^ {2}SECRET_TTL {2}duration, default 24h$/m);
  match(table, /^ {2}NETWORK {2}text, default ""$/m);
  match(table, /^ {2}XDS_HEADER_<name> {2}text$/m);
  for (const name of ["PREFERED_SERVICE_NAMESPACE", "ZTUNNEL_BIND_ADDRESS", "RUST_LOG"]) {
    strictEqual(table.split(`  ${name}  `).length, 2, name);
  }
});

Deno.test("variableTable() wraps meanings to the width that it is given", () => {
  for (const width of [60, 80, 120]) {
    const meanings = variableTable(width).split("\n").filter((line) => line.startsWith("      "));
    ok(meanings.length > 50);
    ok(meanings.every((line) => line.length <= width), String(width));
  }
});

Deno.test("buildInfo() says deno.json's version, and the revision that the image sets", () => {
  strictEqual(buildInfo({}).version, metadata.version);
  strictEqual(buildInfo({}).gitRevision, "unknown");
  strictEqual(buildInfo({ ZTUNNEL_GIT_REVISION: "abc" }).gitRevision, "abc");
  strictEqual(buildInfo({}).deno, Deno.version.deno);
});

Deno.test("readEnvironment() tells a missing file from one that cannot be read", () => {
  const { readFile, cpuCount, args } = readEnvironment(["proxy"]);
  strictEqual(readFile("./no/such/file"), undefined);
  match(readFile("./deno.json") ?? "", /"ztunnel"/);
  ok(cpuCount >= 1);
  strictEqual(args[0], "proxy");
});
