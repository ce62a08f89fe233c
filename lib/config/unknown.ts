/**
 * Names that look like ours and are not: a mistyped variable would otherwise be silently ignored.
 * @module
 */
import { ALL_VARIABLES, FAMILIES, PLACE } from "./variables.ts";

/** Nobody else uses these beginnings, so that every unknown name is worth a word. */
const OUR_PREFIXES = ["ZTUNNEL_", "XDS_", "INPOD_"];
/** A long name survives two slips and is still recognised; of a short one that would be another word. */
const LONG_NAME_CHARACTERS = 12;
const HINT_DISTANCE_MAX = 8;

const names = ALL_VARIABLES.map(({ name }) => name);
const known = new Set(names);
const families = Object.values(FAMILIES).map(({ prefix }) => prefix);
const common = new Set<string>(Object.values(PLACE).map(({ name }) => name));
const telling = names.filter((name) => !common.has(name));

/** One warning for each name; values are not shown, they may be anybody's. */
export function unknownVariables(env: Readonly<Record<string, string>>): readonly string[] {
  return Object.keys(env).sort().flatMap((name) => {
    if (known.has(name) || families.some((prefix) => name.startsWith(prefix))) return [];
    if (isServiceLink(name, env[name]!)) return [];
    const ours = OUR_PREFIXES.some((prefix) => name.startsWith(prefix));
    const near = ours
      ? nearest(name, names, HINT_DISTANCE_MAX)
      : nearest(name, telling, name.length >= LONG_NAME_CHARACTERS ? 2 : 1);
    if (!ours && (near === undefined || near[0] !== name[0])) return [];
    const hint = near === undefined ? "" : `; did you mean ${near}?`;
    return [`${name} is not a variable of ztunnel and is ignored${hint}`];
  });
}

/** Kubernetes sets these for each service of the namespace, and one may be called ztunnel. */
function isServiceLink(name: string, value: string): boolean {
  if (/_SERVICE_(HOST|PORT(_\w+)?)$/.test(name)) return true;
  if (/_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$/.test(name)) return true;
  return name.endsWith("_PORT") && /^(tcp|udp|sctp):\/\//.test(value);
}

function nearest(
  name: string,
  candidates: readonly string[],
  distanceMax: number,
): string | undefined {
  let best: string | undefined;
  let bestDistance = distanceMax + 1;
  for (const candidate of candidates) {
    if (Math.abs(candidate.length - name.length) >= bestDistance) continue;
    const distance = editDistance(name, candidate);
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

/** Levenshtein's. Only called for lengths that differ little, so that a giant name costs nothing. */
function editDistance(a: string, b: string): number {
  let above = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap = above[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(swap, above[j]! + 1, row[j - 1]! + 1));
    }
    above = row;
  }
  return above[b.length]!;
}
