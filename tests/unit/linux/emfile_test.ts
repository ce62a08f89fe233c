import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { DialError } from "#stream";
import { bytes, ip, kernel } from "./support.ts";

const FDS_MAX = 60;
const CONNECTIONS = 60;

interface Told {
  readonly port?: number;
  readonly accepted: number;
  readonly cpuMs: number;
}

Deno.test("an acceptor without fds left neither dies nor spins, and goes on when some are free", async () => {
  const child = new Deno.Command("bash", {
    args: [
      "-c",
      `ulimit -n ${FDS_MAX}; exec "$0" run -A "$1"`,
      Deno.execPath(),
      new URL("./emfile_child.ts", import.meta.url).pathname,
    ],
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const output = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const input = child.stdin.getWriter();
  const told = async (): Promise<Told> => JSON.parse((await output.read()).value!) as Told;
  const ask = async (): Promise<Told> => {
    await input.write(bytes("?\n"));
    return await told();
  };

  const to = { ip: ip("127.61.0.2"), port: (await told()).port! };
  const streams = await Promise.all(
    Array.from({ length: CONNECTIONS }, () => kernel.dialer({}).dial(to, { timeoutMs: 30_000 })),
  );
  const pause = () => new Promise((resolve) => setTimeout(resolve, 300));
  let full = await ask();
  for (let before = -1; before !== full.accepted || before === 0; full = await ask()) {
    before = full.accepted;
    await pause();
  }
  assert(full.accepted < CONNECTIONS, `${full.accepted} were accepted with ${FDS_MAX} fds`);
  // A collection falls into one such while or another, hardly into all of them.
  const cpuMs: number[] = [];
  for (let look = 0; look < 5 && !(Math.min(...cpuMs) < 150); look++) {
    const { cpuMs: beforeMs } = await ask();
    await pause();
    const idle = await ask();
    assertEquals(idle.accepted, full.accepted);
    cpuMs.push(idle.cpuMs - beforeMs);
  }
  assert(Math.min(...cpuMs) < 150, `${cpuMs} ms of CPU in 300 ms each`);

  // Those in service end; those in the queue are served, without having to come again.
  const served = streams.slice(0, full.accepted);
  for (const stream of served) stream.abort();
  for (const stream of streams.slice(full.accepted)) {
    const [chunk] = await Promise.all([stream.read(), stream.write(bytes("me too"))]);
    assertEquals(new TextDecoder().decode(chunk!), "me too");
  }
  for (const stream of streams) stream.abort();
  await Promise.all(streams.map((stream) => stream.closed));
  await input.close();
  await output.cancel();
  const { code } = await child.status;
  assertEquals(code, 0);
  await kernel.dialer({}).dial(to, { timeoutMs: 30_000 }).then(
    () => assert(false, "the child still listens"),
    (error) => assert(error instanceof DialError),
  );
});
