import type { Cidr } from "#values";
import type { Policy, PolicyMatch, ServiceAccountMatch, StringMatch } from "./types.ts";
import type { Mutable } from "./read_common.ts";
import { cidrOf, limitElements, named, reject } from "./wire_shared.ts";
import { bytesTag, type Cursor, varintTag } from "./cursor.ts";

const SCOPES = { 0: "Global", 1: "Namespace", 2: "WorkloadSelector" } as const;
const ACTIONS = { 0: "Allow", 1: "Deny" } as const;
const PORT_MAX = 65_535;

/** The lists of a match by their field numbers, for reasons. */
const FIELDS = [
  "",
  "namespaces",
  "not_namespaces",
  "principals",
  "not_principals",
  "source_ips",
  "not_source_ips",
  "destination_ips",
  "not_destination_ips",
  "destination_ports",
  "not_destination_ports",
];

/**
 * A policy from the message that ends at `end`, under its resource name (behaviour.md 3.5, 3.12). `isKnown`: our own record,
 * which may come from a file and have as much as that has room for.
 */
export function readPolicy(cursor: Cursor, end: number, key: string, isKnown: boolean): Policy {
  const draft: Mutable<Policy> = {
    key,
    name: "",
    namespace: "",
    scope: "Global",
    action: "Allow",
    dryRun: false,
    rules: [],
  };
  const rules: PolicyMatch[][][] = [];
  let [clausesCount, matchesCount] = [0, 0];
  const readCounted = () => {
    if (!isKnown) limitElements(++matchesCount, "matches");
    return readMatch(cursor);
  };
  const readClause = () => {
    if (!isKnown) limitElements(++clausesCount, "clauses");
    return readNested(cursor, 2, readCounted);
  };
  for (let tag = cursor.tag(end); tag !== 0; tag = cursor.tag(end)) {
    if (tag === bytesTag(1)) draft.name = cursor.text();
    else if (tag === bytesTag(2)) draft.namespace = cursor.text();
    else if (tag === varintTag(3)) {
      draft.scope = named<Policy["scope"]>(SCOPES, cursor.int32(), "scope");
    } else if (tag === varintTag(4)) {
      draft.action = named<Policy["action"]>(ACTIONS, cursor.int32(), "action");
    } else if (tag === bytesTag(5)) {
      if (!isKnown) limitElements(rules.length + 1, "rules");
      rules.push(readNested(cursor, 1, readClause));
    } else if (tag === varintTag(6)) draft.dryRun = cursor.bool();
    else cursor.skip(tag);
  }
  cursor.close(end);
  draft.rules = rules;
  return draft;
}

/** Every element of the repeated message `field` of the message that starts here. */
function readNested<T>(cursor: Cursor, field: number, read: () => T): T[] {
  const end = cursor.length();
  const elements: T[] = [];
  for (let tag = cursor.tag(end); tag !== 0; tag = cursor.tag(end)) {
    if (tag === bytesTag(field)) elements.push(read());
    else cursor.skip(tag);
  }
  cursor.close(end);
  return elements;
}

function readMatch(cursor: Cursor): PolicyMatch {
  const end = cursor.length();
  const texts: StringMatch[][] = [[], [], [], []];
  const ranges: Cidr[][] = [[], [], [], []];
  const ports: number[][] = [[], []];
  const accounts: ServiceAccountMatch[][] = [[], []];
  for (let tag = cursor.tag(end); tag !== 0; tag = cursor.tag(end)) {
    const field = tag >>> 3;
    if (field === 9 || field === 10) readPorts(cursor, tag, ports[field - 9]!, FIELDS[field]!);
    else if ((tag & 7) !== 2 || field > 12) cursor.skip(tag);
    else if (field <= 4) texts[field - 1]!.push(readStringMatch(cursor, FIELDS[field]!));
    else if (field <= 8) ranges[field - 5]!.push(readRange(cursor, FIELDS[field]!));
    else accounts[field - 11]!.push(readAccount(cursor));
  }
  cursor.close(end);
  return {
    namespaces: texts[0]!,
    notNamespaces: texts[1]!,
    principals: texts[2]!,
    notPrincipals: texts[3]!,
    serviceAccounts: accounts[0]!,
    notServiceAccounts: accounts[1]!,
    sourceIps: ranges[0]!,
    notSourceIps: ranges[1]!,
    destinationIps: ranges[2]!,
    notDestinationIps: ranges[3]!,
    destinationPorts: ports[0]!,
    notDestinationPorts: ports[1]!,
  };
}

function readPorts(cursor: Cursor, tag: number, ports: number[], name: string): void {
  const readPort = () => {
    const port = cursor.uint32();
    // Cut to 16 bits it would be another port than the one that was meant.
    if (port > PORT_MAX) reject(`${name} with an impossible port ${port}`);
    ports.push(port);
  };
  if ((tag & 7) === 0) {
    return readPort();
  }
  if ((tag & 7) !== 2) return cursor.skip(tag);
  const end = cursor.length();
  while (cursor.at < end) readPort();
  cursor.close(end);
}

function readStringMatch(cursor: Cursor, name: string): StringMatch {
  const end = cursor.length();
  let read: StringMatch | undefined;
  for (let tag = cursor.tag(end); tag !== 0; tag = cursor.tag(end)) {
    if (tag === bytesTag(1)) read = { kind: "Exact", value: cursor.text() };
    else if (tag === bytesTag(2)) read = { kind: "Prefix", value: cursor.text() };
    else if (tag === bytesTag(3)) read = { kind: "Suffix", value: cursor.text() };
    else if (tag === bytesTag(4)) {
      cursor.skip(tag);
      read = { kind: "Presence" };
    } else cursor.skip(tag);
  }
  cursor.close(end);
  return read ?? reject(`${name} with a match of unknown kind`);
}

/** Address: address = 1, length = 2. */
function readRange(cursor: Cursor, name: string): Cidr {
  const end = cursor.length();
  let address: Uint8Array = new Uint8Array();
  let length = 0;
  for (let tag = cursor.tag(end); tag !== 0; tag = cursor.tag(end)) {
    if (tag === bytesTag(1)) address = cursor.bytes();
    else if (tag === varintTag(2)) length = cursor.uint32();
    else cursor.skip(tag);
  }
  cursor.close(end);
  return cidrOf(address, length, name);
}

/** ServiceAccountMatch: namespace = 1, serviceAccount = 2. */
function readAccount(cursor: Cursor): ServiceAccountMatch {
  const end = cursor.length();
  let [namespace, serviceAccount] = ["", ""];
  for (let tag = cursor.tag(end); tag !== 0; tag = cursor.tag(end)) {
    if (tag === bytesTag(1)) namespace = cursor.text();
    else if (tag === bytesTag(2)) serviceAccount = cursor.text();
    else cursor.skip(tag);
  }
  cursor.close(end);
  return { namespace, serviceAccount };
}
