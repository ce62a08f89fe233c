/** Durations as ztunnel writes them (behaviour.md 1.1): `5s`, `1m30s`, `24h`, `1m+10s`, `90s*2`, `30`. */
import type { Parsed } from "./kinds.ts";

const UNITS_MS: Readonly<Record<string, number>> = {
  y: 365 * 86_400_000,
  mon: 30 * 86_400_000,
  w: 7 * 86_400_000,
  d: 86_400_000,
  h: 3_600_000,
  m: 60_000,
  s: 1_000,
  ms: 1,
  "µs": 1e-3,
  "μs": 1e-3, // the Greek letter; the line above has the micro sign
  us: 1e-3,
  ns: 1e-6,
};

/**
 * Milliseconds (a fraction below one is possible). `*` binds tighter than `+`, and factors are multiplied as
 * seconds, so `1m*10` is ten minutes.
 */
export function parseDuration(text: string): Parsed<number> {
  let sumMs = 0;
  for (const term of text.split("+")) {
    let productMs = 1_000;
    for (const factor of term.split("*")) {
      const ms = partsMs(factor.trim());
      if (ms === undefined) {
        return {
          rejected: `must be a duration such as 5s, 1m30s or 500ms; cannot read "${factor}"`,
        };
      }
      productMs = productMs * ms / 1_000;
    }
    sumMs += productMs;
  }
  if (sumMs > Number.MAX_SAFE_INTEGER) return { rejected: "is too long a time" };
  return { value: sumMs };
}

function partsMs(text: string): number | undefined {
  if (/^\d+$/.test(text)) return Number(text) * 1_000;
  const part = /\s*(\d+)\s*(mon|ms|µs|μs|us|ns|y|w|d|h|m|s)/y;
  let sumMs = 0;
  while (part.lastIndex < text.length) {
    const match = part.exec(text);
    if (match === null) return undefined;
    sumMs += Number(match[1]) * UNITS_MS[match[2]!]!;
  }
  return text === "" ? undefined : sumMs;
}
