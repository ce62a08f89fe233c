/** Our HTTP/2 server before a client by another library: Python's `h2` (pip install h2). */
import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { type IncomingConnect, serve, type ServerConnection } from "#http2";
import { createKernel } from "#linux";
import { realClock } from "#system";
import { Ip } from "#values";
import { testAsRoot } from "../support/needs.ts";

const HOST = "127.83.3.1";
const SETTINGS = {
  streamWindowBytes: 4 << 20,
  explicitWindows: true,
  connectionWindowBytes: 16 << 20,
  frameBytesMax: 1 << 20,
  headerListBytesMax: 64 << 10,
  concurrentStreamsMax: 200,
  pingIntervalMs: 10_000,
  pingTimeoutMs: 20_000,
};

async function answer(request: IncomingConnect): Promise<void> {
  if (request.authority === "refuse.me:1") return request.refuse(401);
  const stream = request.accept(new Map([["baggage", request.headers.get("baggage") ?? []]]));
  if (request.authority === "cut.me:1") return stream.abort();
  for (let chunk = await stream.read(); chunk !== null; chunk = await stream.read()) {
    await stream.write(chunk);
  }
  await stream.closeWrite();
}

/** The Python that CI's environment of peers has, else the system's. */
async function pythonWithH2(): Promise<string> {
  const python = Deno.env.get("ZTUNNEL_TEST_PYTHON") ?? "python3";
  const probe = await new Deno.Command(python, { args: ["-c", "import h2"], stderr: "null" })
    .output();
  if (!probe.success) throw new Error(`${python} has no h2: pip install h2==4.4.1`);
  return python;
}

testAsRoot("serve() gets on with Python's h2: tunnel, refusal, reset", ["python3"], async () => {
  const python = await pythonWithH2();
  const acceptor = createKernel({ clock: realClock }).listen({
    at: { ip: Ip.parse(HOST)!, port: 0 },
    transparent: "off",
    redirected: false,
  });
  const servers: ServerConnection[] = [];
  acceptor.serve(({ stream }) => {
    servers.push(serve(stream, SETTINGS, realClock, (request) => void answer(request)));
  });
  const script = new URL("./h2_client.py", import.meta.url).pathname;
  const client = await new Deno.Command(python, {
    args: [script, HOST, String(acceptor.address.port)],
  }).output();
  acceptor.close();
  const said = new TextDecoder().decode(client.stdout);
  assertEquals(client.code, 0, new TextDecoder().decode(client.stderr));
  const seen = JSON.parse(said);
  assertEquals(seen.settings, { 2: 0, 3: 200, 4: 4 << 20, 5: 1 << 20, 6: 64 << 10 });
  assertEquals(seen.headers, {
    1: [[":status", "200"], ["baggage", "a=b"]],
    3: [[":status", "401"]],
    5: [[":status", "200"], ["baggage", "a=b"]],
  });
  assertEquals(seen.data, { 1: 1_000_000 });
  assertEquals(seen.ended, [1, 3]);
  assertEquals(seen.reset, { 3: 0, 5: 8 });
  for (const server of servers) server.destroy();
  await Promise.all(servers.map((server) => server.closed));
});
