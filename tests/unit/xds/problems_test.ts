import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { formatProblem, loadLocal, LOCAL_LIMITS } from "#xds";
import { wrongWith } from "./support.ts";

const inWorkload = (field: string) =>
  `workloads:\n- namespace: shop\n  workloadIps: []\n  ${field}\n`;
const inService = (field: string) =>
  `services:\n- name: a\n  namespace: shop\n  hostname: a.org\n  vips: []\n  ports: {}\n  ${field}\n`;
const inPolicy = (field: string) =>
  `policies:\n- name: p\n  namespace: shop\n  scope: Global\n  action: Deny\n  ${field}\n`;
const inMatch = (field: string) => inPolicy(`rules: [[[{ ${field} }]]]`);
const DESTINATION = 'expected "network/ip" or "namespace/hostname"';
const STRING_MATCH = "expected !Exact text, !Prefix text, !Suffix text or !Presence []";

const TABLE: readonly (readonly [string, string, ...string[]])[] = [
  ["a list for a mesh", "[]", "1:1: Cannot use a list here: expected a map"],
  ["text for a mesh", "abc", '1:1: Cannot use the text "abc" here: expected a map'],
  [
    "an unknown field",
    "workload: []",
    '1:1: workload: Cannot use the unknown field "workload" (did you mean "workloads"?)',
  ],
  ["a field like none", "xyz: 1", '1:1: xyz: Cannot use the unknown field "xyz"'],
  [
    "an unknown field of a workload",
    inWorkload("Protocol: HBONE"),
    '4:3: workloads[0].Protocol: Cannot use the unknown field "Protocol" (did you mean "protocol"?)',
  ],
  [
    "an unknown field of a service",
    inService("vip: []"),
    '7:3: services[0].vip: Cannot use the unknown field "vip" (did you mean "vips"?)',
  ],
  [
    "an unknown field of a policy",
    inPolicy("rules: []\n  dryrun: true"),
    '7:3: policies[0].dryrun: Cannot use the unknown field "dryrun" (did you mean "dryRun"?)',
  ],
  [
    "an unknown field of a match",
    inMatch("principal: [!Exact a]"),
    '6:15: policies[0].rules[0][0][0].principal: Cannot use the unknown field "principal" (did you mean "principals"?)',
  ],
  [
    "an unknown field of a waypoint",
    inWorkload("waypoint: { destination: a/b.org, hboneMtlsPort: 1, port: 2 }"),
    '4:55: workloads[0].waypoint.port: Cannot use the unknown field "port"',
  ],
  [
    "a missing field",
    "workloads:\n- uid: a\n  workloadIps: []\n",
    '2:3: workloads[0]: Cannot do without the field "namespace"',
  ],
  [
    "a required field without value",
    "workloads:\n- namespace: shop\n  workloadIps:\n",
    '2:3: workloads[0]: Cannot do without the field "workloadIps"',
  ],
  [
    "missing fields of a service",
    "services:\n- name: a\n  namespace: shop\n  hostname: a.org\n",
    '2:3: services[0]: Cannot do without the field "vips"',
    '2:3: services[0]: Cannot do without the field "ports"',
  ],
  [
    "missing fields of a policy",
    "policies:\n- name: a\n  namespace: shop\n",
    '2:3: policies[0]: Cannot do without the field "scope"',
    '2:3: policies[0]: Cannot do without the field "action"',
    '2:3: policies[0]: Cannot do without the field "rules"',
  ],
  [
    "a missing part of a locality",
    inWorkload("locality: { region: a, zone: b }"),
    '4:13: workloads[0].locality: Cannot do without the field "subzone"',
  ],
  [
    "a missing part of a load balancer",
    inService("loadBalancer: { mode: Strict, routingPreferences: [] }"),
    '7:17: services[0].loadBalancer: Cannot do without the field "healthPolicy"',
  ],
  [
    "a bad address",
    inWorkload("uid: a\n- namespace: shop\n  workloadIps: [10.0.0.1, 10.0.0.256]"),
    '6:27: workloads[1].workloadIps[1]: Cannot use "10.0.0.256": expected an IP address',
  ],
  [
    "a VIP without network",
    "services:\n- { name: a, namespace: b, hostname: c, ports: {}, vips: [10.96.0.1] }",
    '2:59: services[0].vips[0]: Cannot use "10.96.0.1": expected "network/ip"; where the network has no name, "/ip"',
  ],
  [
    "a range without prefix length",
    inService("cidrVips: [{ network: east, cidr: 10.97.0.0 }]"),
    '7:37: services[0].cidrVips[0].cidr: Cannot use "10.97.0.0": expected an IP range with its prefix length, as "10.0.0.0/8"',
  ],
  [
    "a range with too long a prefix",
    inMatch("sourceIps: [10.0.0.0/33]"),
    '6:27: policies[0].rules[0][0][0].sourceIps[0]: Cannot use "10.0.0.0/33": expected an IP range with its prefix length, as "10.0.0.0/8"',
  ],
  [
    "a waypoint at a broken address",
    inWorkload("waypoint: { destination: east/10.20.9.999, hboneMtlsPort: 15008 }"),
    `4:28: workloads[0].waypoint.destination: Cannot use "east/10.20.9.999": ${DESTINATION}`,
  ],
  [
    "a waypoint without namespace",
    inWorkload("waypoint: { destination: a.org, hboneMtlsPort: 15008 }"),
    `4:28: workloads[0].waypoint.destination: Cannot use "a.org": ${DESTINATION}`,
  ],
  [
    "a port past the range",
    inWorkload("waypoint: { destination: a/b.org, hboneMtlsPort: 70000 }"),
    "4:52: workloads[0].waypoint.hboneMtlsPort: Cannot use 70000: expected a number from 1 to 65535",
  ],
  [
    "a service port that is none",
    inService("waypoint: null").replace("{}", "{ http: 80, 0: 1, 70000: 1, 80: -1 }"),
    '6:12: services[0].ports.http: Cannot use "http" as a port: expected a number from 1 to 65535',
    '6:22: services[0].ports[0]: Cannot use "0" as a port: expected a number from 1 to 65535',
    '6:28: services[0].ports[70000]: Cannot use "70000" as a port: expected a number from 1 to 65535',
    "6:42: services[0].ports[80]: Cannot use -1: expected a number from 0 to 65535",
  ],
  [
    "an endpoint without target",
    inWorkload("services: { shop/a.org: { 80: 0 } }"),
    '4:33: workloads[0].services["shop/a.org"][80]: Cannot use 0: expected a number from 1 to 65535',
  ],
  [
    "a service that is not namespace/hostname",
    inWorkload("services: { a.org: { 80: 80 } }"),
    '4:15: workloads[0].services["a.org"]: Cannot use "a.org" as a service: expected "namespace/hostname"',
  ],
  [
    "a policy port past the range",
    inMatch("destinationPorts: [65536]"),
    "6:34: policies[0].rules[0][0][0].destinationPorts[0]: Cannot use 65536: expected a number from 0 to 65535",
  ],
  [
    "a fraction for a number",
    inWorkload("capacity: 1.5"),
    '4:13: workloads[0].capacity: Cannot use the number "1.5" here: expected a whole number',
  ],
  [
    "text for a number",
    inWorkload('capacity: "1"'),
    '4:13: workloads[0].capacity: Cannot use the text "1" here: expected a whole number',
  ],
  [
    "a negative capacity",
    inWorkload("capacity: -1"),
    "4:13: workloads[0].capacity: Cannot use -1: expected a number from 0 to 4294967295",
  ],
  [
    "text for a flag",
    inWorkload("nativeTunnel: yes"),
    '4:17: workloads[0].nativeTunnel: Cannot use the text "yes" here: expected true or false',
  ],
  [
    "a list for text",
    inWorkload("name: [a]"),
    "4:9: workloads[0].name: Cannot use a list here: expected text",
  ],
  [
    "text for a list",
    inWorkload("authorizationPolicies: a"),
    '4:26: workloads[0].authorizationPolicies: Cannot use the text "a" here: expected a list',
  ],
  [
    "nothing in a list",
    inWorkload("authorizationPolicies: [~]"),
    "4:27: workloads[0].authorizationPolicies[0]: Cannot use nothing here: expected text",
  ],
  [
    "an unknown protocol",
    inWorkload("protocol: hbone"),
    '4:13: workloads[0].protocol: Cannot use "hbone" (did you mean "HBONE"?): expected TCP or HBONE',
  ],
  [
    "an unknown preference",
    inService("loadBalancer: { mode: Strict, routingPreferences: [Rack], healthPolicy: AllowAll }"),
    '7:54: services[0].loadBalancer.routingPreferences[0]: Cannot use "Rack": expected Region or Zone or Subzone or Node or Cluster or Network',
  ],
  [
    "a slash that would forge an identity",
    inWorkload("serviceAccount: a/ns/b"),
    '4:19: workloads[0].serviceAccount: Cannot use "a/ns/b": it may not contain "/"',
  ],
  [
    "a bare text for a string match",
    inMatch("principals: [a]"),
    `6:28: policies[0].rules[0][0][0].principals[0]: Cannot use the text "a" as a string match: ${STRING_MATCH}`,
  ],
  [
    "an unknown string match",
    inMatch("principals: [{ exact: a }]"),
    `6:30: policies[0].rules[0][0][0].principals[0]: Cannot match by "exact" (did you mean "Exact"?): ${STRING_MATCH}`,
  ],
  [
    "two string matches in one",
    inMatch("principals: [{ Exact: a, Prefix: b }]"),
    `6:28: policies[0].rules[0][0][0].principals[0]: Cannot use a map as a string match: ${STRING_MATCH}`,
  ],
  [
    "a string match without text",
    inMatch("principals: [{ Exact: [a] }]"),
    "6:37: policies[0].rules[0][0][0].principals[0].Exact: Cannot use a list with Exact: expected text",
  ],
  [
    "a presence of something",
    inMatch("principals: [!Presence [a]]"),
    "6:38: policies[0].rules[0][0][0].principals[0]: Cannot use a list with Presence: expected []",
  ],
  [
    "rules that are not nested",
    inPolicy("rules: [{ principals: [] }]"),
    "6:11: policies[0].rules[0]: Cannot use a map here: expected a list",
  ],
  [
    "a string match tag elsewhere",
    inWorkload("name: !Exact a"),
    '4:16: workloads[0].name: Cannot use the tag "!Exact" here: it belongs to a string match',
  ],
  [
    "an unknown tag",
    inWorkload("name: !Foo a"),
    '4:9: Cannot use the tag "!Foo": known are !Exact, !Prefix, !Suffix, !Presence',
  ],
  [
    "two workloads of one uid",
    "workloads:\n- { uid: a, namespace: s, workloadIps: [] }\n- { uid: a, namespace: t, workloadIps: [] }\n",
    '3:3: workloads[1]: Cannot have two workloads with the uid "a": the first is on line 2',
  ],
  [
    "two services of one name",
    "services:\n" + "- { name: a, namespace: s, hostname: h, vips: [], ports: {} }\n".repeat(2),
    '3:3: services[1]: Cannot have two services "s/h": the first is on line 2',
  ],
  [
    "two policies of one name",
    "policies:\n" +
    "- { name: a, namespace: s, scope: Global, action: Deny, rules: [] }\n".repeat(2),
    '3:3: policies[1]: Cannot have two policies "s/a": the first is on line 2',
  ],
  [
    "a key twice",
    inWorkload("name: a\n  name: b"),
    "5:3: workloads[0].name: Cannot use a key twice: it is also on line 4",
  ],
  [
    "a port twice in two spellings",
    inWorkload('services: { shop/a.org: { 80: 1, "80": 2 } }'),
    '4:36: workloads[0].services["shop/a.org"][80]: Cannot use a key twice: it is also on line 4',
  ],
  [
    "merge keys",
    "a: &a { b: 1 }\nworkloads:\n- <<: *a\n",
    '3:3: workloads[0]["<<"]: Cannot use merge keys: write the fields out',
  ],
  ["a list as key", "[a]: 1", "1:1: Cannot use this key: a key is plain text or a number"],
  ["nothing as key", "? \n: 1", "1:3: Cannot use this key: a key is plain text or a number"],
  ["a second document", "{}\n---\n{}\n", "2:1: Cannot read a second document: a mesh is one"],
  ["a directive", "%YAML 1.1\n---\n{}", "1:1: Cannot use a YAML directive here"],
  [
    "a tab for indentation",
    "workloads:\n\t- a",
    "2:1: Cannot read YAML: Tabs are not allowed as indentation",
  ],
  ["a control character", "a: \x01", "1:4: Cannot read a control character (U+0001) in YAML"],
  [
    "an alias of nothing",
    "workloads: *a",
    '1:12: workloads: Cannot use the alias "*a": nothing before it has that anchor',
  ],
  [
    "an alias of itself",
    "workloads: &a [*a]",
    '1:16: workloads[0]: Cannot use the alias "*a": it would contain itself, or what it names is wrong',
  ],
  [
    "an invisible character in a name",
    "work\u200Bloads: 1",
    '1:1: ["work\\u200bloads"]: Cannot use the unknown field "work\\u200bloads" (did you mean "workloads"?)',
  ],
];

for (const [name, text, ...expected] of TABLE) {
  Deno.test(`loadLocal() tells of ${name}`, () => {
    deepStrictEqual(wrongWith(text), expected.map((line) => `mesh.yaml:${line}`));
  });
}

Deno.test("loadLocal() tells all problems at once, and how many it left out", () => {
  const problemsCount = LOCAL_LIMITS.problemsMax + 7;
  const lines = wrongWith(Array.from({ length: problemsCount }, (_, i) => `x${i}: 1`).join("\n"));
  strictEqual(lines.length, LOCAL_LIMITS.problemsMax + 1);
  strictEqual(lines.at(-1), "mesh.yaml: and 7 more problems");
});

const bomb = (letters: string) =>
  `a: &a [x,x,x,x,x,x,x,x,x]\n` +
  [...letters].map((letter, index) =>
    `${letter}: &${letter} [${Array(9).fill(`*${index === 0 ? "a" : letters[index - 1]}`).join()}]`
  ).join("\n");

for (
  const [name, text, expected] of [
    ["a bomb of aliases", bomb("bcdefghijkl"), /more than 2000000 values, aliases replaced/],
    ["too many aliases", `a: &a 1\nb: [${"*a,".repeat(20_000)}]`, /more than 10000 aliases/],
    ["deep lists", "[".repeat(100_000), /nested deeper than 32 levels/],
    ["deep maps", "{a: ".repeat(100_000), /nested deeper than 32 levels/],
    ["deep blocks", "- ".repeat(100_000), /nested deeper than 32 levels/],
    ["deep keys", "? ".repeat(100_000), /nested deeper than 32 levels/],
    ["too large a text", "a".repeat(LOCAL_LIMITS.fileBytesMax + 1), /more than 67108864 bytes/],
    ["a very long value", `a: ${"x".repeat(30_000_000)}`, /unknown field "a"/],
    ["many documents", "---\n".repeat(100_000), /second document/],
    ["many errors", "a: ]\n".repeat(100_000), /Unexpected flow-seq-end/],
    ["many keys", Array.from({ length: 50_000 }, (_, i) => `k${i}: 1`).join("\n"), /"k0"/],
    ["many unknown tags", `[${"!a b,".repeat(100_000)}]`, /the tag "!a"/],
  ] as const
) {
  Deno.test(`loadLocal() refuses ${name} soon`, () => {
    const start = performance.now();
    const [first] = wrongWith(text);
    match(first ?? "", expected);
    // Each takes well under a second; what is quadratic or worse takes minutes.
    ok(performance.now() - start < 15_000);
  });
}

Deno.test("loadLocal() refuses more words than its limit", () => {
  match(wrongWith("[" + "a,".repeat(1_200_000))[0] ?? "", /more than 2000000 words/);
});

Deno.test("formatProblem() has no place for what concerns the whole file", () => {
  const loaded = loadLocal("a".repeat(LOCAL_LIMITS.fileBytesMax + 1), "big.yaml");
  ok("problems" in loaded);
  strictEqual(
    formatProblem(loaded.problems[0]!),
    "big.yaml: Cannot read more than 67108864 bytes",
  );
});
