import { LOG_LIMITS } from "./limits.ts";

/** Off is 0, so that "is this level on" is one comparison. */
export const RANK = { off: 0, error: 1, warn: 2, info: 3, debug: 4, trace: 5 } as const;
export type LevelName = keyof typeof RANK;

/** What istioctl's users type and other Istio components understand. */
const ALIASES: Readonly<Record<string, LevelName>> = { warning: "warn", critical: "error" };

/** A clause of a filter that says nothing we know. */
export class InvalidFilter extends Error {
  override readonly name = "InvalidFilter";
}

interface Directive {
  /** Empty: everything that no other directive names. */
  readonly target: string;
  readonly level: LevelName;
}

/** Which target may say what (behaviour.md 13.9): the longest prefix wins, of equal ones the last. */
export class Filter {
  readonly #directives: readonly Directive[];

  private constructor(directives: readonly Directive[]) {
    this.#directives = directives;
  }

  /** Throws InvalidFilter that names the clause. Empty clauses say nothing. */
  static parse(text: string): Filter {
    return new Filter([]).and(text);
  }

  /** This filter with further clauses, which win over it. */
  and(text: string): Filter {
    if (text.length > LOG_LIMITS.filterCharsMax) {
      throw new InvalidFilter(`filter is longer than ${LOG_LIMITS.filterCharsMax} characters`);
    }
    const byTarget = new Map(this.#directives.map((each) => [each.target, each]));
    for (const clause of text.split(",")) {
      if (clause.trim() === "") continue;
      const directive = parseClause(clause.trim());
      byTarget.set(directive.target, directive);
    }
    if (byTarget.size > LOG_LIMITS.directivesMax) {
      throw new InvalidFilter(`filter names more than ${LOG_LIMITS.directivesMax} targets`);
    }
    return new Filter([...byTarget.values()].sort(longestFirst));
  }

  /** RANK of the most that `target` may say; a target that nothing matches is off. */
  rankOf(target: string): number {
    const short = shortTarget(target);
    const match = this.#directives.find((each) =>
      target.startsWith(each.target) || short.startsWith(each.target)
    );
    return RANK[match?.level ?? "off"];
  }

  toString(): string {
    return this.#directives
      .map(({ target, level }) => target === "" ? level : `${target}=${level}`)
      .join(",");
  }
}

/** As plain lines print it; a person who read it there may name it so in a filter. */
export function shortTarget(target: string): string {
  return target.startsWith("ztunnel::") ? target.slice("ztunnel::".length) : target;
}

/** `level`, `target=level`, and `target:level` as istioctl takes it (users.md 5.1). */
function parseClause(clause: string): Directive {
  const bare = levelNamed(clause);
  if (bare !== undefined) return { target: "", level: bare };
  const parts = /^([\w:.\-]*\w)\s*[=:]\s*(\w+)$/.exec(clause);
  const level = levelNamed(parts?.[2] ?? "");
  if (parts === null || level === undefined) {
    throw new InvalidFilter(`cannot read ${JSON.stringify(clause)} as a level or target=level`);
  }
  return { target: parts[1]!, level };
}

function levelNamed(text: string): LevelName | undefined {
  const name = text.toLowerCase();
  if (Object.hasOwn(ALIASES, name)) return ALIASES[name];
  return Object.hasOwn(RANK, name) ? name as LevelName : undefined;
}

/** As ztunnel prints them; equal lengths by name, descending. */
function longestFirst(left: Directive, right: Directive): number {
  return right.target.length - left.target.length || (left.target < right.target ? 1 : -1);
}
