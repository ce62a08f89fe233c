import { deepStrictEqual as assertEquals, rejects } from "node:assert/strict";
import type { TunnelStream } from "#hbone";
import { DialError } from "#stream";
import { realClock } from "#system";
import { type Failure, Ip, Refusal, SpiffeId } from "#values";
import { FakeClock } from "../../support/fake_clock.ts";
import { CART, failureOf, hangUp, HOP, Hops, keyOf, REQUEST, say, until, WEB } from "./support.ts";

Deno.test("TunnelPool opens a tunnel and tells the response's headers and the accepted name", async () => {
  await using hops = new Hops({ from: Ip.parse("10.1.0.5")! });
  const { stream, headers, peerIdentity } = await hops.pool.open(keyOf(), REQUEST);
  assertEquals(headers.get("baggage"), ["k8s.namespace.name=shop"]);
  assertEquals(peerIdentity, CART);
  assertEquals(await say(stream, "hello"), "hello");
  assertEquals(hops.dials, [{
    to: HOP,
    options: { timeoutMs: 10_000, from: Ip.parse("10.1.0.5")! },
  }]);
});

Deno.test("TunnelPool reuses one connection, at once and after another", async () => {
  await using hops = new Hops();
  const tunnels: TunnelStream[] = [];
  for (let round = 0; round < 5; round++) tunnels.push(await hops.pool.open(keyOf(), REQUEST));
  for (const { stream } of tunnels) await hangUp(stream);
  await hops.pool.open(keyOf(), REQUEST);
  assertEquals(hops.dials.length, 1);
  assertEquals(hops.pool.connectionsCount, 1);
});

Deno.test("TunnelPool shares nothing between different keys", async () => {
  await using hops = new Hops();
  const other = SpiffeId.of("cluster.local", "shop", "other");
  const keys = [
    keyOf(),
    keyOf({ source: other }),
    keyOf({ expected: [CART, other] }),
    keyOf({ expected: [other, CART] }),
    keyOf({ hop: { ...HOP, port: 15009 } }),
    keyOf({ hop: { ...HOP, ip: Ip.parse("10.1.0.10")! } }),
    keyOf({ client: Ip.parse("10.1.0.6")! }),
  ];
  for (let round = 0; round < 2; round++) {
    await Promise.all(keys.map((key) => hops.pool.open(key, REQUEST)));
  }
  assertEquals(hops.dials.length, keys.length);
});

const LIMITS = [
  { what: "our own limit", ours: 2, theirs: 200 },
  { what: "the peer's limit", ours: 100, theirs: 2 },
];
for (const { what, ours, theirs } of LIMITS) {
  Deno.test(`TunnelPool opens another connection at ${what}, and uses a freed slot again`, async () => {
    await using hops = new Hops({ streamsPerConnectionMax: ours, serverStreamsMax: theirs });
    const tunnels: TunnelStream[] = [];
    for (let round = 0; round < 5; round++) tunnels.push(await hops.pool.open(keyOf(), REQUEST));
    assertEquals(hops.dials.length, 3);
    await hangUp(tunnels[0]!.stream);
    await hops.pool.open(keyOf(), REQUEST);
    await hops.pool.open(keyOf(), REQUEST);
    assertEquals(hops.dials.length, 3);
  });
}

Deno.test("TunnelPool makes one handshake for 200 requests at once where the limit allows", async () => {
  await using hops = new Hops({ streamsPerConnectionMax: 200 });
  const opening = Array.from({ length: 200 }, () => hops.pool.open(keyOf(), REQUEST));
  const tunnels = await Promise.all(opening);
  assertEquals(hops.dials.length, 1);
  const heard = await Promise.all(tunnels.map(({ stream }, index) => say(stream, `${index}`)));
  assertEquals(heard, tunnels.map((_, index) => `${index}`));
});

Deno.test("TunnelPool makes as many handshakes as the limit asks for, one at a time", async () => {
  await using hops = new Hops({ streamsPerConnectionMax: 10 });
  let [now, most] = [0, 0];
  hops.beforeDial = async () => {
    most = Math.max(most, ++now);
    await Promise.resolve();
    now--;
  };
  await Promise.all(Array.from({ length: 60 }, () => hops.pool.open(keyOf(), REQUEST)));
  assertEquals([hops.dials.length, most], [6, 1]);
});

Deno.test("TunnelPool reports a failed creation to its requester; the others try in turn", async () => {
  await using hops = new Hops();
  hops.beforeDial = () =>
    hops.dials.length <= 2
      ? Promise.reject(new DialError("ECONNREFUSED", 111, "connection refused"))
      : Promise.resolve();
  const outcomes = await Promise.allSettled(
    Array.from({ length: 5 }, () => hops.pool.open(keyOf(), REQUEST)),
  );
  assertEquals(
    outcomes.map(({ status }) => status),
    ["rejected", "rejected", "fulfilled", "fulfilled", "fulfilled"],
  );
  assertEquals(hops.dials.length, 3);
});

const DIAL_FAILURES: readonly (readonly [string, Failure["kind"]])[] = [
  ["ETIMEDOUT", "network_policy"],
  ["ECONNREFUSED", "io"],
  ["EHOSTUNREACH", "io"],
];
for (const [code, kind] of DIAL_FAILURES) {
  Deno.test(`TunnelPool calls a dial that ends with ${code} ${kind}`, async () => {
    await using hops = new Hops();
    hops.beforeDial = () => Promise.reject(new DialError(code, 1, `connect: ${code}`));
    assertEquals((await failureOf(hops.pool.open(keyOf(), REQUEST))).kind, kind);
    assertEquals(hops.pool.connectionsCount, 0);
  });
}

Deno.test("TunnelPool passes the refusals of certificates and TLS on", async () => {
  const identity = new Refusal({ kind: "identity", cause: "CA down" });
  await using without = new Hops({ bundleOf: () => Promise.reject(identity) });
  assertEquals(await failureOf(without.pool.open(keyOf(), REQUEST)), identity.failure);
  assertEquals(without.dials.length, 0);
  const handshake = new Refusal({ kind: "tls_handshake", cause: "untrusted" });
  const fail = () => Promise.reject(handshake);
  await using forged = new Hops({ tls: { client: fail, server: fail } });
  assertEquals(await failureOf(forged.pool.open(keyOf(), REQUEST)), handshake.failure);
});

Deno.test("TunnelPool refuses a status other than 200 and keeps the connection", async () => {
  await using hops = new Hops();
  hops.onTunnel = (request) => request.refuse(503);
  for (let round = 0; round < 3; round++) {
    const failure = await failureOf(hops.pool.open(keyOf(), REQUEST));
    assertEquals(failure, { kind: "http_status", status: 503 });
  }
  assertEquals(hops.dials.length, 1);
});

Deno.test("TunnelPool takes another connection after GOAWAY; the running tunnel goes on", async () => {
  await using hops = new Hops();
  const first = await hops.pool.open(keyOf(), REQUEST);
  hops.servers[0]!.drain();
  await say(first.stream, "still here");
  const second = await hops.pool.open(keyOf(), REQUEST);
  assertEquals(hops.dials.length, 2);
  assertEquals(await say(first.stream, "and here"), "and here");
  assertEquals(await say(second.stream, "me too"), "me too");
  await hangUp(first.stream);
  await until(() => hops.pool.connectionsCount === 1, "the drained connection is gone");
});

Deno.test("TunnelPool sends a request once more when its pooled connection was dead", async () => {
  await using hops = new Hops();
  await hangUp((await hops.pool.open(keyOf(), REQUEST)).stream);
  let requests = 0;
  const accept = hops.onTunnel;
  hops.onTunnel = (request) => {
    // The first answer to the second request is the end of its connection.
    if (++requests === 1) hops.wires[1]!.abort();
    else accept(request);
  };
  const { stream } = await hops.pool.open(keyOf(), REQUEST);
  assertEquals(await say(stream, "hello"), "hello");
  assertEquals([hops.dials.length, requests], [2, 2]);
});

Deno.test("TunnelPool asks again when a fresh connection makes room for another, and not for ever", async () => {
  await using hops = new Hops();
  // The first two hops drain before their first request; what comes after their last stream is not looked at.
  let leaving = 2;
  hops.onServer = (server) => {
    if (leaving-- > 0) server.drain();
  };
  const { stream } = await hops.pool.open(keyOf(), REQUEST);
  assertEquals(await say(stream, "hello"), "hello");
  await hangUp(stream);
  assertEquals(hops.dials.length, 3);

  await using never = new Hops();
  never.onServer = (server) => server.drain();
  const failure = await failureOf(never.pool.open(keyOf(), REQUEST));
  assertEquals(failure, { kind: "http2", cause: "the peer sent GOAWAY: NO_ERROR" });
  assertEquals(never.dials.length, 6);
});

Deno.test("TunnelPool gives up when a fresh connection dies as well", async () => {
  await using hops = new Hops();
  hops.onTunnel = () => hops.wires.at(-1)!.abort();
  assertEquals((await failureOf(hops.pool.open(keyOf(), REQUEST))).kind, "http2");
  assertEquals(hops.dials.length, 1);
});

Deno.test("TunnelPool lets an idle connection go, but never one with a live tunnel", async () => {
  const clock = new FakeClock();
  await using hops = new Hops({ idleReleaseMs: 1_000 }, clock);
  const busy = await hops.pool.open(keyOf(), REQUEST);
  const idle = await hops.pool.open(keyOf({ source: CART }), REQUEST);
  await hangUp(idle.stream);
  await clock.advance(900);
  assertEquals(hops.pool.connectionsCount, 2);
  await clock.advance(200);
  await until(() => hops.pool.connectionsCount === 1, "the idle connection is gone");
  await clock.advance(10_000);
  assertEquals(await say(busy.stream, "still here"), "still here");
  await hangUp(busy.stream);
  await clock.advance(2_100);
  await until(() => hops.pool.connectionsCount === 0, "the other one is gone too");
});

Deno.test("TunnelPool keeps a connection that is used again in time", async () => {
  const clock = new FakeClock();
  await using hops = new Hops({ idleReleaseMs: 1_000 }, clock);
  for (let round = 0; round < 5; round++) {
    await hangUp((await hops.pool.open(keyOf(), REQUEST)).stream);
    await clock.advance(700);
  }
  assertEquals(hops.dials.length, 1);
});

Deno.test("TunnelPool keeps 500 idle keys and drops the one unused for longest", async () => {
  await using hops = new Hops();
  const keyAt = (index: number) => keyOf({ hop: { ...HOP, port: 20_000 + index } });
  const live = await hops.pool.open(keyAt(0), REQUEST);
  for (let index = 1; index < 502; index++) {
    await hangUp((await hops.pool.open(keyAt(index), REQUEST)).stream);
  }
  await until(() => hops.pool.connectionsCount <= 500, "at most 500 connections");
  assertEquals(await say(live.stream, "still here"), "still here");
  await hops.pool.open(keyAt(501), REQUEST);
  assertEquals(hops.dials.length, 502);
  await hops.pool.open(keyAt(1), REQUEST);
  assertEquals(hops.dials.length, 503);
});

Deno.test("TunnelPool stops waiting when the requester gives up; the others get the connection", async () => {
  await using hops = new Hops();
  const gate = Promise.withResolvers<void>();
  hops.beforeDial = () => gate.promise;
  const stop = new AbortController();
  const first = hops.pool.open(keyOf(), REQUEST, stop.signal);
  const second = hops.pool.open(keyOf(), REQUEST);
  stop.abort({ kind: "policy_changed" });
  assertEquals(await failureOf(first), { kind: "policy_changed" });
  gate.resolve();
  assertEquals(await say((await second).stream, "hello"), "hello");
  assertEquals(hops.dials.length, 1);
});

Deno.test("TunnelPool stops waiting for an answer when the requester gives up", async () => {
  await using hops = new Hops();
  const asked = Promise.withResolvers<void>();
  const abandoned = Promise.withResolvers<void>();
  hops.onTunnel = (request) => {
    request.abandoned.addEventListener("abort", () => abandoned.resolve());
    asked.resolve();
  };
  const stop = new AbortController();
  const opening = hops.pool.open(keyOf(), REQUEST, stop.signal);
  await asked.promise;
  stop.abort();
  assertEquals(await failureOf(opening), { kind: "drained" });
  await abandoned.promise;
});

Deno.test("TunnelPool refuses a hop that never answers, in the end", async () => {
  const clock = new FakeClock();
  await using hops = new Hops({}, clock);
  const asked = Promise.withResolvers<void>();
  hops.onTunnel = () => asked.resolve();
  const opening = failureOf(hops.pool.open(keyOf(), REQUEST));
  await asked.promise;
  // Frames travel by real turns: the acknowledgement of SETTINGS has to be in before the clock moves.
  for (let turns = 0; turns < 10; turns++) await realClock.sleep(2);
  await clock.advance(60_000);
  assertEquals(await opening, { kind: "http2", cause: "no answer within 60000 ms" });
});

Deno.test("TunnelPool.drain() refuses new tunnels and lets running ones finish", async () => {
  await using hops = new Hops();
  const { stream } = await hops.pool.open(keyOf(), REQUEST);
  hops.pool.drain();
  assertEquals(await failureOf(hops.pool.open(keyOf(), REQUEST)), { kind: "pool_draining" });
  assertEquals(await say(stream, "still here"), "still here");
  await hangUp(stream);
  await until(() => hops.pool.connectionsCount === 0, "the connection is gone");
});

Deno.test("TunnelPool.drain() refuses those who wait for a connection, and closes it when it comes", async () => {
  await using hops = new Hops();
  const gate = Promise.withResolvers<void>();
  hops.beforeDial = () => gate.promise;
  const waiting = [1, 2, 3].map(() => failureOf(hops.pool.open(keyOf(), REQUEST)));
  hops.pool.drain();
  for (const failure of await Promise.all(waiting)) assertEquals(failure.kind, "pool_draining");
  gate.resolve();
  await until(() => hops.servers.length === 1, "the late connection came");
  await hops.servers[0]!.closed;
  assertEquals(hops.pool.connectionsCount, 0);
});

Deno.test("TunnelPool.destroy() cuts running tunnels", async () => {
  await using hops = new Hops();
  const { stream } = await hops.pool.open(keyOf({ source: WEB }), REQUEST);
  const reading = stream.read();
  hops.pool.destroy();
  await rejects(reading, { name: "StreamError", kind: "reset" });
  assertEquals(await failureOf(hops.pool.open(keyOf(), REQUEST)), { kind: "pool_draining" });
});
