/** What is written down and what is there: rules have tests that are named after them, and README knows what is ours. */
import { deepStrictEqual, ok } from "node:assert/strict";
import { ALL_VARIABLES } from "../lib/config/variables.ts";
import { FAMILIES } from "../lib/metrics/families.ts";
import { repositorySources } from "./support/tidy.ts";

/** behaviour.md: 3.1 to 3.10 is xDS, 9.1 to 9.9 certificates. */
const RULES = [
  ...Array.from({ length: 10 }, (_, index) => `3.${index + 1}`),
  ...Array.from({ length: 9 }, (_, index) => `9.${index + 1}`),
];

/** Rules that a test's name begins with: `3.8, 18.7: waiters …`. */
function rulesNamed(text: string): string[] {
  return [...text.matchAll(/\b(?:Deno\.)?test\(\s*["`]((?:\d+\.\d+(?:, )?)+):/g)]
    .flatMap((match) => match[1]!.split(", "));
}

Deno.test("each rule of 3.1 to 3.10 and 9.1 to 9.9 has tests that are named after it", async () => {
  const tests = (await repositorySources()).filter(({ path }) => path.startsWith("tests/"));
  const named = new Set(tests.flatMap(({ text }) => rulesNamed(text)));
  deepStrictEqual(RULES.filter((rule) => !named.has(rule)), []);
  deepStrictEqual(rulesNamed('Deno.test("3.8, 18.7: waiters", () => {}'), ["3.8", "18.7"]);
  deepStrictEqual(rulesNamed('Deno.test("something else: 3.8", () => {}'), []);
});

Deno.test("README names every variable and every metric that is ours", async () => {
  const readme = await Deno.readTextFile(new URL("../README.md", import.meta.url));
  const metrics = Object.entries(FAMILIES).map(([name, { type }]) =>
    type === "counter" ? `${name}_total` : name
  ).filter((name) => /^(ztunnel|hbone)_/.test(name));
  const variables = ALL_VARIABLES.map(({ name }) => name).filter((name) => /^ZTUNNEL_/.test(name));
  ok(metrics.length > 10 && variables.length > 8);
  const named = new Set(readme.match(/\b[A-Za-z][A-Za-z0-9_]+\b/g));
  deepStrictEqual([...metrics, ...variables].filter((name) => !named.has(name)), []);
});
