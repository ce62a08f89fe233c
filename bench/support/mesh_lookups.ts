/** Looking up and decoding, in a process of its own (`arena.ts`). */
import type { Report } from "./mesh_report.ts";

const SCRIPT = new URL("../arena.ts", import.meta.url).pathname;

/** The lines of `arena.ts` that are told, and what is asked of two of them, in microseconds. */
const LINES: readonly { readonly line: string; readonly what: string; readonly maxUs?: number }[] =
  [
    {
      line: "workloadAt, any (cold)",
      what: "look-up by address and decoding, any of all workloads (cold)",
      maxUs: 5,
    },
    {
      line: "workloadAt, one of 200 (warm)",
      what: "— one of 200 (warm), the address made from its bytes",
    },
    {
      line: "workloadAt, warm, text given",
      what: "— one of 200 (warm), the address at hand",
      maxUs: 0.5,
    },
  ];

export async function showLookups(report: Report, workloadsCount: number): Promise<void> {
  const { success, stdout } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--allow-all",
      "--quiet",
      "--v8-flags=--expose-gc",
      SCRIPT,
      String(workloadsCount),
    ],
    stderr: "inherit",
  }).output();
  if (!success) throw new Error("bench/arena.ts failed");
  const lines = new TextDecoder().decode(stdout).split("\n");
  for (const { line, what, maxUs } of LINES) {
    const text = lines.find((each) => each.startsWith(line))?.slice(line.length).trim() ?? "";
    const value = Number(/^([\d.]+) µs$/.exec(text)?.[1]);
    if (maxUs === undefined) report.show(what, text);
    else report.judge(what, `at most ${maxUs} µs`, text, value <= maxUs);
  }
}
