/** The small words that the schema of a local mesh is written in. */
import { didYouMean, type Problems, quote } from "./problems.ts";
import { under, type YamlEntry, type YamlMap, type YamlNode } from "./yaml_tree.ts";

/** A value with its path. */
export interface Place {
  readonly node: YamlNode;
  readonly path: string;
  readonly problems: Problems;
}

/** What the value means; undefined after it has told a problem. */
export type Decode<T> = (place: Place) => T | undefined;

export function refuse({ node, path, problems }: Place, message: string): undefined {
  problems.add(node.offset, path, message);
}

/** What somebody wrote, for a message about its type. */
export function describe(node: YamlNode): string {
  if (node.kind !== "scalar") return `a ${node.kind}`;
  if (node.value === null) return "nothing";
  if (typeof node.value === "string") return `the text ${quote(node.value)}`;
  return `the ${typeof node.value} ${quote(node.text)}`;
}

/** The place, unless its value has a tag that means nothing there. */
function isUntagged(place: Place): boolean {
  const { tag } = place.node;
  if (tag === undefined || tag.startsWith("tag:yaml.org,2002:")) return true;
  refuse(place, `Cannot use the tag ${quote(tag)} here: it belongs to a string match`);
  return false;
}

export function isNothing(node: YamlNode): boolean {
  return node.kind === "scalar" && node.value === null;
}

/** Unquoted numbers and booleans are taken as they are written: `canonicalRevision: 1.10` is the text 1.10. */
export const text: Decode<string> = (place) => {
  const { node } = place;
  if (node.kind !== "scalar" || node.value === null) {
    return refuse(place, `Cannot use ${describe(node)} here: expected text`);
  }
  return isUntagged(place) ? node.text : undefined;
};

/** Text that becomes a segment of a name with `/` between them; with its own `/` it would be another name. */
export const segment: Decode<string> = (place) => {
  const value = text(place);
  if (value === undefined || !value.includes("/")) return value;
  return refuse(place, `Cannot use ${quote(value)}: it may not contain "/"`);
};

export const flag: Decode<boolean> = (place) => {
  const { node } = place;
  if (node.kind === "scalar" && typeof node.value === "boolean" && isUntagged(place)) {
    return node.value;
  }
  return refuse(place, `Cannot use ${describe(node)} here: expected true or false`);
};

/** A whole number; hexadecimal and octal are fine, as YAML has them. */
export function whole(min: number, max: number): Decode<number> {
  return (place) => {
    const { node } = place;
    const isWhole = node.kind === "scalar" && typeof node.value === "number" &&
      /^[-+]?(\d+|0x[0-9a-f]+|0o[0-7]+)$/i.test(node.text);
    if (!isWhole) {
      return refuse(place, `Cannot use ${describe(node)} here: expected a whole number`);
    }
    const value = node.value as number;
    if (value >= min && value <= max) return value;
    return refuse(place, `Cannot use ${node.text}: expected a number from ${min} to ${max}`);
  };
}

export function oneOf<const T extends string>(...words: readonly T[]): Decode<T> {
  return (place) => {
    const value = text(place);
    if (value === undefined) return undefined;
    const found = words.find((word) => word === value);
    if (found !== undefined) return found;
    return refuse(
      place,
      `Cannot use ${quote(value)}${didYouMean(value, words)}: expected ${words.join(" or ")}`,
    );
  };
}

/** Every element, or all of those that are wrong as problems. */
export function listOf<T>(decode: Decode<T>): Decode<readonly T[]> {
  return (place) => {
    const { node, path, problems } = place;
    if (node.kind !== "list") {
      return refuse(place, `Cannot use ${describe(node)} here: expected a list`);
    }
    if (!isUntagged(place)) return undefined;
    const values: T[] = [];
    for (const [index, item] of node.items.entries()) {
      if (problems.isFull) break;
      const value = decode({ node: item, path: `${path}[${index}]`, problems });
      if (value !== undefined) values.push(value);
    }
    return values;
  };
}

/** What `parse` makes of the text; `expected` says what that would have been. */
export function parsed<T>(
  parse: (value: string) => T | undefined,
  expected: string,
): Decode<T> {
  return (place) => {
    const value = text(place);
    if (value === undefined) return undefined;
    return parse(value) ?? refuse(place, `Cannot use ${quote(value)}: expected ${expected}`);
  };
}

export function mapAt(place: Place): YamlMap | undefined {
  const { node } = place;
  if (node.kind !== "map") {
    return refuse(place, `Cannot use ${describe(node)} here: expected a map`);
  }
  return isUntagged(place) ? node : undefined;
}

/** The fields of a map that has no other fields than the known ones. */
export class Fields {
  readonly #entries: ReadonlyMap<string, YamlEntry>;

  private constructor(private readonly place: Place, map: YamlMap, known: readonly string[]) {
    this.#entries = map.entries;
    const { path, problems } = place;
    for (const [name, { keyOffset }] of map.entries) {
      if (known.includes(name)) continue;
      problems.add(
        keyOffset,
        under(path, name),
        `Cannot use the unknown field ${quote(name)}${didYouMean(name, known)}`,
      );
    }
  }

  static of(place: Place, known: readonly string[]): Fields | undefined {
    const map = mapAt(place);
    return map && new Fields(place, map, known);
  }

  /** After a problem the value is `placeholder`, so that the rest is still looked at; nobody will use it. */
  required<T>(name: string, decode: Decode<T>, placeholder: T): T {
    const place = this.#placeOf(name);
    if (place !== undefined) return decode(place) ?? placeholder;
    refuse(this.place, `Cannot do without the field "${name}"`);
    return placeholder;
  }

  /** `fallback` if the field is not there, or is empty. */
  optional<T, D>(name: string, decode: Decode<T>, fallback: D): T | D {
    const place = this.#placeOf(name);
    return place === undefined ? fallback : decode(place) ?? fallback;
  }

  /** The field under its name, or no field at all: what an optional property is spread from. */
  maybe<N extends string, T>(name: N, decode: Decode<T>): { readonly [K in N]?: T } {
    const value = this.optional(name, decode, undefined);
    return (value === undefined ? {} : { [name]: value }) as { readonly [K in N]?: T };
  }

  #placeOf(name: string): Place | undefined {
    const node = this.#entries.get(name)?.value;
    if (node === undefined || isNothing(node)) return undefined;
    return { node, path: under(this.place.path, name), problems: this.place.problems };
  }
}
