/**
 * Reads settings one by one and gathers everything that is wrong with them.
 * @module
 */
import type { ConfigProblem } from "./config.ts";
import type { Defaulted, Family, Variable } from "./variables.ts";

/** Enough of a value to recognise it; a whole certificate or mesh does not belong in a message. */
const SHOWN_CHARACTERS_MAX = 80;
const UNSET = "(unset)";

export class Reader {
  readonly warnings: string[] = [];
  readonly #env: Readonly<Record<string, string>>;
  readonly #problems = new Map<string, ConfigProblem>();

  constructor(env: Readonly<Record<string, string>>) {
    this.#env = env;
  }

  get problems(): readonly ConfigProblem[] {
    return [...this.#problems.values()];
  }

  text(variable: Variable<unknown>): string | undefined {
    return Object.hasOwn(this.#env, variable.name) ? this.#env[variable.name] : undefined;
  }

  isSet(variable: Variable<unknown>): boolean {
    return this.text(variable) !== undefined;
  }

  /** Whether it was already found wrong: what follows from its value is then not worth saying. */
  isWrong(variable: Variable<unknown>): boolean {
    return this.#problems.has(variable.name);
  }

  /** The value, or the default after a problem, so that the other settings are checked too. */
  get<T>(variable: Defaulted<T>): T;
  get<T>(variable: Variable<T>): T | undefined;
  get<T>(variable: Variable<T>): T | undefined {
    const text = this.text(variable);
    return text === undefined ? fallbackOf(variable) : this.parse(variable, text);
  }

  /** As `get`, with a text that came from elsewhere, e.g. from the mesh config file. */
  parse<T>(variable: Defaulted<T>, text: string): T;
  parse<T>(variable: Variable<T>, text: string): T | undefined;
  parse<T>(variable: Variable<T>, text: string): T | undefined {
    const parsed = variable.kind.parse(text);
    if ("value" in parsed) return parsed.value;
    this.refuse(variable, parsed.rejected, text);
    return fallbackOf(variable);
  }

  /** One problem for each variable: the first is the cause, later ones tend to follow from it. */
  refuse(variable: Variable<unknown>, reason: string, text = this.text(variable)): void {
    const value = text === undefined ? UNSET : shown(text, variable.hidden);
    this.refuseNamed({ variable: variable.name, value, reason });
  }

  refuseNamed(problem: ConfigProblem): void {
    if (this.#problems.has(problem.variable)) return;
    this.#problems.set(problem.variable, problem);
  }

  warn(message: string): void {
    this.warnings.push(message);
  }

  /** What follows the prefix, and the value, sorted by name so that one environment gives one Config. */
  family(family: Family): readonly (readonly [string, string])[] {
    return Object.entries(this.#env)
      .filter(([name]) => name.startsWith(family.prefix))
      .map(([name, value]) => [name.slice(family.prefix.length), value] as const)
      .sort(([a], [b]) => a < b ? -1 : 1);
  }
}

function fallbackOf<T>(variable: Variable<T>): T | undefined {
  if (variable.fallback === undefined) return undefined;
  const parsed = variable.kind.parse(variable.fallback);
  if ("value" in parsed) return parsed.value;
  throw new Error(`Cannot use the default of ${variable.name}: ${parsed.rejected}`);
}

/** A value as messages may show it: no secrets, no whole files. */
export function shown(text: string, hidden: boolean): string {
  if (hidden) return "(hidden)";
  if (text.includes("-----BEGIN")) return "(PEM text)";
  const safe = text.replace(/\/\/[^/]*@/, "//(hidden)@");
  if (safe.length <= SHOWN_CHARACTERS_MAX) return safe;
  return `${safe.slice(0, SHOWN_CHARACTERS_MAX)}… (${text.length} characters)`;
}

/** A problem as one line (behaviour.md 1.1: the variable, its value and the cause). */
export function describeProblem({ variable, value, reason }: ConfigProblem): string {
  if (variable.includes("/")) return `invalid config file ${variable}: ${escaped(reason)}`;
  const what = /^[A-Z]/.test(variable) ? "env var" : "setting";
  return `invalid ${what} ${variable}="${escaped(value)}": ${escaped(reason)}`;
}

/** Keeps a value with line breaks or terminal escapes on its line. */
function escaped(text: string): string {
  return text.replace(/[\p{Cc}\p{Zl}\p{Zp}]/gu, (character) => {
    const code = character.codePointAt(0)!.toString(16).padStart(4, "0");
    return `\\u${code}`;
  });
}
