/**
 * A client for tests, to be run inside a network namespace: `steady_client.ts IP PORT RATE` opens RATE connections a second,
 * sends a few bytes over each, wants them back and closes; fewer where the machine cannot follow. On SIGTERM it waits for the last ones and prints one JSON object:
 * how many went well, and what became of the others.
 */
const [ip, port, rate] = Deno.args;
const target = { hostname: ip!, port: Number(port) };
const TICK_MS = 20;
const TIMEOUT_MS = 30_000;
/** More would only wait for each other. */
const OPEN_MAX = 20;
const hello = new TextEncoder().encode("hello");

let ok = 0;
let slowestMs = 0;
const failed: Record<string, number> = {};
const open = new Set<Promise<void>>();

async function once(): Promise<void> {
  const startMs = performance.now();
  let connection: Deno.TcpConn | undefined;
  let where = "connect";
  const timer = setTimeout(() => connection?.close(), TIMEOUT_MS);
  try {
    connection = await Deno.connect(target);
    where = "exchange";
    await connection.write(hello);
    let count = 0;
    while (count < hello.length) {
      const read = await connection.read(new Uint8Array(16));
      if (read === null) throw new Error("end");
      count += read;
    }
    ok++;
    slowestMs = Math.max(slowestMs, performance.now() - startMs);
  } catch (error) {
    const { name, message } = error as Error;
    const what = `${where}: ${name === "Error" ? message : name}`;
    failed[what] = (failed[what] ?? 0) + 1;
  } finally {
    clearTimeout(timer);
    try {
      connection?.close();
    } catch {
      // Closed by the timer.
    }
  }
}

let dueCount = 0;
const sinceMs = performance.now();
const ticking = setInterval(() => {
  // What the ticks of a busy machine made us miss is made up for.
  const wantedCount = Math.floor((performance.now() - sinceMs) * Number(rate) / 1_000);
  for (; dueCount < wantedCount; dueCount++) {
    if (open.size >= OPEN_MAX) continue;
    const one = once().finally(() => open.delete(one));
    open.add(one);
  }
}, TICK_MS);

Deno.addSignalListener("SIGTERM", async () => {
  clearInterval(ticking);
  await Promise.all(open);
  console.log(JSON.stringify({ ok, failed, slowestMs: Math.round(slowestMs) }));
  Deno.exit();
});
console.log("started");
