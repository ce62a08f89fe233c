/**
 * How long one authorization takes among many policies: 10,000 policies of 10 rules, none of which matches, so
 * that every rule is looked at (behaviour.md 16.4). Run: deno bench bench/authz.ts
 * @module
 */
import { authorize, type ConnectionFacts } from "#authz";
import type { Policy, PolicyMatch } from "#mesh";
import { Cidr, SocketAddress, SpiffeId } from "#values";

const POLICIES_COUNT = 10_000;
const RULES_COUNT = 10;

const NO_FIELDS: PolicyMatch = {
  namespaces: [],
  notNamespaces: [],
  principals: [],
  notPrincipals: [],
  serviceAccounts: [],
  notServiceAccounts: [],
  sourceIps: [],
  notSourceIps: [],
  destinationIps: [],
  notDestinationIps: [],
  destinationPorts: [],
  notDestinationPorts: [],
};

/** Three kinds of rule in turn, so that every comparison is measured. */
function match(rule: number, policy: number): PolicyMatch {
  switch (rule % 3) {
    case 0:
      return { ...NO_FIELDS, namespaces: [{ kind: "Prefix", value: `team-${policy}` }] };
    case 1:
      return { ...NO_FIELDS, principals: [{ kind: "Exact", value: `td/ns/team/sa/${policy}` }] };
    default:
      return { ...NO_FIELDS, sourceIps: [Cidr.parse(`10.${policy % 256}.${rule}.0/24`)!] };
  }
}

function policies(count: number): Policy[] {
  return Array.from({ length: count }, (_, index) => ({
    key: `bench/p${index}`,
    name: `p${index}`,
    namespace: "bench",
    scope: "Namespace",
    action: "Allow",
    dryRun: false,
    rules: Array.from({ length: RULES_COUNT }, (_, rule) => [[match(rule, index)]]),
  }));
}

const facts: ConnectionFacts = {
  identity: SpiffeId.of("cluster.local", "shop", "web"),
  source: SocketAddress.parse("192.168.0.5:40000")!,
  destination: SocketAddress.parse("192.168.0.9:8080")!,
};

const many = policies(POLICIES_COUNT);
const few = policies(10);
if (authorize(many, facts).allowed) throw new Error("Cannot measure: a policy matched");

Deno.bench("authorize() among 10,000 policies of 10 rules", () => {
  authorize(many, facts);
});
Deno.bench("authorize() among 10 policies of 10 rules", () => {
  authorize(few, facts);
});
