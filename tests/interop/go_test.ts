/** Our engine before Go's HTTP/2, as its server and as its client. */
import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { buildGoTools } from "../support/go_tools.ts";
import { askAll, ourServer } from "../support/interop.ts";
import { testAsRoot } from "../support/needs.ts";

const HOST = "127.83.9.1";

testAsRoot("our client gets on with a server in Go", ["go"], async () => {
  await using tools = await buildGoTools();
  const child = new Deno.Command(tools.peer, {
    args: ["server", `${HOST}:0`],
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  try {
    const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    const { value = "" } = await reader.read();
    await askAll(HOST, Number(value.trim().split(":").at(-1)));
    await reader.cancel();
  } finally {
    child.kill("SIGKILL");
    await child.status;
  }
});

testAsRoot("our server gets on with a client in Go", ["go"], async () => {
  await using tools = await buildGoTools();
  await using server = ourServer(HOST);
  const client = await new Deno.Command(tools.peer, {
    args: ["client", `${HOST}:${server.port}`],
  }).output();
  strictEqual(client.code, 0, new TextDecoder().decode(client.stderr));
  deepStrictEqual(JSON.parse(new TextDecoder().decode(client.stdout)), {
    echo: "8388608 bytes alike",
    baggage: "a=b",
    refused: 401,
    cut: "CANCEL",
    parallel: 50,
    small: "20000 bytes alike",
    bye: "100000 bytes alike",
    after: "1000 bytes alike",
    // One per authority, which is how Go pools, and another after the GOAWAY.
    dials: 5,
  });
});
