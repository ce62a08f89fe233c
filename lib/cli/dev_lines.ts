/**
 * A proxy's JSON log lines, made readable for `dev`.
 * @module
 */
import { createLogHub, type Log } from "#log";
import type { Clock } from "#system";

/** One log line of a proxy, as `LOG_FORMAT=json` writes it. */
export type ProxyLine = Readonly<Record<string, unknown>>;

export interface Paint {
  (style: "bold" | "dim" | "red" | "green" | "yellow" | "cyan", text: string): string;
}

const CODES = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 } as const;

/** Colours on a terminal, plain text elsewhere and where NO_COLOR is set. */
export function painter(colour: boolean): Paint {
  return (style, text) => colour ? `\x1b[${CODES[style]}m${text}\x1b[0m` : text;
}

/** What could move the cursor, change colours, or write other text than it says; peers choose some of the texts. */
// deno-lint-ignore no-control-regex
const UNSAFE = /[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

/** The object of a JSON log line, fit for a terminal; undefined for anything else a process may print. */
export function parseLine(text: string): ProxyLine | undefined {
  try {
    const value: unknown = JSON.parse(
      text,
      (_, value) => typeof value === "string" ? value.replace(UNSAFE, "\ufffd") : value,
    );
    return typeof value === "object" && value !== null ? value as ProxyLine : undefined;
  } catch {
    return undefined;
  }
}

/** Of the lines of the control plane that `dev` runs. */
const CONTROL_PLANE_SCOPE = "istiod";

/** The text for people, or undefined for a line that `dev` does not show. */
export function readable(proxy: string, line: ProxyLine, paint: Paint): string | undefined {
  const level = textOf(line["level"]);
  const time = paint("dim", textOf(line["time"]).slice(11, 23));
  const who = paint("cyan", proxy.padEnd(8));
  if (textOf(line["scope"]) === "access") return `${time} ${who} ${accessText(line, paint)}`;
  const message = textOf(line["message"]);
  if (level === "error" || level === "warn") {
    const style = level === "error" ? "red" : "yellow";
    return `${time} ${who} ${paint(style, level)} ${message}${detailOf(line)}`;
  }
  // What the control plane does is what one waits for after an edit.
  if (textOf(line["scope"]) === CONTROL_PLANE_SCOPE && message !== "local mesh loaded") {
    return `${time} ${who} ${message}${detailOf(line)}`;
  }
  return undefined;
}

function accessText(line: ProxyLine, paint: Paint): string {
  const failed = line["error"] !== undefined;
  const mark = failed ? paint("red", "✗") : paint("green", "✓");
  const outbound = line["direction"] === "outbound";
  const source = textOf(line["src.workload"]) || textOf(line["src.addr"]);
  const destination = textOf(line["dst.service"]) || textOf(line["dst.workload"]) ||
    textOf(line["dst.addr"]);
  const target = textOf(line["dst.hbone_addr"]) || textOf(line["dst.addr"]);
  const sealed = line["dst.hbone_addr"] === undefined ? "in clear" : "mutual TLS";
  const sizes = line["bytes_sent"] === undefined
    ? ""
    : `, sent ${textOf(line["bytes_sent"])} B, received ${textOf(line["bytes_recv"])} B, ${
      textOf(line["duration"])
    }`;
  const head = `${mark} ${outbound ? "out" : "in "} ${paint("bold", source)} → ${
    paint("bold", destination)
  }`;
  const tail = paint("dim", `${target} (${sealed}${sizes})`);
  return failed ? `${head} ${tail}\n    ${paint("red", textOf(line["error"]))}` : `${head} ${tail}`;
}

const KNOWN = new Set(["level", "time", "scope", "message"]);

function detailOf(line: ProxyLine): string {
  const fields = Object.entries(line).filter(([key]) => !KNOWN.has(key));
  return fields.map(([key, value]) =>
    ` ${key}=${typeof value === "string" ? value : JSON.stringify(value)}`
  ).join("");
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : typeof value === "number" ? String(value) : "";
}

/** The control plane's log in our own process, told like the lines of the proxies beside it. */
export function controlPlaneLog(clock: Clock, paint: Paint, print: (line: string) => void): Log {
  const decoder = new TextDecoder();
  const hub = createLogHub({
    write: (bytes) => {
      for (const text of decoder.decode(bytes).trimEnd().split("\n")) {
        const line = parseLine(text);
        const told = line && readable(CONTROL_PLANE_SCOPE, line, paint);
        if (told !== undefined) print(told);
      }
    },
    nowMs: () => clock.nowMs(),
    filter: "info",
    format: "json",
  });
  return hub.scope(CONTROL_PLANE_SCOPE);
}
