import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { authorize, type ConnectionFacts } from "#authz";
import type { Policy, PolicyMatch, StringMatch } from "#mesh";
import { Cidr, SocketAddress, SpiffeId } from "#values";
import { allow, deny, policy, type Rules } from "./policies.ts";

const NOT_ALLOWED = "allow policies exist, but none allowed";
const exact = (value: string): StringMatch => ({ kind: "Exact", value });
const prefix = (value: string): StringMatch => ({ kind: "Prefix", value });
const suffix = (value: string): StringMatch => ({ kind: "Suffix", value });
const presence: StringMatch = { kind: "Presence" };
const cidr = (text: string): Cidr => Cidr.parse(text)!;

const plaintext: ConnectionFacts = {
  source: SocketAddress.parse("10.1.0.5:40000")!,
  destination: SocketAddress.parse("10.1.0.9:8080")!,
};
const mtls = { ...plaintext, identity: SpiffeId.parse("spiffe://td/ns/shop/sa/web")! };
const otherMtls = { ...plaintext, identity: SpiffeId.parse("spiffe://other/ns/bank/sa/till")! };

const outcome = (policies: readonly Policy[], facts: ConnectionFacts): string => {
  const verdict = authorize(policies, facts);
  return verdict.allowed ? "allow" : verdict.reason;
};

const VECTORS: readonly [string, readonly Policy[], ConnectionFacts, string][] = [
  ["no policy", [], mtls, "allow"],
  ["the right principal", [allow({ principals: [exact("td/ns/shop/sa/web")] })], mtls, "allow"],
  [
    "a principal with its scheme",
    [allow({ principals: [exact("spiffe://td/ns/shop/sa/web")] })],
    mtls,
    NOT_ALLOWED,
  ],
  [
    "an allow and a deny that both match",
    [allow({ namespaces: [prefix("sh")] }), deny({ destinationPorts: [8080] })],
    mtls,
    "explicitly denied by: shop/deny",
  ],
  [
    "a dry-run deny that matches",
    [policy("Deny", [[[{ destinationPorts: [8080] }]]], { dryRun: true })],
    mtls,
    "allow",
  ],
  [
    "only a dry-run allow that does not match",
    [policy("Allow", [[[{ destinationPorts: [1] }]]], { dryRun: true })],
    mtls,
    "allow",
  ],
  [
    "a dry-run allow that matches beside an allow that does not",
    [
      policy("Allow", [[[{ destinationPorts: [8080] }]]], { dryRun: true }),
      allow({ destinationPorts: [1] }),
    ],
    mtls,
    NOT_ALLOWED,
  ],
  ["an allow without rules", [policy("Allow", [])], mtls, NOT_ALLOWED],
  ["an allow with an empty rule", [policy("Allow", [[]])], mtls, "allow"],
  ["an allow with an empty clause", [policy("Allow", [[[]]])], mtls, "allow"],
  ["an allow with an empty entry", [allow({})], mtls, NOT_ALLOWED],
  ["a deny without rules", [policy("Deny", [])], mtls, "allow"],
  ["a deny with an empty entry", [deny({})], mtls, "allow"],
  ["a deny with an empty rule", [policy("Deny", [[]])], mtls, "explicitly denied by: shop/deny"],
  [
    "require mTLS, without identity",
    [deny({ notPrincipals: [presence] })],
    plaintext,
    "explicitly denied by: shop/deny",
  ],
  ["require mTLS, with identity", [deny({ notPrincipals: [presence] })], mtls, "allow"],
  ["not this namespace", [allow({ notNamespaces: [exact("shop")] })], mtls, NOT_ALLOWED],
  [
    "one of two namespaces and the port, in two clauses",
    [policy("Allow", [[
      [{ namespaces: [exact("a")] }, { namespaces: [exact("shop")] }],
      [{ destinationPorts: [8080] }],
    ]])],
    mtls,
    "allow",
  ],
  [
    "a range but not this address",
    [allow({ sourceIps: [cidr("10.1.0.0/24")], notSourceIps: [cidr("10.1.0.5/32")] })],
    mtls,
    NOT_ALLOWED,
  ],
  [
    "the first of two denies that match gives the reason",
    [
      policy("Deny", [[]], { name: "one", dryRun: true }),
      policy("Deny", [[]], { name: "two" }),
      policy("Deny", [[]], { name: "three" }),
    ],
    mtls,
    "explicitly denied by: shop/two",
  ],
  [
    "one allow of several is enough",
    [allow({ destinationPorts: [1] }), allow({ destinationPorts: [8080] })],
    mtls,
    "allow",
  ],
];

for (const [name, policies, facts, expected] of VECTORS) {
  Deno.test(`authorize() decides ${name}`, () => {
    strictEqual(outcome(policies, facts), expected);
  });
}

/** Whether one field matches a connection: [plaintext, mTLS from shop/web, mTLS from bank/till]. */
const FIELDS: readonly [string, Partial<PolicyMatch>, readonly [boolean, boolean, boolean]][] = [
  ["namespaces", { namespaces: [exact("shop")] }, [false, true, false]],
  ["namespaces with an empty name", { namespaces: [exact("")] }, [true, false, false]],
  ["notNamespaces", { notNamespaces: [exact("shop")] }, [true, false, true]],
  ["principals", { principals: [exact("td/ns/shop/sa/web")] }, [false, true, false]],
  ["principals with an empty prefix", { principals: [prefix("")] }, [false, true, true]],
  ["notPrincipals", { notPrincipals: [exact("td/ns/shop/sa/web")] }, [true, false, true]],
  [
    "serviceAccounts",
    { serviceAccounts: [{ namespace: "shop", serviceAccount: "web" }] },
    [false, true, false],
  ],
  [
    "serviceAccounts of another namespace",
    { serviceAccounts: [{ namespace: "bank", serviceAccount: "web" }] },
    [false, false, false],
  ],
  [
    "serviceAccounts with empty names",
    { serviceAccounts: [{ namespace: "", serviceAccount: "" }] },
    [false, false, false],
  ],
  [
    "notServiceAccounts",
    { notServiceAccounts: [{ namespace: "shop", serviceAccount: "web" }] },
    [true, false, true],
  ],
  ["sourceIps", { sourceIps: [cidr("10.1.0.5/32")] }, [true, true, true]],
  ["sourceIps elsewhere", { sourceIps: [cidr("10.2.0.0/16")] }, [false, false, false]],
  ["notSourceIps", { notSourceIps: [cidr("10.1.0.0/30")] }, [true, true, true]],
  ["notSourceIps here", { notSourceIps: [cidr("10.1.0.0/24")] }, [false, false, false]],
  ["destinationIps", { destinationIps: [cidr("10.1.0.9/32")] }, [true, true, true]],
  ["destinationIps elsewhere", { destinationIps: [cidr("10.1.0.5/32")] }, [false, false, false]],
  ["notDestinationIps", { notDestinationIps: [cidr("10.1.0.9/32")] }, [false, false, false]],
  ["destinationPorts", { destinationPorts: [80, 8080] }, [true, true, true]],
  ["destinationPorts elsewhere", { destinationPorts: [80] }, [false, false, false]],
  ["notDestinationPorts", { notDestinationPorts: [8080] }, [false, false, false]],
  ["notDestinationPorts elsewhere", { notDestinationPorts: [80] }, [true, true, true]],
  [
    "a positive and a negative list of the same field",
    { namespaces: [presence], notNamespaces: [exact("bank")] },
    [false, true, false],
  ],
];

for (const [name, fields, expected] of FIELDS) {
  Deno.test(`authorize() compares ${name}`, () => {
    const matched = [plaintext, mtls, otherMtls].map((facts) =>
      authorize([allow(fields)], facts).allowed
    );
    deepStrictEqual(matched, expected);
  });
}

/** How one string match sees the namespace `shop`. */
const STRINGS: readonly [StringMatch, boolean][] = [
  [exact("shop"), true],
  [exact("sho"), false],
  [exact("Shop"), false],
  [exact("sh.p"), false],
  [exact("shop|bank"), false],
  [prefix("sh"), true],
  [prefix("hop"), false],
  [prefix(".*"), false],
  [suffix("op"), true],
  [suffix("sho"), false],
  [presence, true],
];

for (const [match, expected] of STRINGS) {
  Deno.test(`authorize() takes ${JSON.stringify(match)} literally`, () => {
    strictEqual(authorize([allow({ namespaces: [match] })], mtls).allowed, expected);
  });
}

const RANGES: readonly [string, string, boolean][] = [
  ["127.0.0.1/24", "127.0.0.9", true],
  ["127.0.0.1/24", "127.0.1.1", false],
  ["10.1.0.129/25", "10.1.0.200", true],
  ["10.1.0.129/25", "10.1.0.100", false],
  ["10.0.0.0/9", "10.127.255.255", true],
  ["10.0.0.0/9", "10.128.0.0", false],
  ["0.0.0.0/0", "8.8.8.8", true],
  ["0.0.0.0/0", "fd00::1", false],
  ["::/0", "8.8.8.8", false],
  ["::/0", "fd00::1", true],
  ["fd00::1/64", "fd00::ffff", true],
  ["fd00::1/128", "fd00::2", false],
  ["10.1.0.5/32", "::ffff:10.1.0.5", true],
];

for (const [range, ip, expected] of RANGES) {
  Deno.test(`authorize() finds ${ip} ${expected ? "in" : "outside"} ${range}`, () => {
    const source = SocketAddress.parse(ip.includes(":") ? `[${ip}]:1` : `${ip}:1`)!;
    const facts = { ...plaintext, source };
    strictEqual(authorize([allow({ sourceIps: [cidr(range)] })], facts).allowed, expected);
  });
}

const NESTING: readonly [string, Rules, boolean][] = [
  ["any entry of a clause", [[[{ destinationPorts: [1] }, { namespaces: [exact("shop")] }]]], true],
  ["no entry of a clause", [[[{ destinationPorts: [1] }, { namespaces: [exact("b")] }]]], false],
  ["every clause", [[[{ destinationPorts: [8080] }], [{ namespaces: [exact("shop")] }]]], true],
  ["not all clauses", [[[{ destinationPorts: [8080] }], [{ namespaces: [exact("b")] }]]], false],
  ["an empty clause beside a matching one", [[[], [{ destinationPorts: [8080] }]]], true],
  ["an empty clause beside one that fails", [[[], [{ destinationPorts: [1] }]]], false],
  ["any rule", [[[{ destinationPorts: [1] }]], [[{ destinationPorts: [8080] }]]], true],
  ["no rule", [[[{ destinationPorts: [1] }]], [[{ destinationPorts: [2] }]]], false],
  ["all fields of an entry", [[[{ destinationPorts: [8080], namespaces: [exact("b")] }]]], false],
];

for (const [name, rules, expected] of NESTING) {
  Deno.test(`authorize() with ${name} matching ${expected ? "allows" : "refuses"}`, () => {
    strictEqual(authorize([policy("Allow", rules)], mtls).allowed, expected);
  });
}

Deno.test("authorize() notes what matched, in the order of evaluation", () => {
  const verdict = authorize([
    policy("Allow", [[]], { name: "yes" }),
    policy("Allow", [[]], { name: "maybe", dryRun: true }),
    policy("Deny", [[]], { name: "perhaps-not", dryRun: true }),
    deny({ destinationPorts: [1] }),
  ], mtls);
  deepStrictEqual(verdict, {
    allowed: true,
    notes: [
      { policy: "shop/perhaps-not", message: "dry-run deny policy match" },
      { policy: "shop/maybe", message: "dry-run allow policy match" },
      { policy: "shop/yes", message: "allow policy match" },
    ],
  });
});

Deno.test("authorize() notes why nothing matched", () => {
  const dryRun = policy("Allow", [], { name: "maybe", dryRun: true });
  const messages = (policies: readonly Policy[]) =>
    authorize(policies, mtls).notes.map((note) => note.message);
  deepStrictEqual(messages([dryRun]), [
    "dry-run: no allow policies matched",
    "no allow policies, allow",
  ]);
  deepStrictEqual(messages([allow({})]), ["no allow policies matched"]);
  deepStrictEqual(messages([policy("Deny", [[]])]), ["deny policy match"]);
  deepStrictEqual(messages([]), []);
});

Deno.test("authorize() judges a new version of a policy by its new rules", () => {
  const before = allow({ destinationPorts: [8080] });
  const after = { ...before, rules: [] };
  strictEqual(outcome([before], mtls), "allow");
  strictEqual(outcome([after], mtls), NOT_ALLOWED);
  strictEqual(outcome([before], mtls), "allow");
});
