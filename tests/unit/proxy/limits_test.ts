/** What keeps a proxy from being filled up: handshakes, floods, silent connections; and the gauge that shows it. */
import { deepStrictEqual, match, ok, rejects, strictEqual } from "node:assert/strict";
import { createLogHub } from "#log";
import { Metrics } from "#metrics";
import { type Arrival, type ByteStream, pipe } from "#stream";
import type { CertBundle, Tls } from "#tls";
import { Refusal, SpiffeId } from "#values";
import { Floods, FLOODS_LIMITS } from "../../../lib/proxy/floods.ts";
import { Handshakes } from "../../../lib/proxy/handshakes.ts";
import { PROXY_LIMITS } from "../../../lib/proxy/parts.ts";
import { Quiet } from "../../../lib/proxy/reaper.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { at } from "../route/world.ts";
import { bytes, noTls, options, readText, WEB, World } from "./world.ts";

const OWN = at("10.1.0.5:15008");

function arrival(source: string): Arrival {
  return { stream: pipe()[1], source: at(source), local: OWN, destination: OWN };
}

/** A TLS in which nobody ever finishes. */
function silentTls(shaking: ByteStream[] = []): Tls {
  return {
    client: noTls.client,
    server: (stream) => {
      shaking.push(stream);
      return new Promise(() => {});
    },
  };
}

async function withCertificate(world: World): Promise<World> {
  await world.start();
  world.port.post({ tell: "cert", identity: WEB, bundle: { identity: WEB } as CertBundle });
  return world;
}

Deno.test("Handshakes resets the oldest of an address that has too many, and of nobody else", () => {
  const reset: string[] = [];
  const note = ({ source }: Arrival, cap: string) => void reset.push(`${source.port} ${cap}`);
  const handshakes = new Handshakes({ allMax: 6, sourceMax: 3 });
  const door = handshakes.door(note);
  const leave = [1, 2, 3].map((port) => door.enter(arrival(`10.7.0.1:${port}`)));
  door.enter(arrival("10.7.0.2:9"));
  leave[0]!();
  leave[0]!();
  door.enter(arrival("10.7.0.1:4"));
  deepStrictEqual([reset, handshakes.count], [[], 4]);
  door.enter(arrival("10.7.0.1:5"));
  deepStrictEqual([reset, handshakes.count], [["2 sourceMax"], 4]);
  // Two more of others, then the table is full: whoever has most gives way, not whoever came first.
  door.enter(arrival("10.7.0.3:9"));
  door.enter(arrival("10.7.0.4:9"));
  door.enter(arrival("10.7.0.5:9"));
  deepStrictEqual([reset, handshakes.count], [["2 sourceMax", "3 allMax"], 6]);
});

Deno.test("Handshakes counts all pods of a thread together, but an address at each of them by itself", () => {
  const reset: string[] = [];
  const handshakes = new Handshakes({ allMax: 6, sourceMax: 3 });
  const [web, db] = ["web", "db"].map((pod) =>
    handshakes.door(({ source }, cap) => void reset.push(`${pod} ${source.port} ${cap}`))
  );
  // A gateway that comes to both pods at once.
  for (const port of [1, 2]) web!.enter(arrival(`10.7.0.1:${port}`));
  for (const port of [3, 4]) db!.enter(arrival(`10.7.0.1:${port}`));
  web!.enter(arrival("10.7.0.1:5"));
  deepStrictEqual([reset, handshakes.count], [[], 5]);
  web!.enter(arrival("10.7.0.1:6"));
  deepStrictEqual([reset, handshakes.count], [["web 1 sourceMax"], 5]);
  db!.enter(arrival("10.7.0.2:9"));
  // Full: the address with most over all pods gives way, its oldest wherever that is.
  db!.enter(arrival("10.7.0.3:9"));
  db!.enter(arrival("10.7.0.4:9"));
  deepStrictEqual(
    [reset, handshakes.count],
    [["web 1 sourceMax", "web 2 allMax", "db 3 allMax"], 6],
  );
});

Deno.test("silent peers on 15008 keep nobody out: of one address 256, in all 1,024, and it is told", async () => {
  const shaking: ByteStream[] = [];
  const world = await withCertificate(new World(options, undefined, silentTls(shaking)));
  const connect = (source: string) => world.kernel.connect(15008, at(source), OWN);
  const oldest = connect("10.7.0.1:1");
  for (let port = 2; port <= 256; port++) connect(`10.7.0.1:${port}`);
  await world.clock.advance(0);
  strictEqual(await world.sum("ztunnel_sockets", 'state="handshake"'), 256);
  const reset = rejects(readText(oldest), { kind: "reset" });
  connect("10.7.0.1:257");
  await reset;
  for (let host = 2; host <= 4; host++) {
    for (let port = 1; port <= 256; port++) connect(`10.7.0.${host}:${port}`);
  }
  const honest = connect("10.8.0.1:1");
  await world.clock.advance(0);
  strictEqual(shaking.length, 1_026, "every newest one is served");
  honest.abort();
  await rejects(readText(honest), { kind: "aborted" });
  const counted = ["hbone_flood_violations_total", 'kind="concurrent_handshakes"'] as const;
  strictEqual(await world.sum(...counted), 2);
  // One line per address and kind, however many of its peers are reset.
  const lines = world.warnings.filter((line) => line.includes("cut off"));
  strictEqual(lines.length, 1, lines.join("\n"));
  match(lines[0]!, /kind="concurrent_handshakes" src\.addr=10\.7\.0\.1:1 /);
});

Deno.test("what a thread's peers did too often is told once, however many pods they met, and their pods' ends take nothing along", async () => {
  const world = await withCertificate(new World(options, undefined, silentTls()));
  const spec = {
    kind: "pod",
    info: { name: "web", namespace: "shop", serviceAccount: "web" },
  } as const;
  // It listens where the first one does: what comes is its own.
  world.port.post({ tell: "open", instance: 2, spec });
  await world.clock.advance(0);
  for (let port = 1; port <= 257; port++) world.kernel.connect(15008, at(`10.7.0.1:${port}`), OWN);
  await world.clock.advance(0);
  const told = async () => {
    world.port.post({ tell: "list_connections", id: 1 });
    await world.clock.advance(0);
    const last = world.told.at(-1);
    if (last?.tell !== "connections") throw new Error(`told ${last?.tell}`);
    return last.instances.map(({ instance, floods }) => [
      instance,
      floods.map(({ violations }) => violations),
    ]);
  };
  const once = [{ concurrent_handshakes: 1 }];
  deepStrictEqual(await told(), [[1, once], [2, []]]);
  world.port.post({ tell: "close", instance: 1, deadlineMs: 0 });
  await world.clock.advance(5_000);
  deepStrictEqual(await told(), [[2, once]]);
});

Deno.test("a peer that does not finish its handshake in time counts as one violation", async () => {
  const world = await withCertificate(
    new World(options, undefined, {
      client: noTls.client,
      server: async () => {
        await Promise.resolve();
        const refusal = new Refusal({ kind: "tls_handshake", cause: "no handshake within 1 ms" });
        const cause = new Error("no handshake within 1 ms");
        cause.name = "TimeoutError";
        refusal.cause = cause;
        throw refusal;
      },
    }),
  );
  const peer = world.kernel.connect(15008, at("10.7.0.1:1"), OWN);
  await rejects(readText(peer), { kind: "reset" });
  await world.clock.advance(0);
  strictEqual(await world.sum("hbone_flood_violations_total", 'kind="handshake"'), 1);
});

function floods(): { clock: FakeClock; table: Floods; lines: () => string[]; metrics: Metrics } {
  const clock = new FakeClock();
  const metrics = new Metrics({ nowMs: () => clock.monotonicMs() });
  let text = "";
  const hub = createLogHub({
    write: (bytes) => text += new TextDecoder().decode(bytes),
    nowMs: () => clock.nowMs(),
    filter: "info",
    format: "plain",
    defer: (flush) => flush(),
  });
  const table = new Floods({ clock, metrics, log: hub.scope("ztunnel::proxy") });
  return { clock, metrics, table, lines: () => text.split("\n").filter((line) => line !== "") };
}

Deno.test("Floods tells a peer's violations once in ten seconds, with their number", async () => {
  const { clock, table, lines } = floods();
  const peer = { address: at("10.7.0.1:1"), identity: SpiffeId.of("td", "ns", "bad") };
  for (let count = 0; count < 5; count++) table.note("ping", peer, "200 at once");
  strictEqual(lines().length, 1);
  match(
    lines()[0]!,
    /warn\tproxy\ta peer was cut off: too much of one thing\tkind="ping" src\.addr=10\.7\.0\.1:1 src\.identity="spiffe:\/\/td\/ns\/ns\/sa\/bad" limit="200 at once" violations=1/,
  );
  table.note("settings", peer, "100 at once");
  strictEqual(lines().length, 2, "another kind is another line");
  await clock.advance(FLOODS_LIMITS.lineIntervalMs);
  table.note("ping", { ...peer, address: at("10.7.0.2:2") }, "200 at once");
  match(lines()[2]!, /src\.addr=10\.7\.0\.2:2 .*violations=5/);
  deepStrictEqual(table.rows(), [{
    identity: peer.identity,
    address: "10.7.0.2:2",
    violations: { ping: 6, settings: 1 },
    lastSeen: "2026-01-01T00:00:10.000Z",
  }]);
});

Deno.test("Floods stays bounded, in rows and in lines, whoever knocks", async () => {
  const { clock, table, lines } = floods();
  const last = FLOODS_LIMITS.peersMax + 50;
  for (let host = 1; host <= last; host++) {
    const address = at(`10.7.${host >> 8}.${host & 255}:1`);
    table.note("handshake", { address, identity: undefined }, "a fixed time");
  }
  const rows = table.rows();
  strictEqual(rows.length, FLOODS_LIMITS.peersMax);
  strictEqual(rows.at(-1)!.address, `10.7.${last >> 8}.${last & 255}:1`);
  strictEqual(rows[0]!.identity, null);
  strictEqual(lines().length, FLOODS_LIMITS.linesMax);
  await clock.advance(FLOODS_LIMITS.lineIntervalMs);
  table.note("handshake", { address: at("10.7.1.1:1"), identity: undefined }, "a fixed time");
  strictEqual(lines().length, FLOODS_LIMITS.linesMax + 1);
});

Deno.test("Quiet counts silence only while no byte moves, and lingers only half-closed", () => {
  const limits = { halfClosedLingerMs: 100, idleTimeoutMs: 0 };
  let moved = 0;
  const quiet = new Quiet(() => moved);
  for (let nowMs = 0; nowMs < 10_000; nowMs += 50) {
    strictEqual(quiet.judge(nowMs, limits), undefined);
  }
  quiet.isHalfClosed = true;
  // The other direction goes on, a byte now and then.
  for (let nowMs = 10_000; nowMs < 20_000; nowMs += 90) {
    moved++;
    strictEqual(quiet.judge(nowMs, limits), undefined);
  }
  moved++;
  strictEqual(quiet.judge(20_000, limits), undefined);
  strictEqual(quiet.judge(20_099, limits), undefined);
  deepStrictEqual(quiet.judge(20_100, limits), { kind: "half_closed", quietMs: 100 });
  deepStrictEqual(
    quiet.judge(20_100, { halfClosedLingerMs: 0, idleTimeoutMs: 90 }),
    { kind: "idle", quietMs: 90 },
  );
  strictEqual(quiet.judge(9e9, { halfClosedLingerMs: 0, idleTimeoutMs: 0 }), undefined);
});

Deno.test("a half-closed pair is ended after ten silent minutes, and its line says so", async () => {
  const world = await new World().start();
  const app = world.kernel.connect(15001, at("10.1.0.5:40000"), at("10.96.0.20:80"));
  const idle = world.kernel.connect(15001, at("10.1.0.5:40001"), at("10.96.0.20:80"));
  const sockets = async (state: string) => await world.sum("ztunnel_sockets", `state="${state}"`);
  await app.write(bytes("hello"));
  await world.clock.advance(0);
  deepStrictEqual([await sockets("established"), await sockets("half_closed")], [2, 0]);
  await app.closeWrite();
  const [first, second] = world.kernel.dialled;
  strictEqual(await readText(first!.stream), "hello");
  await world.clock.advance(0);
  deepStrictEqual([await sockets("established"), await sockets("half_closed")], [1, 1]);
  await world.clock.advance(9 * 60_000);
  await first!.stream.write(bytes("still here"));
  ok(await app.read());
  await world.clock.advance(9 * 60_000);
  strictEqual(world.lines.length, 0, "a byte moved nine minutes ago");
  const [reset, theirs] = [readText(app), first!.stream.write(bytes("x"))];
  await theirs.catch(() => {});
  await world.clock.advance(11 * 60_000);
  await rejects(reset, { kind: "reset" });
  await world.clock.advance(0);
  strictEqual(world.lines.length, 1);
  match(world.lines[0]!, /error="connection closed: half-closed, and no byte for 600 s"/);
  strictEqual(await world.sum("istio_tcp_connections_failed_total"), 0);
  // Silent for half an hour, but whole: it stays.
  await idle.write(bytes("a"));
  ok(await second!.stream.read());
  deepStrictEqual([await sockets("established"), await sockets("half_closed")], [1, 0]);
});

Deno.test("an idle timeout ends silent connections of either side, and none that still dials", async () => {
  const world = await new World((clock) => {
    const base = options(clock);
    const quiet = { halfClosedLingerMs: 0, idleTimeoutMs: 3_600_000 };
    return { ...base, settings: { ...base.settings, quiet } };
  }).start();
  const app = world.kernel.connect(15001, at("10.1.0.5:40000"), at("10.96.0.20:80"));
  const caller = world.kernel.connect(15006, at("10.7.0.1:5000"), at("10.1.0.5:8080"));
  await world.clock.advance(3_600_000 - 1);
  strictEqual(world.lines.length, 0);
  const ended = [app, caller].map((stream) => rejects(readText(stream), { kind: "reset" }));
  await world.clock.advance(60_000);
  await Promise.all(ended);
  await world.clock.advance(0);
  strictEqual(world.lines.length, 2);
  for (const line of world.lines) match(line, /error="connection closed: no byte for 3600 s"/);
  world.kernel.silentPorts.add(8080);
  world.kernel.connect(15001, at("10.1.0.5:40002"), at("10.96.0.20:80"));
  await world.clock.advance(0);
  strictEqual(await world.sum("ztunnel_sockets", 'state="connecting"'), 1);
});

Deno.test("a drain gives peers in their handshake two seconds, however long its deadline is", async () => {
  for (const leavesMs of [undefined, 500]) {
    const shaking: ((error: Error) => void)[] = [];
    const tls: Tls = {
      client: noTls.client,
      server: () => new Promise((_, reject) => void shaking.push(reject)),
    };
    const world = await withCertificate(new World(options, undefined, tls));
    const peer = world.kernel.connect(15008, at("10.7.0.1:1"), OWN);
    const reset = rejects(readText(peer), { kind: "reset" });
    await world.clock.advance(0);
    const drained = () => world.told.some(({ tell }) => tell === "drained");
    world.port.post({ tell: "drain", deadlineMs: 60_000 });
    await world.clock.advance((leavesMs ?? PROXY_LIMITS.peersLeaveMs) - 1);
    strictEqual(drained(), false);
    // One that ends before is not waited for any longer.
    if (leavesMs !== undefined) shaking[0]!(new Refusal({ kind: "tls_handshake", cause: "over" }));
    await world.clock.advance(1);
    await reset;
    strictEqual(drained(), true);
  }
});
