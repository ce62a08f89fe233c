import { ok, strictEqual } from "node:assert/strict";
import { painter, parseLine, readable } from "../../../lib/cli/dev_lines.ts";

Deno.test("readable() gives a terminal nothing to obey, whatever a peer put into a name", () => {
  const line = parseLine(JSON.stringify({
    level: "warn",
    time: "2026-03-01T10:00:00.123456Z",
    scope: "access",
    message: "connection failed",
    "dst.addr": "127.0.1.1:15080",
    error: 'socks5: the mesh has no address for "\x1b]0;owned\x07\x1b[2J\n✓ in  faked\u202e"',
  }));
  ok(line);
  const text = readable("client", line, painter(false))!;
  // deno-lint-ignore no-control-regex
  ok(!/[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/.test(text), JSON.stringify(text));
  strictEqual(text.split("\n").length, 2, "the head, and the error below it");
});

Deno.test("readable() shows what the control plane does, and not that it began", () => {
  const told = (message: string, scope: string) =>
    readable("istiod", { level: "info", time: "", scope, message, to: "demo/x" }, painter(false));
  strictEqual(told("pushed policies", "istiod"), " istiod   pushed policies to=demo/x");
  strictEqual(told("local mesh loaded", "istiod"), undefined);
  strictEqual(told("connected", "ztunnel::xds"), undefined);
});
