import type { Policy, PolicyMatch } from "#mesh";

/** A match entry with only the given fields set. */
export function entry(fields: Partial<PolicyMatch>): PolicyMatch {
  return {
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
    ...fields,
  };
}

/** Rules of clauses of entries, as a policy writes them. */
export type Rules = readonly (readonly (readonly Partial<PolicyMatch>[])[])[];

export function policy(
  action: Policy["action"],
  rules: Rules,
  options: { readonly name?: string; readonly dryRun?: boolean } = {},
): Policy {
  const name = options.name ?? action.toLowerCase();
  return {
    key: `shop/${name}`,
    name,
    namespace: "shop",
    scope: "Namespace",
    action,
    dryRun: options.dryRun ?? false,
    rules: rules.map((clauses) => clauses.map((entries) => entries.map(entry))),
  };
}

/** An allow or deny of one rule, one clause, one entry. */
export const allow = (fields: Partial<PolicyMatch>): Policy => policy("Allow", [[[fields]]]);
export const deny = (fields: Partial<PolicyMatch>): Policy => policy("Deny", [[[fields]]]);
