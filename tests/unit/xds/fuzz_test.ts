import { ok } from "node:assert/strict";
import { seededRng } from "#system";
import { formatProblem, loadLocal } from "#xds";
import { EXAMPLE } from "./example.ts";

/** What makes YAML difficult, and what makes a mesh wrong. */
const PIECES = [
  ..."{}[],:-?!&*#|>%@`\"'\n\t \\~<=\uFEFF\u2028\0",
  "- ",
  ": ",
  "? ",
  "---\n",
  "...\n",
  "!!int ",
  "!Presence ",
  "&a ",
  "*a",
  "<<: ",
  "null",
  "0x10",
  "1e999",
  ".nan",
  "\ud800",
  "10.0.0.0/99",
  "__proto__: ",
  "constructor: ",
];

Deno.test("loadLocal() gives a mesh or problems for whatever becomes of the example", () => {
  const seed = Number(Deno.env.get("SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0]);
  const rng = seededRng(seed);
  console.log(`SEED=${seed}`);
  let refusedCount = 0;
  for (let run = 0; run < 600; run++) {
    let text = EXAMPLE;
    for (let edits = 1 + rng.below(6); edits > 0; edits--) {
      const from = rng.below(text.length);
      const length = rng.below(rng.below(4) === 0 ? 200 : 3);
      const piece = rng.below(4) === 0
        ? text.slice(rng.below(text.length)).slice(0, rng.below(120))
        : PIECES[rng.below(PIECES.length)]!;
      text = text.slice(0, from) + piece + text.slice(from + length);
    }
    const loaded = loadLocal(text, "mesh.yaml");
    if ("mesh" in loaded) continue;
    refusedCount++;
    ok(loaded.problems.length > 0, `SEED=${seed}, run ${run}`);
    for (const problem of loaded.problems) {
      ok(formatProblem(problem).startsWith("mesh.yaml"), `SEED=${seed}, run ${run}`);
    }
  }
  ok(refusedCount > 0);
});
