import { LOCAL_LIMITS } from "./limits.ts";

/** One thing that is wrong with a local mesh file. */
export interface LocalProblem {
  readonly file: string;
  /** Where it is, both from 1; absent for what concerns the file as a whole. */
  readonly at?: { readonly line: number; readonly column: number };
  /** Which value, as `workloads[0].waypoint.destination`; empty for YAML that is no YAML. */
  readonly path: string;
  readonly message: string;
}

/** `mesh.yaml:12:5: workloads[0].protocol: Cannot use …` */
export function formatProblem({ file, at, path, message }: LocalProblem): string {
  const place = at === undefined ? file : `${file}:${at.line}:${at.column}`;
  return path === "" ? `${place}: ${message}` : `${place}: ${path}: ${message}`;
}

/** Collects what is wrong, so that people see all of it at once; bounded. */
export class Problems {
  readonly #list: LocalProblem[] = [];
  #lineStarts: number[] | undefined;
  #omittedCount = 0;

  constructor(private readonly file: string, private readonly text: string) {}

  get isEmpty(): boolean {
    return this.#list.length === 0;
  }

  /** Whether there are so many that it does not pay to look for more. */
  get isFull(): boolean {
    return this.#list.length >= LOCAL_LIMITS.problemsMax;
  }

  /** `offset`: in the text, in UTF-16 units. */
  add(offset: number, path: string, message: string): void {
    if (this.isFull) this.#omittedCount++;
    else this.#list.push({ file: this.file, at: this.placeOf(offset), path, message });
  }

  /** In the order of the file. */
  all(): readonly LocalProblem[] {
    const sorted = this.#list.toSorted((a, b) =>
      a.at!.line - b.at!.line || a.at!.column - b.at!.column
    );
    if (this.#omittedCount === 0) return sorted;
    const message = `and ${this.#omittedCount} more problems`;
    return [...sorted, { file: this.file, path: "", message }];
  }

  placeOf(offset: number): { readonly line: number; readonly column: number } {
    this.#lineStarts ??= startsOfLines(this.text);
    let [low, high] = [0, this.#lineStarts.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#lineStarts[middle]! <= offset) low = middle;
      else high = middle - 1;
    }
    return { line: low + 1, column: offset - this.#lineStarts[low]! + 1 };
  }
}

function startsOfLines(text: string): number[] {
  const starts = [0];
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) starts.push(at + 1);
  return starts;
}

/** Longer texts are cut in messages: a log line is no place for a megabyte. */
const QUOTED_LENGTH_MAX = 80;

/** The text in quotes; whatever a terminal would not show, or would obey, is escaped. */
export function quote(text: string): string {
  const shown = text.length > QUOTED_LENGTH_MAX ? `${text.slice(0, QUOTED_LENGTH_MAX)}…` : text;
  return JSON.stringify(shown).replace(
    /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu,
    (char) => `\\u${char.codePointAt(0)!.toString(16).padStart(4, "0")}`,
  );
}

/** ` (did you mean "uid"?)`, or nothing if no known word is near. */
export function didYouMean(word: string, known: readonly string[]): string {
  if (word.length > QUOTED_LENGTH_MAX) return "";
  const distanceMax = Math.max(1, Math.floor(word.length / 3));
  let best: string | undefined;
  let bestDistance = distanceMax + 1;
  for (const candidate of known) {
    const distance = editsBetween(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best === undefined ? "" : ` (did you mean "${best}"?)`;
}

/** How many letters must be added, dropped or replaced (Levenshtein). */
function editsBetween(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let i = 1; i <= from.length; i++) {
    const next = [i];
    for (let j = 1; j <= to.length; j++) {
      const replaced = row[j - 1]! + (from[i - 1] === to[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[to.length]!;
}
