import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { OpenFiles, OwnProcess } from "#linux";
import { isIpv6Available } from "../../../lib/linux/process.ts";
import { KERNEL_GRANTS_SLICES, schedField, SHORT_SLICE_NS } from "../../support/slices.ts";

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
    import { OpenFiles, OwnProcess } from "#linux";
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

Deno.test("askForShortSlices() shortens the slices of its thread, and leaves its nice value", async () => {
  const program = `
    import { OwnProcess } from "#linux";
    const wasTaken = OwnProcess.askForShortSlices();
    console.log(JSON.stringify({ wasTaken, sched: Deno.readTextFileSync("/proc/thread-self/sched") }));`;
  const { stdout } = await new Deno.Command("nice", {
    args: ["-n", "5", Deno.execPath(), "eval", program],
    cwd: new URL("../../../", import.meta.url),
  }).output();
  const { wasTaken, sched } = JSON.parse(new TextDecoder().decode(stdout));
  assertEquals(wasTaken, true);
  assertEquals(schedField(sched, "prio"), 125);
  if (KERNEL_GRANTS_SLICES) assertEquals(schedField(sched, "se.slice"), SHORT_SLICE_NS);
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

Deno.test("othersTurn() is a turn for sockets and timers too, and takes no millisecond", async () => {
  const { othersTurn } = OwnProcess;
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  let turns = 0;
  let isOver = false;
  const work = (async () => {
    for (; !isOver; turns++) {
      const end = performance.now() + 2;
      while (performance.now() < end);
      await othersTurn();
    }
  })();
  // Each of these steps needs the runtime to look at a socket, or at its timers.
  const { port } = listener.addr;
  const [client, server] = await Promise.all([
    Deno.connect({ hostname: "127.0.0.1", port }),
    listener.accept(),
  ]);
  const byte = new Uint8Array(1);
  const before = turns;
  for (let round = 0; round < 5; round++) {
    await Promise.all([client.write(byte), server.read(byte)]);
    await Promise.all([server.write(byte), client.read(byte)]);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  assert(turns - before < 100, `15 steps took ${turns - before} turns`);
  isOver = true;
  await work;
  client.close();
  server.close();
  const ROUNDS = 100;
  const msOf = async (turn: () => Promise<unknown>): Promise<number> => {
    const start = performance.now();
    for (let round = 0; round < ROUNDS; round++) await turn();
    return performance.now() - start;
  };
  // A timer's turn takes its millisecond, whatever else this machine does. The best of a few pairs is nobody's noise.
  const ratios: number[] = [];
  for (let pair = 0; pair < 10 && !(Math.min(...ratios) < 0.5); pair++) {
    const turnsMs = await msOf(othersTurn);
    ratios.push(turnsMs / await msOf(() => new Promise((resolve) => setTimeout(resolve, 1))));
  }
  assert(Math.min(...ratios) < 0.5, `${ratios} of a timer's turn`);
});

Deno.test("threadProcessorMs() counts this thread's work, and neither sleep nor what other threads do", async () => {
  const { threadProcessorMs } = OwnProcess;
  const worker = new Worker(
    `data:text/javascript,${
      encodeURIComponent("const end = Date.now() + 300; while (Date.now() < end); postMessage(0);")
    }`,
    { type: "module" },
  );
  const before = threadProcessorMs();
  await new Promise((resolve) => worker.onmessage = resolve);
  worker.terminate();
  const idleMs = threadProcessorMs() - before;
  assert(idleMs < 150, `${idleMs} ms while another thread worked`);
  let sum = 0;
  while (threadProcessorMs() - before < idleMs + 50) sum++;
  assert(sum > 0);
  const wall = performance.now();
  while (performance.now() - wall < 50) sum++;
  const workMs = threadProcessorMs() - before - idleMs - 50;
  assert(workMs <= 55, `${workMs} ms of work in 50 ms`);
});
