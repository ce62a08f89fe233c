import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { CONSEQUENCES, describeFailure, type Failure, Ip, Refusal } from "#values";
import { SocketAddress, SpiffeId } from "#values";

Deno.test("SocketAddress.parse() and format() agree, IPv6 in brackets", () => {
  for (const text of ["1.2.3.4:80", "[2001:db8::1]:443", "[::]:0", "0.0.0.0:65535"]) {
    strictEqual(SocketAddress.format(SocketAddress.parse(text)!), text);
  }
  strictEqual(SocketAddress.format(SocketAddress.parse("[::ffff:1.2.3.4]:5")!), "1.2.3.4:5");
  for (
    const text of [
      "",
      "1.2.3.4",
      "1.2.3.4:",
      "1.2.3.4:65536",
      "::1:80",
      "[1.2.3.4]:80",
      "host:80",
      "[::1]80",
    ]
  ) {
    strictEqual(SocketAddress.parse(text), undefined, text);
  }
});

Deno.test("SpiffeId.parse() follows the vectors of behaviour.md C.8", () => {
  for (const text of ["spiffe://td/ns/a/sa/b", "spiffe:///ns//sa/"]) {
    strictEqual(SpiffeId.parse(text), text);
  }
  for (
    const text of [
      "spiffe://td/ns/a/sa/b/",
      "spiffe://td/ns/a",
      "td/ns/a/sa/b",
      "spiffe://td/sa/b/ns/a",
      "SPIFFE://td/ns/a/sa/b",
      "",
    ]
  ) {
    strictEqual(SpiffeId.parse(text), undefined, text);
  }
  const id = SpiffeId.of("td", "shop", "web");
  deepStrictEqual(SpiffeId.parts(id), {
    trustDomain: "td",
    namespace: "shop",
    serviceAccount: "web",
  });
  strictEqual(SpiffeId.principal(id), "td/ns/shop/sa/web");
});

Deno.test("describeFailure() keeps the phrases that operators grep for (behaviour.md 15.1)", () => {
  const hop = SocketAddress.parse("10.1.0.9:15008")!;
  const table: readonly (readonly [Failure, string])[] = [
    [
      { kind: "denied", reason: "explicitly denied by: shop/no" },
      "connection closed due to policy rejection: explicitly denied by: shop/no",
    ],
    [{ kind: "policy_changed" }, "connection closed due to policy change"],
    [{ kind: "http_status", status: 401 }, "http status: 401 Unauthorized"],
    [{ kind: "no_healthy_upstream", target: hop }, "no healthy upstream: 10.1.0.9:15008"],
    [{ kind: "self_call" }, "attempted recursive call to ourselves"],
    [
      { kind: "ip_mismatch", connected: Ip.parse("1.1.1.1")!, authority: Ip.parse("2.2.2.2")! },
      "ip mismatch: 1.1.1.1 != 2.2.2.2",
    ],
    [{ kind: "drained" }, "connection closed due to connection drain"],
    [{ kind: "application_connect", cause: "x" }, "connection failed: x"],
    [
      { kind: "network_policy", hop },
      "connection timed out, maybe a NetworkPolicy is blocking HBONE port 15008: cannot dial 10.1.0.9:15008",
    ],
  ];
  for (const [failure, text] of table) strictEqual(describeFailure(failure), text);
});

Deno.test("CONSEQUENCES answers as behaviour.md 8.2 and 13.7 say", () => {
  strictEqual(CONSEQUENCES.denied.status, 401);
  strictEqual(CONSEQUENCES.ip_mismatch.status, 400);
  strictEqual(CONSEQUENCES.bad_authority.status, 400);
  strictEqual(CONSEQUENCES.application_connect.status, 503);
  strictEqual(CONSEQUENCES.drained.flag, "-");
  strictEqual(CONSEQUENCES.identity.flag, "IDENTITY_ERROR");
});

Deno.test("Refusal.failureOf() makes an I/O failure of what is no Refusal", () => {
  deepStrictEqual(Refusal.failureOf(new Refusal({ kind: "self_call" })), { kind: "self_call" });
  deepStrictEqual(Refusal.failureOf(new Error("boom")), { kind: "io", cause: "boom" });
  deepStrictEqual(Refusal.failureOf("text"), { kind: "io", cause: "text" });
});
