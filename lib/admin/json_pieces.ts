/** JSON of what has no bound, written piece by piece: a string of the whole could be larger than the runtime takes. */
import { terminalSafe } from "#log";

/** A list or an object of so few values, none of which has values of its own, is one piece. */
const SHALLOW_VALUES_MAX = 64;

/** An object whose fields are looked up when their turn comes; undefined ones are left out. */
export class Entries {
  constructor(readonly each: Iterable<readonly [name: string, value: unknown]>) {}
}

/** The pieces, two spaces per level behind `indent`, together what `JSON.stringify(value, null, 2)` is; some may be empty. */
export function* jsonPieces(value: unknown, indent: string): Generator<string> {
  if (value instanceof Entries) yield* object(value.each, indent);
  else if (typeof value !== "object" || value === null || isShallow(value)) {
    yield jsonText(value, indent);
  } else if (Array.isArray(value)) yield* list(value, indent);
  else yield* object(Object.entries(value), indent);
}

/** All of it at once: for what is small. */
export function jsonText(value: unknown, indent: string): string {
  const json = terminalSafe(JSON.stringify(value, null, 2) ?? "null");
  // A string's own line ends are escaped in JSON, so every real one is layout.
  return json.replaceAll("\n", `\n${indent}`);
}

function* list(values: readonly unknown[], indent: string): Generator<string> {
  const inner = `${indent}  `;
  for (const [index, value] of values.entries()) {
    yield `${index === 0 ? "[" : ","}\n${inner}`;
    yield* jsonPieces(value, inner);
  }
  yield `\n${indent}]`;
}

function* object(
  entries: Iterable<readonly [name: string, value: unknown]>,
  indent: string,
): Generator<string> {
  const inner = `${indent}  `;
  let count = 0;
  for (const [name, value] of entries) {
    if (value === undefined) {
      // Looking it up took its time all the same.
      yield "";
      continue;
    }
    yield `${count++ === 0 ? "{" : ","}\n${inner}${terminalSafe(JSON.stringify(name))}: `;
    yield* jsonPieces(value, inner);
  }
  yield count === 0 ? "{}" : `\n${indent}}`;
}

function isShallow(value: object): boolean {
  const values = Object.values(value);
  return values.length <= SHALLOW_VALUES_MAX &&
    values.every((each) => typeof each !== "object" || each === null);
}
