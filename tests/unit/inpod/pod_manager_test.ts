import { ok as assert } from "node:assert/strict";

/** Counts of fds concern the whole process, and parallel tests share one. */
Deno.test("the pod manager with a real socket, files counted", async () => {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["test", "-A", new URL("./pod_manager_child.ts", import.meta.url).pathname],
    cwd: new URL("../../../", import.meta.url),
    env: { NO_COLOR: "1" },
  }).output();
  const text = new TextDecoder().decode(stdout);
  assert(success, text + new TextDecoder().decode(stderr));
  assert(/\b12 passed\b/.test(text), text);
});
