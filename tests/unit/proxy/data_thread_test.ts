/** The data side before a kernel of queues: decisions become streams, lines and counters. TLS is in tests/direct. */
import { deepStrictEqual, match, ok, rejects, strictEqual } from "node:assert/strict";
import { realClock } from "#system";
import { Revocations } from "#tls";
import { mintCrl, mintRoot } from "../../support/pki.ts";
import { at, ip, workload } from "../route/world.ts";
import { bytes, deny, options, readText, World } from "./world.ts";

Deno.test("an instance binds all or nothing, and accepts only when it is told to start", async () => {
  const world = new World();
  await world.clock.advance(0);
  deepStrictEqual([...world.kernel.listeners.keys()], [15008, 15006, 15001, 15080]);
  deepStrictEqual(world.kernel.servingPorts, []);
  deepStrictEqual(world.told, [{ tell: "opened", instance: 1 }]);
  await world.start();
  deepStrictEqual(world.kernel.servingPorts, [15001, 15006, 15008, 15080]);

  const refused = new World(options, 15001);
  await refused.clock.advance(0);
  deepStrictEqual(refused.told, [{
    tell: "open_failed",
    instance: 1,
    code: "EADDRINUSE",
    errno: 98,
    reason: "cannot bind 127.0.0.1:15001",
  }]);
  deepStrictEqual(refused.kernel.closedPorts, [15008, 15006]);
  strictEqual(refused.groundsGoneCount, 1);
});

Deno.test("instances come and go while others serve: what is opened late accepts at once", async () => {
  const world = await new World().start();
  const spec = {
    kind: "pod",
    info: { name: "web", namespace: "shop", serviceAccount: "web" },
  } as const;
  world.port.post({ tell: "open", instance: 2, spec });
  await world.clock.advance(0);
  ok(world.told.some((word) => word.tell === "opened" && word.instance === 2));
  deepStrictEqual(world.kernel.servingPorts, [15001, 15006, 15008, 15080]);
  const app = world.kernel.connect(15001, at("10.1.0.5:40000"), at("10.96.0.20:80"));
  await app.write(bytes("x"));
  const cut = rejects(readText(app), { kind: "reset" });
  world.port.post({ tell: "close", instance: 2, deadlineMs: 0 });
  await world.clock.advance(0);
  await cut;
  await world.clock.advance(500);
  deepStrictEqual(world.told.at(-1), { tell: "closed", instance: 2 });
  strictEqual(world.groundsGoneCount, 1);
  match(world.lines[0]!, /error="connection closed due to connection drain"/);
  // What is not there is closed already.
  world.port.post({ tell: "close", instance: 9, deadlineMs: 0 });
  await world.clock.advance(0);
  deepStrictEqual(world.told.at(-1), { tell: "closed", instance: 9 });
});

Deno.test("an instance that is closed while it drains ends at the earlier deadline", async () => {
  const world = await new World().start();
  const app = world.kernel.connect(15001, at("10.1.0.5:40000"), at("10.96.0.20:80"));
  await app.write(bytes("x"));
  world.port.post({ tell: "close", instance: 1, deadlineMs: 60_000 });
  await world.clock.advance(1_000);
  ok(!world.told.some((word) => word.tell === "closed"));
  const cut = rejects(readText(app), { kind: "reset" });
  world.port.post({ tell: "close", instance: 1, deadlineMs: 0 });
  await world.clock.advance(0);
  await cut;
  await world.clock.advance(500);
  strictEqual(world.told.filter((word) => word.tell === "closed").length, 2);
  strictEqual(world.groundsGoneCount, 1);
});

Deno.test("outbound to a TCP workload's VIP dials its pod, relays, counts and writes one line", async () => {
  const world = await new World().start();
  const app = world.kernel.connect(15001, at("10.1.0.5:40000"), at("10.96.0.20:80"));
  await app.write(bytes("hello"));
  await app.closeWrite();
  const [dialled] = world.kernel.dialled;
  deepStrictEqual(dialled?.to, at("10.1.0.9:8080"));
  strictEqual(dialled.options.spoof, undefined, "outbound never spoofs");
  strictEqual(await readText(dialled.stream), "hello");
  await dialled.stream.write(bytes("hello back"));
  await dialled.stream.closeWrite();
  strictEqual(await readText(app), "hello back");
  await world.clock.advance(0);
  strictEqual(world.lines.length, 1);
  match(world.lines[0]!, /info\taccess\tconnection complete\tsrc\.addr=10\.1\.0\.5:40000/);
  match(
    world.lines[0]!,
    /dst\.addr=10\.1\.0\.9:8080 dst\.service="plain\.shop\.svc\.cluster\.local"/,
  );
  match(world.lines[0]!, /direction="outbound" bytes_sent=5 bytes_recv=10/);
  ok(!world.lines[0]!.includes("src.identity"), "no identity without mutual TLS");
  strictEqual(await world.sum("istio_tcp_received_bytes_total"), 5);
  strictEqual(await world.sum("istio_tcp_connections_closed_total", 'response_flags="-"'), 1);
  strictEqual(await world.sum("istio_tcp_sockets_open"), 0);
});

Deno.test("a refused dial is CONNECT in metrics and line, and the application is reset", async () => {
  const world = await new World().start();
  world.kernel.refusedPorts.add(8080);
  const app = world.kernel.connect(15001, at("10.1.0.5:40000"), at("10.96.0.20:80"));
  await rejects(readText(app), { kind: "reset" });
  await world.clock.advance(0);
  match(world.lines[0]!, /error\taccess\t.*connection refused \(ECONNREFUSED\)/);
  strictEqual(await world.sum("istio_tcp_connections_failed_total", 'response_flags="CONNECT"'), 1);
});

Deno.test("plaintext from outside is judged by policy, spoofs its source, and ends when policy changes", async () => {
  const world = await new World().start();
  const caller = world.kernel.connect(15006, at("10.7.0.1:5000"), at("10.1.0.5:8080"));
  await caller.write(bytes("hi"));
  const [dialled] = world.kernel.dialled;
  deepStrictEqual(dialled?.to, at("10.1.0.5:8080"));
  strictEqual(dialled.options.spoof, ip("10.7.0.1"));
  ok(await dialled.stream.read());
  world.port.post({ tell: "list_connections", id: 7 });
  await world.clock.advance(0);
  deepStrictEqual(world.told.at(-1), {
    tell: "connections",
    id: 7,
    instances: [{
      instance: 1,
      connections: {
        inbound: [{
          src: "10.7.0.1:5000",
          originalDst: null,
          actualDst: "10.1.0.5:8080",
          protocol: "TCP",
        }],
        outbound: [],
      },
      tunnels: [],
      floods: [],
    }],
    isLast: true,
  });
  world.mesh.writer.upsertPolicy(deny);
  world.commit();
  await rejects(readText(caller), { kind: "reset" });
  await world.clock.advance(0);
  match(world.lines[0]!, /error="connection closed due to policy change"/);
  strictEqual(await world.sum("istio_tcp_connections_failed_total", 'response_flags="DENY"'), 1);
  const second = world.kernel.connect(15006, at("10.7.0.1:5001"), at("10.1.0.5:8080"));
  await rejects(readText(second), { kind: "reset" });
  await world.clock.advance(0);
  match(world.lines[1]!, /policy rejection: explicitly denied by: shop\/no/);
  strictEqual(world.kernel.dialled.length, 1, "a denied connection never reaches the application");
});

Deno.test("our own ports are refused from either side", async () => {
  const world = await new World().start();
  const loop = world.kernel.connect(15001, at("127.0.0.1:5000"), at("127.0.0.1:15001"));
  await rejects(readText(loop), { kind: "reset" });
  const direct = world.kernel.connect(15006, at("10.7.0.1:5000"), at("10.1.0.5:15006"));
  await rejects(readText(direct), { kind: "reset" });
  // An address of ours that no workload has: as passthrough it would come back to 15001 for ever.
  const unknown = world.kernel.connect(15001, at("10.7.0.1:5000"), at("10.1.0.6:15001"));
  await rejects(readText(unknown), { kind: "reset" });
  await world.clock.advance(0);
  deepStrictEqual(
    world.lines.map((line) => /warn\taccess\tconnection failed\t.*recursive call/.test(line)),
    [true, true, true],
  );
  strictEqual(world.kernel.dialled.length, 0);
});

Deno.test("a connection that comes before its workload is known waits 5 s for it", async () => {
  const world = new World();
  world.port.post({ tell: "start" });
  await world.clock.advance(0);
  const early = world.kernel.connect(15001, at("10.1.0.5:1"), at("10.96.0.20:80"));
  const never = world.kernel.connect(15006, at("10.7.0.1:2"), at("10.1.0.5:8080"));
  await world.clock.advance(4_900);
  strictEqual(world.lines.length, 0);
  const refused = rejects(readText(never), { kind: "reset" });
  never.abort();
  await refused.catch(() => {});
  await world.start();
  await early.write(bytes("x"));
  strictEqual(world.kernel.dialled.some(({ to }) => to.port === 8080), true);

  const lonely = new World();
  lonely.port.post({ tell: "start" });
  await lonely.clock.advance(0);
  const lost = lonely.kernel.connect(15001, at("10.1.0.5:1"), at("10.96.0.20:80"));
  await lonely.clock.advance(5_000);
  await rejects(readText(lost), { kind: "reset" });
  match(
    lonely.lines[0]!,
    /error="unknown source workload: web\.shop \(web\): not told by the control plane within 5000 ms/,
  );
});

Deno.test("SOCKS5 speaks RFC 1928: addresses, names of the mesh, and each refusal with its code", async () => {
  const world = await new World().start();
  const ask = async (...requests: number[][]) => {
    const client = world.kernel.connect(15080, at("10.1.0.5:3"), at("127.0.0.1:15080"));
    const answer: number[] = [];
    // A pipe holds nothing: whoever does not read stops the other side.
    const reading = (async () => {
      for (let chunk = await client.read(); chunk !== null; chunk = await client.read()) {
        answer.push(...chunk);
        if (answer.length >= 12 || answer.at(-9) === 7) break;
      }
    })();
    for (const request of requests) await client.write(Uint8Array.from(request));
    await reading;
    client.abort();
    await world.clock.advance(0);
    return answer;
  };
  const ok_ = [5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0];
  const name = (text: string) => [5, 1, 0, 3, text.length, ...bytes(text), 0, 80];
  deepStrictEqual(await ask([5, 1, 0], [5, 1, 0, 1, 10, 96, 0, 20, 0, 80]), ok_);
  deepStrictEqual(await ask([5, 2, 0, 2], name("plain.shop.svc.cluster.local")), ok_);
  deepStrictEqual(await ask([5, 1, 0], name("plain")), ok_);
  deepStrictEqual(
    world.kernel.dialled.map(({ to }) => to),
    [1, 2, 3].map(() => at("10.1.0.9:8080")),
  );
  const code = async (...requests: number[][]) => (await ask(...requests)).at(-9);
  strictEqual(await code([4, 1, 0]), 7);
  strictEqual(await code([5, 1, 2]), 7);
  strictEqual(await code([5, 1, 0], [5, 2, 0, 1, 10, 96, 0, 20, 0, 80]), 7);
  strictEqual(await code([5, 1, 0], [5, 1, 0, 9, 1, 1]), 7);
  strictEqual(await code([5, 1, 0], name("nobody.example.com")), 4);
});

Deno.test("a drain closes listeners, waits for what runs, and cuts the rest at its deadline", async () => {
  const world = await new World().start();
  const app = world.kernel.connect(15001, at("10.1.0.5:40000"), at("10.96.0.20:80"));
  await app.write(bytes("x"));
  world.port.post({ tell: "drain", deadlineMs: 3_000 });
  await world.clock.advance(0);
  deepStrictEqual(world.kernel.servingPorts, []);
  ok(!world.told.some((word) => word.tell === "drained"));
  await world.clock.advance(2_999);
  ok(!world.told.some((word) => word.tell === "drained"));
  const cut = rejects(readText(app), { kind: "reset" });
  await world.clock.advance(1);
  await cut;
  await world.clock.advance(1_000);
  ok(world.told.some((word) => word.tell === "drained"));
  match(world.lines[0]!, /error="connection closed due to connection drain"/);
  strictEqual(await world.sum("istio_tcp_connections_failed_total"), 0, "drained is not failed");
});

Deno.test("a drain that finds connections still dialling writes their lines too", async () => {
  const world = await new World().start();
  world.kernel.silentPorts.add(8080);
  const ends = [
    world.kernel.connect(15001, at("10.1.0.5:40000"), at("10.96.0.20:80")),
    world.kernel.connect(15006, at("10.7.0.1:5000"), at("10.1.0.5:8080")),
  ].map((end) => rejects(readText(end), { kind: "reset" }));
  await world.clock.advance(0);
  world.port.post({ tell: "drain", deadlineMs: 100 });
  await world.clock.advance(100);
  await Promise.all(ends);
  await world.clock.advance(0);
  ok(world.told.some((word) => word.tell === "drained"));
  strictEqual(world.lines.length, 2);
  for (const line of world.lines) match(line, /error="connection closed due to connection drain"/);
});

Deno.test("a listed policy that is missing is warned of once, and again when it goes missing again", async () => {
  const world = await new World().start();
  const change = async (policies: readonly string[]) => {
    world.mesh.writer.upsertWorkload(
      workload("web", { ips: ["10.1.0.5"], authorizationPolicies: policies }),
    );
    world.commit();
    await world.clock.advance(0);
  };
  await change(["shop/nowhere"]);
  for (const port of [5001, 5002, 5003]) {
    const caller = world.kernel.connect(15006, at(`10.7.0.1:${port}`), at("10.1.0.5:8080"));
    await caller.write(bytes("hi"));
  }
  await change(["shop/nowhere", "shop/no-more"]);
  strictEqual(world.warnings.length, 2);
  match(world.warnings[0]!, /not loaded\tpolicy="shop\/nowhere"/);
  await change([]);
  await change(["shop/nowhere"]);
  strictEqual(world.warnings.length, 3);
});

Deno.test("9.8: lists that others replace are told of as garbage, which no collector counts", async () => {
  const root = mintRoot();
  const load = async (world: World, ...serials: number[]) => {
    const pem = new TextEncoder().encode(mintCrl(root, serials));
    const lists = await Revocations.pack(pem, { clock: realClock, turn: () => Promise.resolve() });
    world.port.post({ tell: "revocations", lists });
    await world.clock.advance(0);
    return lists[0]!;
  };
  const world = await new World().start();
  const first = await load(world, 1, 2, 3, 4, 5);
  strictEqual(world.sharedGarbageBytes, 0);
  await load(world, 1);
  strictEqual(
    world.sharedGarbageBytes,
    first.der.buffer.byteLength + first.places.buffer.byteLength,
  );
});
