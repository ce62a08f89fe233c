/**
 * Policies as functions, made once per Policy object: what is compared is decided at compile time, so a
 * connection pays only for the fields that a policy really uses.
 * @module
 */
import type { Policy, PolicyMatch, ServiceAccountMatch, StringMatch } from "#mesh";
import { type Cidr, Ip, SpiffeId } from "#values";
import type { ConnectionFacts } from "./verdict.ts";

/** A connection's facts in the form that matchers compare, derived once per evaluation. */
export interface Subject {
  /** Of the identity; the empty string without one, and that is what policies compare with (behaviour.md 5.4). */
  readonly namespace: string;
  /** The identity without its scheme; undefined never matches. */
  readonly principal: string | undefined;
  readonly serviceAccount: string | undefined;
  readonly sourceIp: Uint8Array;
  readonly destinationIp: Uint8Array;
  readonly destinationPort: number;
}

export interface CompiledPolicy {
  /** `namespace/name`, as reasons and notes show it. */
  readonly label: string;
  matches(subject: Subject): boolean;
}

type Test = (subject: Subject) => boolean;

export function subjectOf(facts: ConnectionFacts): Subject {
  const parts = facts.identity === undefined ? undefined : SpiffeId.parts(facts.identity);
  return {
    namespace: parts?.namespace ?? "",
    principal: facts.identity === undefined ? undefined : SpiffeId.principal(facts.identity),
    serviceAccount: parts?.serviceAccount,
    sourceIp: Ip.toBytes(facts.source.ip),
    destinationIp: Ip.toBytes(facts.destination.ip),
    destinationPort: facts.destination.port,
  };
}

// Keyed by the object: the mesh makes a new one for every version, so nothing here can be stale.
const compiledPolicies = new WeakMap<Policy, CompiledPolicy>();

/** The compiled form of `policy`, from the cache if it was asked for before. */
export function compiled(policy: Policy): CompiledPolicy {
  const known = compiledPolicies.get(policy);
  if (known !== undefined) return known;
  const fresh = {
    label: `${policy.namespace}/${policy.name}`,
    matches: anyOf(policy.rules.map(ruleTest)),
  };
  compiledPolicies.set(policy, fresh);
  return fresh;
}

/** Every clause must match; none at all is a match. */
function ruleTest(clauses: readonly (readonly PolicyMatch[])[]): Test {
  return allOf(clauses.map(clauseTest));
}

/** Any entry must match; unlike a policy without rules, a clause without entries matches. */
function clauseTest(entries: readonly PolicyMatch[]): Test {
  return entries.length === 0 ? always : anyOf(entries.map(entryTest));
}

function entryTest(match: PolicyMatch): Test {
  const tests: Test[] = [];
  const require = <T>(values: readonly T[], testOf: (value: T) => Test) => {
    if (values.length > 0) tests.push(anyOf(values.map(testOf)));
  };
  const forbid = <T>(values: readonly T[], testOf: (value: T) => Test) => {
    if (values.length > 0) tests.push(not(anyOf(values.map(testOf))));
  };
  // Ports first: the cheapest comparison, and the one that most often differs.
  require(match.destinationPorts, destinationPortTest);
  forbid(match.notDestinationPorts, destinationPortTest);
  require(match.namespaces, namespaceTest);
  forbid(match.notNamespaces, namespaceTest);
  require(match.principals, principalTest);
  forbid(match.notPrincipals, principalTest);
  require(match.serviceAccounts, serviceAccountTest);
  forbid(match.notServiceAccounts, serviceAccountTest);
  require(match.sourceIps, sourceIpTest);
  forbid(match.notSourceIps, sourceIpTest);
  require(match.destinationIps, destinationIpTest);
  forbid(match.notDestinationIps, destinationIpTest);
  // An entry that says nothing must not match everything: it is what a newer field looks like to us.
  return tests.length === 0 ? never : allOf(tests);
}

const destinationPortTest = (port: number): Test => (subject) => subject.destinationPort === port;

function namespaceTest(match: StringMatch): Test {
  const test = textTest(match);
  return (subject) => test(subject.namespace);
}

function principalTest(match: StringMatch): Test {
  const test = textTest(match);
  return (subject) => subject.principal !== undefined && test(subject.principal);
}

const serviceAccountTest = (match: ServiceAccountMatch): Test => (subject) =>
  subject.serviceAccount === match.serviceAccount && subject.namespace === match.namespace;

function sourceIpTest(cidr: Cidr): Test {
  const test = cidrTest(cidr);
  return (subject) => test(subject.sourceIp);
}

function destinationIpTest(cidr: Cidr): Test {
  const test = cidrTest(cidr);
  return (subject) => test(subject.destinationIp);
}

/** Plain comparison, never a pattern: policy text is data of whoever may write policies. */
function textTest(match: StringMatch): (text: string) => boolean {
  switch (match.kind) {
    case "Exact":
      return (text) => text === match.value;
    case "Prefix":
      return (text) => text.startsWith(match.value);
    case "Suffix":
      return (text) => text.endsWith(match.value);
    case "Presence":
      return (text) => text !== "";
  }
}

/** As Cidr.contains, on bytes parsed once: parsing text per rule would be most of an evaluation's time. */
function cidrTest(cidr: Cidr): (ip: Uint8Array) => boolean {
  const base = Ip.toBytes(cidr.base);
  const whole = cidr.prefixLength >> 3;
  const mask = (0xff << (8 - (cidr.prefixLength & 7))) & 0xff;
  return (ip) => {
    if (ip.length !== base.length) return false;
    for (let i = 0; i < whole; i++) if (ip[i] !== base[i]) return false;
    return mask === 0 || (ip[whole]! & mask) === (base[whole]! & mask);
  };
}

const always: Test = () => true;
const never: Test = () => false;
const not = (test: Test): Test => (subject) => !test(subject);

function anyOf(tests: readonly Test[]): Test {
  if (tests.length === 1) return tests[0]!;
  return (subject) => {
    for (const test of tests) if (test(subject)) return true;
    return false;
  };
}

function allOf(tests: readonly Test[]): Test {
  if (tests.length === 1) return tests[0]!;
  return (subject) => {
    for (const test of tests) if (!test(subject)) return false;
    return true;
  };
}
