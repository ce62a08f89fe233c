import {
  Action,
  type Address as WireAddress,
  type Authorization as WireAuthorization,
  type Match as WireMatch,
  Scope,
  type StringMatch as WireStringMatch,
} from "#proto/authorization_pb.ts";
import type { Cidr } from "#values";
import type { Policy, PolicyMatch, StringMatch } from "#mesh";
import { cidrOf, type Decoded, decoded, named, reject } from "../../../lib/mesh/wire_shared.ts";

const SCOPES: Readonly<Record<number, Policy["scope"]>> = {
  [Scope.GLOBAL]: "Global",
  [Scope.NAMESPACE]: "Namespace",
  [Scope.WORKLOAD_SELECTOR]: "WorkloadSelector",
};

const ACTIONS: Readonly<Record<number, Policy["action"]>> = {
  [Action.ALLOW]: "Allow",
  [Action.DENY]: "Deny",
};

const PORT_MAX = 65_535;

/**
 * A policy as istiod sends it (behaviour.md 3.12). `key` is the name of the xDS resource, which need not be
 * `namespace/name`. Pure; never throws. An element that cannot be understood rejects the whole policy (18.9): to drop
 * it could empty its list, and a list without elements restricts nothing.
 */
export function decodeAuthorization(wire: WireAuthorization, key: string): Decoded<Policy> {
  return decoded(() => ({
    key,
    name: wire.name,
    namespace: wire.namespace,
    scope: named(SCOPES, wire.scope, "scope"),
    action: named(ACTIONS, wire.action, "action"),
    dryRun: wire.dryRun,
    rules: wire.rules.map(({ clauses }) => clauses.map(({ matches }) => matches.map(matchOf))),
  }));
}

function matchOf(wire: WireMatch): PolicyMatch {
  return {
    namespaces: textsOf(wire.namespaces, "namespaces"),
    notNamespaces: textsOf(wire.notNamespaces, "not_namespaces"),
    principals: textsOf(wire.principals, "principals"),
    notPrincipals: textsOf(wire.notPrincipals, "not_principals"),
    serviceAccounts: wire.serviceAccounts.map(accountOf),
    notServiceAccounts: wire.notServiceAccounts.map(accountOf),
    sourceIps: rangesOf(wire.sourceIps, "source_ips"),
    notSourceIps: rangesOf(wire.notSourceIps, "not_source_ips"),
    destinationIps: rangesOf(wire.destinationIps, "destination_ips"),
    notDestinationIps: rangesOf(wire.notDestinationIps, "not_destination_ips"),
    destinationPorts: portsOf(wire.destinationPorts, "destination_ports"),
    notDestinationPorts: portsOf(wire.notDestinationPorts, "not_destination_ports"),
  };
}

/** The message's own fields, without what the decoder keeps beside them. */
function accountOf({ namespace, serviceAccount }: WireMatch["serviceAccounts"][number]) {
  return { namespace, serviceAccount };
}

function textsOf(wire: readonly WireStringMatch[], field: string): StringMatch[] {
  return wire.map(({ matchType }): StringMatch => {
    switch (matchType.case) {
      case "exact":
        return { kind: "Exact", value: matchType.value };
      case "prefix":
        return { kind: "Prefix", value: matchType.value };
      case "suffix":
        return { kind: "Suffix", value: matchType.value };
      case "presence":
        return { kind: "Presence" };
      case undefined:
        return reject(`${field} with a match of unknown kind`);
    }
  });
}

function rangesOf(wire: readonly WireAddress[], field: string): Cidr[] {
  return wire.map(({ address, length }) => cidrOf(address, length, field));
}

/** Cut to 16 bits it would be another port than the one that was meant. */
function portsOf(wire: readonly number[], field: string): readonly number[] {
  for (const port of wire) {
    if (port > PORT_MAX) reject(`${field} with an impossible port ${port}`);
  }
  return wire;
}
