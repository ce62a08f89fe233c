import { match, strictEqual } from "node:assert/strict";

const BENCH = new URL("../../bench/mesh.ts", import.meta.url).pathname;
/** As short as it can be, so that it does not rot. */
const SHORT = ["--workloads=300", "--rounds=1", "--settle=0", "--rate=20", "--seconds=1"];

Deno.test("the benchmark of a large mesh measures the real program", async () => {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", BENCH, ...SHORT],
    stdout: "piped",
    stderr: "piped",
  }).output();
  const text = new TextDecoder();
  const [told, wrong] = [text.decode(stdout), text.decode(stderr)];
  strictEqual(code, 0, wrong);
  match(told, /^the first push, one message +0\.1 MiB, 2\d\d bytes a workload$/m, wrong);
  for (const what of ["1 update", "1,000 updates", "round 1: all removed", "round 1: all added"]) {
    match(told, new RegExp(`^${what} .*CPU \\d.*control answers within \\d.*RSS \\d`, "m"), told);
  }
  match(told, /^20 requests\/s during the rounds +[1-9]\d* requests/m, told);
  strictEqual(/problems/.test(told), false, told);
});
