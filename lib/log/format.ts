/** One line of log in its two forms (behaviour.md 13.9). Whatever a value contains, it stays one line. */
import { shortTarget } from "./filter.ts";
import type { Fields, FieldValue, Level, Span } from "./log.ts";

export interface Line {
  readonly timeMs: number;
  readonly level: Level;
  readonly target: string;
  readonly spans: readonly Span[];
  readonly message: string;
  readonly fields: Fields;
}

export function plainLine(line: Line): string {
  const spans = line.spans.map(({ name, fields }) => {
    const text = plainFields(fields);
    return text === "" ? `:${name}` : `:${name}{${text}}`;
  }).join("");
  const head = `${timeText(line.timeMs)}\t${line.level}\t${shortTarget(line.target)}${spans}`;
  return `${head}\t${escapeUnsafe(line.message)}\t${plainFields(line.fields)}\n`;
}

export function jsonLine(line: Line): string {
  const spans = line.spans.map((
    { name, fields },
  ) => [name, Object.fromEntries(jsonFields(fields))]);
  return `${
    terminalSafe(JSON.stringify(Object.fromEntries([
      ["level", line.level],
      ["time", timeText(line.timeMs)],
      ["scope", line.target],
      ["message", line.message],
      ...jsonFields(line.fields),
      ...spans,
    ])))
  }\n`;
}

/** The same JSON, with an escape for what JSON leaves as it is and a terminal would obey; peers choose some texts. */
export function terminalSafe(json: string): string {
  return json.replace(
    UNSAFE_IN_JSON,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** As UNSAFE; JSON itself escapes the first 32 and halves of characters. */
const UNSAFE_IN_JSON = /[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

/** RFC 3339 with microseconds. A clock that went mad must not take the process along. */
function timeText(timeMs: number): string {
  const micros = Number.isFinite(timeMs) ? Math.round(timeMs * 1000) : 0;
  const wholeMs = Math.floor(micros / 1000);
  const text = new Date(Math.abs(wholeMs) < 8.64e15 ? wholeMs : 0).toISOString();
  return `${text.slice(0, -1)}${String(micros - wholeMs * 1000).padStart(3, "0")}Z`;
}

function plainFields(fields: Fields): string {
  let text = "";
  for (const key in fields) {
    const value = fields[key];
    if (value === undefined) continue;
    text += `${text === "" ? "" : " "}${key}=${plainValue(value)}`;
  }
  return text;
}

function plainValue(value: Exclude<FieldValue, undefined>): string {
  if (typeof value === "string") return quoted(value);
  if (typeof value !== "object") return String(value);
  // An authority comes from a peer: only what cannot be taken for another field stands bare.
  return PLAIN_WORD.test(value.displayed) ? value.displayed : quoted(value.displayed);
}

const PLAIN_WORD = /^[!#-\[\]-~]+$/;

function quoted(text: string): string {
  return SIMPLE.test(text)
    ? `"${text}"`
    : `"${escapeUnsafe(text.replaceAll("\\", "\\\\").replaceAll('"', '\\"'))}"`;
}

const SIMPLE = /^[ !#-\[\]-~]*$/;

/** Control characters, line separators, text direction marks and halves of characters. */
const UNSAFE =
  // deno-lint-ignore no-control-regex
  /[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]|\p{Surrogate}/gu;
const SHORT_ESCAPES: Readonly<Record<string, string>> = {
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\0": "\\0",
};

function escapeUnsafe(text: string): string {
  return text.replace(
    UNSAFE,
    (char) => SHORT_ESCAPES[char] ?? `\\u{${char.codePointAt(0)!.toString(16)}}`,
  );
}

function jsonFields(fields: Fields): [string, string | number | boolean][] {
  const pairs: [string, string | number | boolean][] = [];
  for (const [key, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    if (typeof value === "object") pairs.push([key, value.displayed]);
    // JSON has no word for these two, and a null would look like an absent value.
    else if (typeof value === "number" && !Number.isFinite(value)) pairs.push([key, String(value)]);
    else pairs.push([key, value]);
  }
  return pairs;
}
