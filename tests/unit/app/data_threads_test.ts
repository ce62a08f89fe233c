import { strictEqual } from "node:assert/strict";

Deno.test("data threads live, die and are replaced: see data_threads_child.ts", async () => {
  const child = new URL("./data_threads_child.ts", import.meta.url).pathname;
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["test", "--allow-all", "--no-check", child],
    stdout: "piped",
    stderr: "piped",
  }).output();
  const text = new TextDecoder();
  strictEqual(code, 0, text.decode(stdout) + text.decode(stderr));
});
