/**
 * YAML text → a tree that knows where everything stands. The only file that speaks to the YAML library.
 * @module
 */
import { Composer, isAlias, isMap, isScalar, isSeq, Lexer, type Node, Parser } from "yaml";
import { LOCAL_LIMITS } from "./limits.ts";
import { type Problems, quote } from "./problems.ts";

/** A value; `offset` is where it starts in the text, `tag` is what was written before it (`!Exact`). */
export type YamlNode = YamlMap | YamlList | YamlScalar;

interface Written {
  readonly offset: number;
  readonly tag: string | undefined;
}

export interface YamlMap extends Written {
  readonly kind: "map";
  readonly entries: ReadonlyMap<string, YamlEntry>;
}

export interface YamlEntry {
  readonly keyOffset: number;
  readonly value: YamlNode;
}

export interface YamlList extends Written {
  readonly kind: "list";
  readonly items: readonly YamlNode[];
}

export interface YamlScalar extends Written {
  readonly kind: "scalar";
  /** As YAML 1.2 reads it: an unquoted `80` is a number, an empty value is null. */
  readonly value: string | number | boolean | null;
  /** As it is written, without quotes. */
  readonly text: string;
}

/**
 * The tree of the only document in `text`; undefined for a document without content, or after a problem. Anything at all
 * may be in `text`: time and memory are bounded by LOCAL_LIMITS.
 */
export function parseYaml(text: string, problems: Problems): YamlNode | undefined {
  const control = FORBIDDEN.exec(text);
  if (control !== null) {
    const code = control[0].charCodeAt(0).toString(16).padStart(4, "0").toUpperCase();
    problems.add(control.index, "", `Cannot read a control character (U+${code}) in YAML`);
    return undefined;
  }
  const tokens = parseTokens(text, problems);
  if (tokens === undefined) return undefined;
  const contents = compose(tokens, problems);
  if (contents === null || contents === undefined || !problems.isEmpty) return undefined;
  const root = new Conversion(problems).node(contents, "");
  // With parts left out, the schema would complain of what is in truth there.
  return problems.isEmpty ? root : undefined;
}

/** YAML 1.2, section 5.1: these characters are not printable. */
// deno-lint-ignore no-control-regex
const FORBIDDEN = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/;

const MATCH_TAGS = ["!Exact", "!Prefix", "!Suffix", "!Presence"] as const;
const KNOWN_TAGS: ReadonlySet<string> = new Set([
  ...MATCH_TAGS,
  ...["str", "int", "float", "bool", "null", "map", "seq"].map((name) => `!!${name}`),
]);

type Token = ReturnType<Parser["next"]> extends Generator<infer T, unknown> ? T : never;

/** What the lexer says before a scalar, so that a text that starts with `!` is no tag. */
const SCALAR_FOLLOWS = "\x1f";

/** Stops at the first limit: what is not built cannot use up the memory or the stack. */
function parseTokens(text: string, problems: Problems): Token[] | undefined {
  const parser = new Parser();
  const tokens: Token[] = [];
  const limits = new TokenLimits();
  let before = "";
  for (const lexeme of new Lexer().lex(text)) {
    const wrong = limits.whyNot(lexeme, before === SCALAR_FOLLOWS);
    if (wrong !== undefined) return void problems.add(parser.offset, "", wrong);
    before = lexeme;
    // A text of many broken parts is not read to its end: the first ones tell enough.
    for (const token of parser.next(lexeme)) {
      if (!isOfOneDocument(token, tokens, problems) || problems.isFull) return undefined;
      tokens.push(token);
    }
    // The stack holds the document and then one collection per level.
    if (parser.stack.length > LOCAL_LIMITS.depthMax + 1) {
      const message = `Cannot read values nested deeper than ${LOCAL_LIMITS.depthMax} levels`;
      return void problems.add(parser.offset, "", message);
    }
  }
  for (const token of parser.end()) {
    if (!isOfOneDocument(token, tokens, problems)) return undefined;
    tokens.push(token);
  }
  return problems.isEmpty ? tokens : undefined;
}

class TokenLimits {
  #lexemesCount = 0;
  #aliasesCount = 0;

  whyNot(lexeme: string, isScalar: boolean): string | undefined {
    const { tokensMax, aliasesMax } = LOCAL_LIMITS;
    if (++this.#lexemesCount > tokensMax) {
      return `Cannot read more than ${tokensMax} words and marks of YAML`;
    }
    if (isScalar) return undefined;
    if (lexeme.startsWith("!") && !KNOWN_TAGS.has(lexeme)) {
      return `Cannot use the tag ${quote(lexeme)}: known are ${MATCH_TAGS.join(", ")}`;
    }
    if (lexeme.startsWith("*") && ++this.#aliasesCount > aliasesMax) {
      return `Cannot use more than ${aliasesMax} aliases`;
    }
    return undefined;
  }
}

/** Whether reading may go on; a syntax error is told, and more of them are looked for. */
function isOfOneDocument(token: Token, before: readonly Token[], problems: Problems): boolean {
  if (token.type === "error") {
    problems.add(token.offset, "", `Cannot read YAML: ${firstLine(token.message)}`);
  }
  const message = token.type === "directive"
    ? "Cannot use a YAML directive here"
    : token.type === "document" && before.some((each) => each.type === "document")
    ? "Cannot read a second document: a mesh is one"
    : undefined;
  if (message !== undefined) problems.add(token.offset, "", message);
  return message === undefined;
}

function compose(tokens: readonly Token[], problems: Problems): Node | null | undefined {
  const composer = new Composer({
    version: "1.2",
    schema: "core",
    merge: false,
    // The library compares each key with all before it: 100,000 keys took 96 s. Conversion uses a Map.
    uniqueKeys: false,
    customTags: [
      { tag: "!Exact", resolve: (value: string) => value },
      { tag: "!Prefix", resolve: (value: string) => value },
      { tag: "!Suffix", resolve: (value: string) => value },
      { tag: "!Presence", collection: "seq", resolve: (list) => list },
    ],
  });
  // Each syntax error is an Error object; a hostile file makes a million, and their stack traces took 7 us each.
  const stackTraceLimit = Error.stackTraceLimit;
  Error.stackTraceLimit = 0;
  try {
    const [document] = composer.compose(tokens, true, 0);
    for (const error of [...document?.errors ?? [], ...document?.warnings ?? []]) {
      problems.add(error.pos[0], "", `Cannot read YAML: ${firstLine(error.message)}`);
    }
    return document?.contents;
  } catch (error) {
    // The library promises not to throw; a mesh file does not get to hold it to that with our process at stake.
    problems.add(0, "", `Cannot read YAML: ${firstLine(String(error))}`);
    return undefined;
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

function firstLine(message: string): string {
  const [line = ""] = message.split("\n", 1);
  return line.length > 200 ? `${line.slice(0, 200)}…` : line;
}

/** An anchored value: what it became, and how many values it stands for; undefined while we are inside it. */
type Anchored = { readonly node: YamlNode; readonly size: number } | undefined;

/** The library's nodes → ours. An alias becomes the very node that it stands for. */
class Conversion {
  readonly #anchors = new Map<string, Anchored>();
  #size = 0;

  constructor(private readonly problems: Problems) {}

  node(node: Node, path: string): YamlNode | undefined {
    if (isAlias(node)) return this.#alias(node.source, offsetOf(node), path);
    const anchor = "anchor" in node ? node.anchor : undefined;
    if (anchor === undefined) return this.#plain(node, path);
    this.#anchors.set(anchor, undefined);
    const sizeBefore = this.#size;
    const converted = this.#plain(node, path);
    if (converted !== undefined) {
      this.#anchors.set(anchor, { node: converted, size: this.#size - sizeBefore });
    }
    return converted;
  }

  #alias(name: string, offset: number, path: string): YamlNode | undefined {
    const anchored = this.#anchors.get(name);
    if (anchored !== undefined) {
      return this.#hasRoomFor(anchored.size, offset, path) ? anchored.node : undefined;
    }
    const why = this.#anchors.has(name)
      ? "it would contain itself, or what it names is wrong"
      : "nothing before it has that anchor";
    this.problems.add(offset, path, `Cannot use the alias ${quote(`*${name}`)}: ${why}`);
    return undefined;
  }

  #hasRoomFor(size: number, offset: number, path: string): boolean {
    const max = LOCAL_LIMITS.expandedValuesMax;
    const wasFull = this.#size > max;
    this.#size += size;
    if (this.#size <= max) return true;
    if (wasFull) return false;
    this.problems.add(offset, path, `Cannot read more than ${max} values, aliases replaced`);
    return false;
  }

  #plain(node: Node, path: string): YamlNode | undefined {
    const offset = offsetOf(node);
    if (this.problems.isFull || !this.#hasRoomFor(1, offset, path)) return undefined;
    const tag = node.tag;
    if (isMap(node)) {
      return { kind: "map", offset, tag, entries: this.#entries(node.items as Pair[], path) };
    }
    if (isSeq(node)) {
      const items: YamlNode[] = [];
      for (const [index, item] of node.items.entries()) {
        const converted = this.node(item as Node, `${path}[${index}]`);
        if (converted !== undefined) items.push(converted);
      }
      return { kind: "list", offset, tag, items };
    }
    if (isScalar(node)) {
      const value = node.value as YamlScalar["value"];
      return { kind: "scalar", offset, tag, value, text: textOf(value, node.source) };
    }
    this.problems.add(offset, path, "Cannot read this kind of YAML value");
    return undefined;
  }

  #entries(pairs: readonly Pair[], path: string): ReadonlyMap<string, YamlEntry> {
    const entries = new Map<string, YamlEntry>();
    for (const { key, value } of pairs) {
      if (this.problems.isFull) break;
      const keyOffset = offsetOf(key);
      if (!isScalar(key) || key.value === null || key.tag !== undefined) {
        this.problems.add(keyOffset, path, "Cannot use this key: a key is plain text or a number");
        continue;
      }
      const name = textOf(key.value as YamlScalar["value"], key.source);
      const entryPath = under(path, name);
      if (name === "<<") {
        this.problems.add(keyOffset, entryPath, "Cannot use merge keys: write the fields out");
        continue;
      }
      const converted = value === null ? nothingAt(keyOffset) : this.node(value as Node, entryPath);
      const first = entries.get(name);
      if (first !== undefined) {
        const { line } = this.problems.placeOf(first.keyOffset);
        this.problems.add(
          keyOffset,
          entryPath,
          `Cannot use a key twice: it is also on line ${line}`,
        );
      } else if (converted !== undefined) entries.set(name, { keyOffset, value: converted });
    }
    return entries;
  }
}

/** What the library promises of a pair that it has composed. */
interface Pair {
  readonly key: Node;
  readonly value: Node | null;
}

function offsetOf(node: Node): number {
  return node.range?.[0] ?? 0;
}

function nothingAt(offset: number): YamlScalar {
  return { kind: "scalar", offset, tag: undefined, value: null, text: "" };
}

/** A number keeps its spelling: the version 1.10 is not 1.1. */
function textOf(value: YamlScalar["value"], source: string | undefined): string {
  return typeof value === "string" ? value : source ?? String(value);
}

/** The path of a field: `a.b`, or `a["b/c"]` where the name is no word. */
export function under(path: string, name: string): string {
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
    return /^\d{1,9}$/.test(name) ? `${path}[${name}]` : `${path}[${quote(name)}]`;
  }
  return path === "" ? name : `${path}.${name}`;
}
