import { sameContent } from "#mesh";
import type { LocalMesh } from "./local.ts";

/** What one load changed, as names for people: `workload <uid>`, `service <ns/host>`, `policy <ns/name>`. */
export interface LocalChanges {
  readonly added: readonly string[];
  readonly removed: readonly string[];
  readonly changed: readonly string[];
}

export function changesBetween(before: LocalMesh, after: LocalMesh): LocalChanges {
  const changes = { added: [] as string[], removed: [] as string[], changed: [] as string[] };
  const [known, now] = [named(before), named(after)];
  for (const [name, value] of now) {
    if (!known.has(name)) changes.added.push(name);
    else if (!sameContent(known.get(name), value)) changes.changed.push(name);
  }
  for (const name of known.keys()) if (!now.has(name)) changes.removed.push(name);
  return changes;
}

function named(mesh: LocalMesh): ReadonlyMap<string, unknown> {
  const values = new Map<string, unknown>();
  for (const workload of mesh.workloads) values.set(`workload ${workload.uid}`, workload);
  for (const service of mesh.services) {
    values.set(`service ${service.namespace}/${service.hostname}`, service);
  }
  for (const policy of mesh.policies) values.set(`policy ${policy.key}`, policy);
  return values;
}

/** Named in one log line; the rest is a number. */
const NAMES_MAX = 10;

/** `a, b and 3 more`; undefined for none, so that the field is left out. */
export function listed(names: readonly string[]): string | undefined {
  if (names.length === 0) return undefined;
  const shown = names.slice(0, NAMES_MAX).join(", ");
  return names.length <= NAMES_MAX ? shown : `${shown} and ${names.length - NAMES_MAX} more`;
}
