/** Our engine before Python's `h2` (pip install h2), as its server and as its client. */
import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { askAll, ourServer } from "../support/interop.ts";
import { testAsRoot } from "../support/needs.ts";

const HOST = "127.83.3.1";

/** The Python that CI's environment of peers has, else the system's. */
async function pythonWithH2(): Promise<string> {
  const python = Deno.env.get("ZTUNNEL_TEST_PYTHON") ?? "python3";
  const probe = await new Deno.Command(python, { args: ["-c", "import h2"], stderr: "null" })
    .output();
  if (!probe.success) throw new Error(`${python} has no h2: pip install h2==4.4.1`);
  return python;
}

const script = (name: string) => new URL(`./${name}`, import.meta.url).pathname;

testAsRoot("our server gets on with a client of Python's h2", ["python3"], async () => {
  const python = await pythonWithH2();
  await using server = ourServer(HOST);
  const client = await new Deno.Command(python, {
    args: [script("h2_client.py"), HOST, String(server.port)],
  }).output();
  assertEquals(client.code, 0, new TextDecoder().decode(client.stderr));
  const seen = JSON.parse(new TextDecoder().decode(client.stdout));
  assertEquals(seen.settings, { 2: 0, 3: 200, 4: 4 << 20, 5: 1 << 20, 6: 64 << 10 });
  assertEquals(seen.headers, {
    1: [[":status", "200"], ["baggage", "a=b"]],
    3: [[":status", "401"]],
    5: [[":status", "200"], ["baggage", "a=b"]],
  });
  assertEquals(seen.data, { 1: 1_000_000 });
  assertEquals(seen.ended, [1, 3]);
  assertEquals(seen.reset, { 3: 0, 5: 8 });
});

testAsRoot("our client gets on with a server of Python's h2", ["python3"], async () => {
  const python = await pythonWithH2();
  const child = new Deno.Command(python, {
    args: [script("h2_server.py"), HOST],
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  try {
    const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    const { value = "" } = await reader.read();
    await askAll(HOST, Number(value.trim()));
    await reader.cancel();
    assertEquals((await child.status).code, 0);
  } finally {
    try {
      child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await child.status;
  }
});
