import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import {
  LINES_PER_FILE_MAX,
  LINES_PER_FUNCTION_MAX,
  MAY_IMPORT,
  repositorySources,
  violations,
} from "./support/tidy.ts";

Deno.test("the house is in order: arrows, doors, bans, waiting, lengths", async () => {
  const files = await repositorySources();
  ok(files.length > 50, `only ${files.length} files were looked at`);
  deepStrictEqual(violations(files), []);
});

Deno.test("every room has a door and a line in ARCHITECTURE.md", async () => {
  const architecture = await Deno.readTextFile(new URL("../ARCHITECTURE.md", import.meta.url));
  const rooms: string[] = [];
  for await (const entry of Deno.readDir(new URL("../lib/", import.meta.url))) {
    rooms.push(entry.name);
    await Deno.stat(new URL(`../lib/${entry.name}/mod.ts`, import.meta.url));
    ok(architecture.includes(`| \`${entry.name}\` |`), `${entry.name} is not in the room table`);
  }
  deepStrictEqual(rooms.sort(), Object.keys(MAY_IMPORT).sort());
});

const long = (count: number) => "  x();\n".repeat(count);

/** Each plants one violation; the rule must catch it, and the harmless twin must pass. */
const PLANTED: readonly {
  readonly rule: RegExp;
  readonly path: string;
  readonly bad: string;
  readonly good: string;
}[] = [
  {
    rule: /mesh may not import linux/,
    path: "lib/mesh/a.ts",
    bad: 'import { x } from "#linux";',
    good: 'import { x } from "#values";',
  },
  {
    rule: /proxy may not import xds/,
    path: "lib/proxy/a.ts",
    bad: 'const x = await import("#xds");',
    good: 'const x = await import("#route");',
  },
  {
    rule: /leaves the room/,
    path: "lib/route/a.ts",
    bad: 'import { x } from "../mesh/index.ts";',
    good: 'import { x } from "./index.ts";',
  },
  {
    rule: /leaves the room/,
    path: "lib/app/a.ts",
    bad: 'new Worker(new URL("../proxy/worker.ts", import.meta.url));',
    good: 'new Worker(new URL("./worker.ts", import.meta.url));',
  },
  {
    rule: /leaves the room/,
    path: "lib/route/deep/a.ts",
    bad: 'import { x } from "../../mesh/index.ts";',
    good: 'import { x } from "../index.ts";',
  },
  {
    rule: /reaches past a door/,
    path: "lib/route/a.ts",
    bad: 'import { x } from "#mesh/types.ts";',
    good: 'import { x } from "#mesh";',
  },
  {
    rule: /proxy may not read protobuf/,
    path: "lib/proxy/a.ts",
    bad: 'import { WorkloadSchema } from "#proto/workload_pb.ts";',
    good: "",
  },
  {
    rule: /only cli may load standin/,
    path: "lib/app/a.ts",
    bad: 'await import("#standin");',
    good: "",
  },
  {
    rule: /only cli may load standin/,
    path: "lib/cli/a.ts",
    bad: 'import { x } from "#standin";',
    good: 'await import("#standin");',
  },
  {
    rule: /unknown room "attic"/,
    path: "lib/attic/a.ts",
    bad: "export {};",
    good: "export {};",
  },
  {
    rule: /use Clock/,
    path: "lib/proxy/a.ts",
    bad: "const now = Date.now();",
    good: "// Date.now() is banned\nconst now = clock.nowMs();",
  },
  {
    rule: /use Rng/,
    path: "lib/route/a.ts",
    bad: "const x = Math.random();",
    good: "const x = rng.next();",
  },
  {
    rule: /use #linux/,
    path: "lib/proxy/a.ts",
    bad: 'Deno.dlopen("libc.so.6", {});',
    good: "",
  },
  {
    rule: /use ByteStream/,
    path: "lib/proxy/a.ts",
    bad: "stream.native;",
    good: "stream.read();",
  },
  {
    rule: /use Config/,
    path: "lib/tls/a.ts",
    bad: 'Deno.env.get("X");',
    good: "config.x;",
  },
  {
    rule: /use Log/,
    path: "lib/tls/a.ts",
    bad: 'console.log("x");',
    good: 'log.info?.("x");',
  },
  {
    rule: /use a narrow interface/,
    path: "lib/tls/a.ts",
    bad: "const x = y as any;",
    good: "const x = y as Handle;",
  },
  {
    rule: /a judging room waits/,
    path: "lib/authz/a.ts",
    bad: "export async function f() {}",
    good: 'export const f = "never await";',
  },
  {
    rule: /10 values/,
    path: "lib/authz/mod.ts",
    bad: 'export { a, b, c, d, e } from "./a.ts";\nexport { f, g, h, i, j, type K } from "./b.ts";',
    good: 'export { a, b, c, type D, type E } from "./a.ts";\nexport type { F } from "./b.ts";',
  },
  {
    rule: /no "export \*"/,
    path: "lib/authz/mod.ts",
    bad: 'export * from "./a.ts";',
    good: 'export type * from "./a.ts";',
  },
  {
    rule: /lines, at most/,
    path: "lib/authz/a.ts",
    bad: "x();\n".repeat(LINES_PER_FILE_MAX + 1),
    good: "x();\n".repeat(LINES_PER_FILE_MAX),
  },
  {
    rule: /a function of/,
    path: "lib/authz/a.ts",
    bad: `export function f(): void {\n${long(LINES_PER_FUNCTION_MAX)}}\n`,
    good: `export function f(): void {\n${long(LINES_PER_FUNCTION_MAX - 2)}}\n`,
  },
  {
    rule: /a function of/,
    path: "lib/authz/a.ts",
    bad: `class C {\n  #run(\n    a: number,\n  ): void {\n  ${
      long(LINES_PER_FUNCTION_MAX)
    }  }\n}\n`,
    good: `class C {\n  #run(\n    a: number,\n  ): void {\n  ${long(9)}  }\n}\n`,
  },
  {
    rule: /main\.ts: 61 lines/,
    path: "main.ts",
    bad: "x();\n".repeat(61),
    good: "x();\n".repeat(60),
  },
];

Deno.test("planted violations are caught, their harmless twins are not", () => {
  for (const { rule, path, bad, good } of PLANTED) {
    const caught = violations([{ path, text: bad }]);
    ok(
      caught.some((line) => rule.test(line)),
      `${rule} missed ${JSON.stringify(bad.slice(0, 60))}`,
    );
    match(caught.join("\n"), new RegExp(path.replaceAll(".", "\\.")));
    if (path.includes("attic")) continue;
    strictEqual(violations([{ path, text: good }]).join("\n"), "", `twin of ${rule}`);
  }
});
