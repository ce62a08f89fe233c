import { FAMILIES, GROUPS, type Variable } from "./variables.ts";

const WIDTH_COLUMNS_MIN = 60;
const INDENT = "  ";
const MEANING_INDENT = "      ";

/** The variables as a table for `help`, from the same declaration that parses them. */
export function variableTable(widthColumns: number): string {
  const width = Math.max(widthColumns, WIDTH_COLUMNS_MIN);
  const groups = GROUPS.map(([title, group]) =>
    [`${title}:`, ...Object.values(group).flatMap((variable) => entry(variable, width))].join("\n")
  );
  const families = Object.values(FAMILIES).flatMap(({ prefix, label, meaning }) => [
    `${INDENT}${prefix}<name>  ${label}`,
    ...wrapped(meaning, width),
  ]);
  return `${[...groups, ["Families:", ...families].join("\n")].join("\n\n")}\n`;
}

function entry(variable: Variable<unknown>, width: number): readonly string[] {
  const fallback = variable.fallback === "" ? '""' : variable.fallback ?? variable.computed;
  const suffix = fallback === undefined ? "" : `, default ${fallback}`;
  return [
    `${INDENT}${variable.name}  ${variable.kind.label}${suffix}`,
    ...wrapped(variable.meaning, width),
  ];
}

function wrapped(text: string, width: number): readonly string[] {
  const lines: string[] = [];
  let line = MEANING_INDENT;
  for (const word of text.split(" ")) {
    if (line.length + word.length > width && line !== MEANING_INDENT) {
      lines.push(line.trimEnd());
      line = MEANING_INDENT;
    }
    line += `${word} `;
  }
  return [...lines, line.trimEnd()];
}
