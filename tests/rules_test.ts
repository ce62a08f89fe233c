/** Every rule of the control plane's chapters has a test that is named after it. */
import { deepStrictEqual } from "node:assert/strict";
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
