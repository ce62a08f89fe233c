import { ok as assert } from "node:assert/strict";

Deno.test("sockets, listeners and relays leave no fd behind", async () => {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["test", "-A", new URL("./fd_leaks_child.ts", import.meta.url).pathname],
    cwd: new URL("../../../", import.meta.url),
    env: { NO_COLOR: "1" },
  }).output();
  const text = new TextDecoder().decode(stdout);
  assert(success, text + new TextDecoder().decode(stderr));
  assert(/\b6 passed\b/.test(text), text);
});
