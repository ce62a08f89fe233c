import type { Policy, PolicyMatch, ServiceAccountMatch, StringMatch } from "#mesh";
import {
  type Decode,
  describe,
  Fields,
  flag,
  isNothing,
  listOf,
  oneOf,
  type Place,
  refuse,
  segment,
  text,
} from "./decode.ts";
import { cidr, portOrZero } from "./local_schema.ts";
import { didYouMean, quote } from "./problems.ts";
import { under } from "./yaml_tree.ts";

const FIELDS = ["name", "namespace", "scope", "action", "dryRun", "rules"];

/** One entry of `policies` (behaviour.md 3.11). */
export const policy: Decode<Policy> = (place) => {
  const fields = Fields.of(place, FIELDS);
  if (fields === undefined) return undefined;
  const name = fields.required("name", segment, "");
  const namespace = fields.required("namespace", segment, "");
  return {
    key: `${namespace}/${name}`,
    name,
    namespace,
    scope: fields.required("scope", oneOf("Global", "Namespace", "WorkloadSelector"), "Global"),
    action: fields.required("action", oneOf("Allow", "Deny"), "Deny"),
    dryRun: fields.optional("dryRun", flag, false),
    rules: fields.required("rules", listOf(listOf(listOf(policyMatch))), []),
  };
};

const MATCH_FIELDS = [
  "namespaces",
  "notNamespaces",
  "principals",
  "notPrincipals",
  "serviceAccounts",
  "notServiceAccounts",
  "sourceIps",
  "notSourceIps",
  "destinationIps",
  "notDestinationIps",
  "destinationPorts",
  "notDestinationPorts",
] as const satisfies readonly (keyof PolicyMatch)[];

/** A field that is misspelt would leave its constraint out and so allow more: unknown ones are refused. */
const policyMatch: Decode<PolicyMatch> = (place) => {
  const fields = Fields.of(place, MATCH_FIELDS);
  return fields && {
    namespaces: fields.optional("namespaces", listOf(stringMatch), []),
    notNamespaces: fields.optional("notNamespaces", listOf(stringMatch), []),
    principals: fields.optional("principals", listOf(stringMatch), []),
    notPrincipals: fields.optional("notPrincipals", listOf(stringMatch), []),
    serviceAccounts: fields.optional("serviceAccounts", listOf(serviceAccountMatch), []),
    notServiceAccounts: fields.optional("notServiceAccounts", listOf(serviceAccountMatch), []),
    sourceIps: fields.optional("sourceIps", listOf(cidr), []),
    notSourceIps: fields.optional("notSourceIps", listOf(cidr), []),
    destinationIps: fields.optional("destinationIps", listOf(cidr), []),
    notDestinationIps: fields.optional("notDestinationIps", listOf(cidr), []),
    destinationPorts: fields.optional("destinationPorts", listOf(portOrZero), []),
    notDestinationPorts: fields.optional("notDestinationPorts", listOf(portOrZero), []),
  };
};

const serviceAccountMatch: Decode<ServiceAccountMatch> = (place) => {
  const fields = Fields.of(place, ["namespace", "serviceAccount"]);
  return fields && {
    namespace: fields.required("namespace", text, ""),
    serviceAccount: fields.required("serviceAccount", text, ""),
  };
};

const VARIANTS = ["Exact", "Prefix", "Suffix", "Presence"] as const;
const EXPECTED = "expected !Exact text, !Prefix text, !Suffix text or !Presence []";

/** Both spellings: `!Exact x` and `{Exact: x}`. */
const stringMatch: Decode<StringMatch> = (place) => {
  const { node, path, problems } = place;
  const variant = VARIANTS.find((each) => node.tag === `!${each}`);
  if (variant !== undefined) return variantOf(variant, place);
  if (node.kind !== "map" || node.entries.size !== 1) {
    return refuse(place, `Cannot use ${describe(node)} as a string match: ${EXPECTED}`);
  }
  const [[name, { keyOffset, value }]] = [...node.entries] as [
    [string, { keyOffset: number; value: Place["node"] }],
  ];
  const named = VARIANTS.find((each) => each === name);
  if (named !== undefined) {
    return variantOf(named, { node: value, path: under(path, name), problems });
  }
  const hint = didYouMean(name, VARIANTS);
  problems.add(keyOffset, path, `Cannot match by ${quote(name)}${hint}: ${EXPECTED}`);
  return undefined;
};

function variantOf(kind: typeof VARIANTS[number], place: Place): StringMatch | undefined {
  const { node } = place;
  if (kind === "Presence") {
    if (isNothing(node) || (node.kind === "list" && node.items.length === 0)) return { kind };
    return refuse(place, `Cannot use ${describe(node)} with Presence: expected []`);
  }
  if (node.kind !== "scalar") {
    return refuse(place, `Cannot use ${describe(node)} with ${kind}: expected text`);
  }
  return { kind, value: node.text };
}
