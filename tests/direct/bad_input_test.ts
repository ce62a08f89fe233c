/** Garbage, half a ClientHello, plain HTTP and silence on each port: one clear line at most, and a working process. */
import { ok, strictEqual } from "node:assert/strict";
import { seededRng } from "#system";
import { until } from "../support/netns.ts";
import { doublingServer, ProxyProcess, readToEnd, socksConnect } from "../support/proxy_process.ts";

const IP = "127.1.3.1";
const PORTS = [15001, 15006, 15008, 15080, 15000, 15020, 15021];

const MESH = `
workloads:
- { uid: c//Pod/shop/one, name: one, namespace: shop, serviceAccount: one, trustDomain: cluster.local,
    workloadIps: ["${IP}"], protocol: HBONE }
`;

/** A TLS 1.3 ClientHello's first half: a valid record header and handshake header, then nothing. */
const HALF_HELLO = Uint8Array.of(22, 3, 1, 1, 0, 1, 0, 0, 252, 3, 3, 1, 2, 3, 4, 5, 6, 7, 8);
const HTTP = new TextEncoder().encode("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
const H2_PREFACE = new TextEncoder().encode("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

async function throwAt(port: number, bytes: Uint8Array, finish: boolean): Promise<void> {
  let connection: Deno.TcpConn | undefined;
  try {
    connection = await Deno.connect({ hostname: IP, port });
    await connection.write(bytes as Uint8Array<ArrayBuffer>);
    if (finish) await connection.closeWrite();
    await Promise.race([
      readToEnd(connection),
      new Promise((resolve) => setTimeout(resolve, 200)),
    ]);
  } catch {
    // A reset is a fine answer, also one that comes before connect() returns.
  } finally {
    connection?.close();
  }
}

Deno.test({
  name: "no input on any port stops the proxy, and the log stays readable",
  sanitizeOps: false,
  sanitizeResources: false,
}, async () => {
  const meshPath = await Deno.makeTempFile({ suffix: ".yaml" });
  await Deno.writeTextFile(meshPath, MESH);
  await using _application = doublingServer(IP, 8080);
  await using proxy = await ProxyProcess.start({ ip: IP, workload: "one", meshPath });
  const seed = Number(Deno.env.get("SEED") ?? 20_261_123);
  const rng = seededRng(seed);
  // 15001 and 15006 reset whoever was not redirected, maybe before connect() returns; the others wait for a word.
  const silent = (await Promise.allSettled(
    PORTS.map((port) => Deno.connect({ hostname: IP, port })),
  )).flatMap((result) => result.status === "fulfilled" ? [result.value] : []);
  ok(silent.length >= PORTS.length - 2);
  const fdsBefore = await proxy.openFds();
  await Promise.all(PORTS.flatMap((port) => [
    throwAt(port, HALF_HELLO, false),
    throwAt(port, HALF_HELLO, true),
    throwAt(port, HTTP, true),
    throwAt(port, H2_PREFACE, false),
    throwAt(port, new Uint8Array(70_000).fill(0x41), true),
    throwAt(port, Uint8Array.of(5), true),
    throwAt(port, Uint8Array.of(5, 1, 0, 5, 1, 0, 3, 255), true),
    throwAt(port, Uint8Array.of(4, 1, 0, 80, 127, 0, 0, 1, 0), true),
    ...Array.from(
      { length: 6 },
      () => throwAt(port, rng.bytes(1 + rng.below(3_000)), rng.below(2) === 0),
    ),
  ]));
  const connection = await socksConnect(IP, IP, 8080);
  await connection.write(new TextEncoder().encode("still alive"));
  await connection.closeWrite();
  strictEqual(
    new TextDecoder().decode(await readToEnd(connection)),
    "still alivestill alive",
    `SEED=${seed}\n${proxy.output}`,
  );
  connection.close();
  ok(await proxy.isReady());
  const line = /warn\taccess\tconnection failed\t.*error="tls handshake failed: /;
  await until("its line", () => line.test(proxy.output), () => proxy.output);
  for (const line of proxy.output.trim().split("\n")) {
    ok(!/Uncaught|Unhandled|^\s+at /.test(line), `SEED=${seed}: ${line}`);
  }
  await until(
    "no fd is left of it",
    async () => await proxy.openFds() <= fdsBefore + 4,
    () => proxy.output.slice(-2_000),
  );
  for (const one of silent) one.close();
  proxy.signal("SIGTERM");
  strictEqual((await proxy.exited).code, 0);
  await Deno.remove(meshPath);
});
