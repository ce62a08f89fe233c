import { ok, rejects, strictEqual } from "node:assert/strict";
import { ADMIN_LIMITS, Readiness, startAdminServer, startReadinessServer } from "#admin";
import { silentLog } from "#log";
import { realClock } from "#system";
import {
  ask,
  bodyOf,
  HOST,
  manyWorkloads,
  meshOf,
  on,
  portOf,
  raw,
  sourcesWith,
  statusOf,
  withServer,
} from "./harness.ts";

/** A dump to nobody stands still in milliseconds. */
const STANDSTILL_MS_MAX = 60_000;

Deno.test("a busy port is refused with its address and what it was for", async () => {
  const readiness = new Readiness(realClock, silentLog);
  await withServer(startReadinessServer({ ...on("readiness"), readiness }), async (_, port) => {
    const free = { hostname: HOST, port: 0 };
    const busy = { hostname: HOST, port };
    await rejects(
      startReadinessServer({ ...on("stats"), listen: [free, busy], readiness }),
      (error: Error) => error.message.startsWith(`cannot bind stats to ${HOST}:${port}: `),
    );
  });
});

Deno.test("garbage, huge headers and HTTP/2 get a 400 or an end, and the server lives on", async () => {
  const readiness = new Readiness(realClock, silentLog);
  await withServer(startReadinessServer({ ...on("readiness"), readiness }), async (_, port) => {
    const garbage = [
      "\x16\x03\x01\x02\x00\x01\x00",
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
      "GET / HTTP/1.1\r\n bad\r\n\r\n",
      `GET /${"a".repeat(20_000)} HTTP/1.1\r\nHost: a\r\n\r\n`,
      `GET / HTTP/1.1\r\nHost: a\r\nX: ${"a".repeat(20_000)}\r\n\r\n`,
      "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
      "\r\n".repeat(3) + "\0\0\0\0",
      "GET / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
    ];
    for (const request of garbage) {
      const response = await raw(port, request, true);
      ok(response === "" || statusOf(response) === "400", JSON.stringify(response.slice(0, 80)));
    }
    strictEqual(bodyOf(await ask(port, "GET /healthz/ready")), "ready\n");
  });
});

Deno.test("a client that has closed its sending side is answered", async () => {
  const readiness = new Readiness(realClock, silentLog);
  await withServer(startReadinessServer({ ...on("readiness"), readiness }), async (_, port) => {
    const response = await raw(port, "GET /healthz/ready HTTP/1.1\r\nHost: a\r\n\r\n", true);
    strictEqual(bodyOf(response), "ready\n");
  });
});

Deno.test("a silent peer and one that stops in mid-header are ended in about two seconds", async () => {
  const readiness = new Readiness(realClock, silentLog);
  await withServer(startReadinessServer({ ...on("readiness"), readiness }), async (_, port) => {
    const startMs = performance.now();
    await Promise.all([raw(port, ""), raw(port, "GET /healthz/ready HTTP/1.1\r\nHost: a\r\n")]);
    const tookMs = performance.now() - startMs;
    ok(tookMs > 1_500 && tookMs < 30_000, `${tookMs} ms`);
  });
});

Deno.test("a crowd of silent peers does not keep a probe out", async () => {
  const readiness = new Readiness(realClock, silentLog);
  await withServer(startReadinessServer({ ...on("readiness"), readiness }), async (_, port) => {
    const crowd: Deno.Conn[] = [];
    for (let count = 0; count < ADMIN_LIMITS.connectionsMax + 50; count++) {
      crowd.push(await Deno.connect({ hostname: HOST, port }));
    }
    strictEqual(bodyOf(await ask(port, "GET /healthz/ready")), "ready\n");
    // The oldest made room.
    strictEqual(await crowd[0]!.read(new Uint8Array(1)).catch(() => null), null);
    for (const each of crowd) each.close();
  });
});

Deno.test("a client that reads nothing costs a bounded piece, and leaving ends the work", async () => {
  const workloads = manyWorkloads(20_000);
  let dumpedCount = 0;
  // Each dump of a workload reads its name once.
  const counting = meshOf(
    workloads.map((workload) =>
      Object.defineProperty({ ...workload }, "name", {
        get: () => `pod-${dumpedCount++}`,
        enumerable: true,
      })
    ),
  );
  const sources = sourcesWith({ mesh: counting });
  await withServer(startAdminServer({ ...on("admin"), sources }), async (_, port) => {
    const lazy = await Deno.connect({ hostname: HOST, port });
    await lazy.write(
      new TextEncoder().encode("GET /config_dump HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    );
    let before = -1;
    const endMs = performance.now() + STANDSTILL_MS_MAX;
    while (before !== dumpedCount || dumpedCount === 0) {
      ok(performance.now() < endMs, `no standstill after ${dumpedCount}`);
      before = dumpedCount;
      await realClock.sleep(200);
    }
    ok(dumpedCount < workloads.length, "all of it was made for a client that reads nothing");
    lazy.close();
    await realClock.sleep(100);
    ok(dumpedCount < workloads.length);
  });
});

Deno.test("drain() lets a running request finish, ends idle connections and refuses new ones", async () => {
  const { promise: asked, resolve: onAsked } = Promise.withResolvers<void>();
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  const sources = sourcesWith({
    staticConfig: async () => {
      onAsked();
      await released;
      return { workloads: [], policies: [], services: [] };
    },
  });
  const server = await startAdminServer({ ...on("admin"), sources });
  const port = portOf(server);
  const running = ask(port, "GET /config_dump");
  const idle = raw(port, "");
  await asked;
  const draining = server.drain();
  strictEqual(await idle, "");
  await rejects(Deno.connect({ hostname: HOST, port }));
  release();
  strictEqual(statusOf(await running), "200");
  await draining;
  await server.drain();
});

Deno.test("requests sent ahead are answered a few at a time, and cost no memory beyond that", async () => {
  const readiness = new Readiness(realClock, silentLog);
  await withServer(startReadinessServer({ ...on("readiness"), readiness }), async (_, port) => {
    const request = "GET /healthz/ready HTTP/1.1\r\nHost: a\r\n\r\n";
    const three = await raw(port, request.repeat(3), true);
    strictEqual(three.match(/200 OK/g)?.length, 3);
    const usedBefore = Deno.memoryUsage().heapUsed;
    const answers = await Promise.all(
      Array.from({ length: 50 }, () => raw(port, request.repeat(1_500))),
    );
    for (const answer of answers) {
      const count = answer.match(/200 OK/g)?.length ?? 0;
      ok(count <= ADMIN_LIMITS.pipelinedRequestsMax, `${count} answers`);
    }
    // The runtime made all 1,500 of each peer before: 400 MB.
    const grownBytes = Deno.memoryUsage().heapUsed - usedBefore;
    ok(grownBytes < 100e6, `${grownBytes} bytes more in use`);
    strictEqual(bodyOf(await ask(port, "GET /healthz/ready")), "ready\n");
  });
});
