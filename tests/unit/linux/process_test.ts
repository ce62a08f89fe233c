import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { OpenFiles } from "#linux";
import { isIpv6Available } from "../../../lib/linux/process.ts";

Deno.test("OpenFiles.limit() is the soft limit that the shell sees", async () => {
  const { stdout } = await new Deno.Command("sh", { args: ["-c", "ulimit -n"] }).output();
  const text = new TextDecoder().decode(stdout).trim();
  // The runtime raises its own limit at start and gives its children the old one.
  if (text !== "unlimited") {
    assert(OpenFiles.limit() >= Number(text), `${OpenFiles.limit()} < ${text}`);
  }
});

Deno.test("OpenFiles.raiseLimit() lifts the soft limit to the hard one", async () => {
  const program = `
    import { OpenFiles } from "#linux";
    const raised = OpenFiles.raiseLimit();
    console.log(JSON.stringify({ ...raised, now: OpenFiles.limit() }));`;
  const { stdout } = await new Deno.Command("bash", {
    args: ["-c", `ulimit -Sn 200; ulimit -Hn 300; exec "$0" eval "$1"`, Deno.execPath(), program],
    cwd: new URL("../../../", import.meta.url),
  }).output();
  const told = JSON.parse(new TextDecoder().decode(stdout)) as Record<string, number>;
  assertEquals([told["after"], told["now"]], [300, 300]);
});

Deno.test("exitWithParent() ends a child whose parent is gone", async () => {
  const grandchild = `
    import { OwnProcess } from "#linux";
    OwnProcess.exitWithParent();
    console.log(Deno.pid);
    setInterval(() => {}, 1000);`;
  const parent = new Deno.Command("bash", {
    args: ["-c", '"$0" eval "$1" & wait', Deno.execPath(), grandchild],
    cwd: new URL("../../../", import.meta.url),
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const output = parent.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const pid = Number((await output.read()).value);
  assert(pid > 1 && isRunning(pid), `${pid} runs`);
  parent.kill("SIGKILL");
  await parent.status;
  // Its end of the pipe closes with it.
  assertEquals((await output.read()).done, true);
});

Deno.test("isIpv6Available() agrees with what the kernel lets us bind", () => {
  let bound = true;
  try {
    Deno.listen({ hostname: "::1", port: 0 }).close();
  } catch {
    bound = false;
  }
  assertEquals(isIpv6Available(), bound);
});

function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(Deno.readTextFileSync(`/proc/${pid}/status`));
  } catch {
    return false;
  }
}
