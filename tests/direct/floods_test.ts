/**
 * Every kind of flood against the program itself, over TCP and TLS: the attacker is cut off with the right code, it is
 * counted and named, memory stays flat, and an honest peer beside it notices nothing.
 */
import { ok, strictEqual } from "node:assert/strict";
import { createDevAuthority } from "#certs";
import { type TunnelKey, TunnelPool } from "#hbone";
import { createKernel } from "#linux";
import type { ByteStream } from "#stream";
import { realClock } from "#system";
import { createTls } from "#tls";
import { Ip, type SocketAddress, SpiffeId } from "#values";
import { until } from "../support/netns.ts";
import { ProxyProcess } from "../support/proxy_process.ts";
import { type Attack, ATTACKS, PORTS, TARGET } from "../support/floods.ts";
import { join, PREFACE, RawPeer, TYPE } from "../support/h2_raw.ts";
import { SETTINGS } from "../unit/hbone/support.ts";

const IP = TARGET;
const HOP: SocketAddress = { ip: Ip.parse(IP)!, port: 15008 };
const SERVER = SpiffeId.of("cluster.local", "shop", "server");
const HONEST = SpiffeId.of("cluster.local", "shop", "honest");
const attacker = (kind: string) => SpiffeId.of("cluster.local", "attack", kind);
/**
 * V8 lets its heap grow before it collects: eighty rapid resets in a row end at 260 MB, where it stays; a second pass is
 * somewhere on the way there.
 */
const RSS_GROWTH_BYTES_MAX = 80e6;
const RSS_BYTES_MAX = 350e6;
/** The burst of `rapid_reset` and `made_you_reset` is 500; a second earns 250, and some are on their way. */
const requestsMax = (attacks: number, ms: number) => attacks * 700 + 0.25 * ms;
/**
 * For one exchange of the honest peer; both its process and the server's share this machine with everything else. Who is
 * kept out waits for as long as the attacks go on, or is refused.
 */
const HONEST_MS_MAX = 30_000;
const ATTACK_MS_MAX = 60_000;

const MESH = `
workloads:
- { uid: c//Pod/shop/server, name: server, namespace: shop, serviceAccount: server, trustDomain: cluster.local,
    workloadIps: ["${IP}"], protocol: HBONE }
`;

async function parts() {
  const authority = await createDevAuthority(realClock);
  return {
    bundleOf: (identity: SpiffeId) => authority.sign(identity, 3_600_000),
    dialer: createKernel({ clock: realClock }).dialer({}),
    tls: createTls(realClock, {}),
  };
}
type Parts = Awaited<ReturnType<typeof parts>>;

async function secured({ bundleOf, dialer, tls }: Parts, who: SpiffeId): Promise<ByteStream> {
  const wire = await dialer.dial(HOP, { timeoutMs: 30_000 });
  return (await tls.client(wire, await bundleOf(who), [SERVER])).stream;
}

/** Attacks until it is cut off; gives the rounds that it took and the code of the GOAWAY. */
async function attack(all: Parts, plan: Attack): Promise<{ rounds: number; code?: number }> {
  const stream = await secured(all, attacker(plan.kind));
  const peer = await RawPeer.client(stream, { polite: true }, plan.entries);
  await peer.of(TYPE.settings, 0);
  if (plan.before !== undefined) {
    await peer.send(...plan.before());
    // The tunnel stands before the flood, where there is one: an attack on a request alone would be another.
    if (plan.kind !== "continuation") await peer.of(TYPE.headers, 1);
  }
  const endMs = performance.now() + ATTACK_MS_MAX;
  let rounds = 0;
  while (!peer.isOver && rounds < plan.roundsMax && performance.now() < endMs) {
    const chunks: Uint8Array[] = [];
    for (let count = 0; count < plan.batch; count++) chunks.push(...plan.round(rounds++));
    await peer.send(join(chunks));
    // Whoever attacks reads, too: an answer that nobody takes is another attack.
    await realClock.sleep(0);
  }
  await Promise.race([peer.ended, realClock.sleep(30_000)]);
  ok(peer.isOver, `${plan.kind}: still there after ${rounds} rounds`);
  const code = await peer.goawayCode();
  stream.abort();
  return code === undefined ? { rounds } : { rounds, code };
}

/** Exchanges a few bytes through a tunnel of its own and through a new one, again and again. */
class Honest {
  rounds = 0;
  worstMs = 0;
  failure: unknown;
  #isDone = false;
  readonly #running: Promise<void>;
  readonly #pool: TunnelPool;
  readonly #key: TunnelKey = {
    source: HONEST,
    expected: [SERVER],
    hop: HOP,
    client: Ip.parse("127.0.0.1")!,
  };

  constructor(all: Parts) {
    this.#pool = new TunnelPool({
      ...all,
      clock: realClock,
      settings: SETTINGS,
      streamsPerConnectionMax: 100,
      idleReleaseMs: 60_000,
    });
    this.#running = this.#run().catch((error) => void (this.failure = error));
  }

  async #run(): Promise<void> {
    const open = async () =>
      (await this.#pool.open(this.#key, {
        authority: `${IP}:${PORTS.echo}`,
        headers: new Map<string, string[]>(),
      })).stream;
    const lasting = await open();
    while (!this.#isDone) {
      const startMs = performance.now();
      const fresh = await open();
      for (const stream of [lasting, fresh]) {
        const text = new TextEncoder().encode(`round ${this.rounds}`);
        await stream.write(text);
        let back = 0;
        while (back < text.length) back += (await stream.read())!.length;
      }
      await fresh.closeWrite();
      while (await fresh.read() !== null);
      this.worstMs = Math.max(this.worstMs, performance.now() - startMs);
      this.rounds++;
      await realClock.sleep(2);
    }
    await lasting.closeWrite();
    while (await lasting.read() !== null);
  }

  /** Throws what it met. */
  async stop(): Promise<void> {
    this.#isDone = true;
    await this.#running;
    this.#pool.destroy();
    if (this.failure !== undefined) throw this.failure;
  }
}

function application(port: number): AsyncDisposable {
  const listener = Deno.listen({ hostname: IP, port });
  const open = new Set<Deno.Conn>();
  const serve = async (connection: Deno.Conn) => {
    const buffer = new Uint8Array(65_536);
    try {
      if (port === PORTS.endless) { while (await connection.write(buffer) > 0); }
      for (let read = await connection.read(buffer); read !== null;) {
        for (let at = 0; port === PORTS.echo && at < read;) {
          at += await connection.write(buffer.subarray(at, read));
        }
        read = await connection.read(buffer);
      }
      await connection.closeWrite();
    } catch {
      // Attackers leave at any time.
    }
    if (open.delete(connection)) connection.close();
  };
  let isClosed = false;
  const accepting = (async () => {
    while (!isClosed) {
      try {
        const connection = await listener.accept();
        open.add(connection);
        void serve(connection);
      } catch {
        // Who has left before it is accepted fails the accept, and only that.
      }
    }
  })();
  return {
    [Symbol.asyncDispose]: async () => {
      isClosed = true;
      listener.close();
      for (const connection of open) connection.close();
      open.clear();
      await accepting;
    },
  };
}

/** Every attack once, the `pass`th time. */
async function attackInTurn(
  all: Parts,
  server: ProxyProcess,
  honest: Honest,
  pass: number,
  lines: string[],
): Promise<void> {
  const firstMs = performance.now();
  for (const plan of ATTACKS) {
    const { kind, orKind } = plan;
    const startMs = performance.now();
    const { rounds, code } = await attack(all, plan);
    lines.push(`${kind}: ${rounds} rounds, ${Math.round(performance.now() - startMs)} ms`);
    strictEqual(code, plan.code, lines.join("; "));
    strictEqual(honest.failure, undefined, `${kind}: ${honest.failure}`);
    const violations = async () => {
      const dump = await (await fetch(`http://${IP}:15000/config_dump`)).json();
      const row = dump.floodViolations.find((row: { identity: string }) =>
        row.identity === attacker(kind)
      );
      return (row?.violations[kind] ?? 0) + (row?.violations[orKind ?? ""] ?? 0);
    };
    await until(`violation ${pass} of ${kind}`, async () => await violations() === pass);
    const kinds = orKind === undefined ? kind : `(${kind}|${orKind})`;
    const line = new RegExp(
      `cut off: .*kind="${kinds}" src.addr=.* src.identity="${attacker(kind)}"`,
    );
    await until(`the line of ${kind}`, () => line.test(server.output), () => server.output);
    // Whatever the attacker had sent before it was cut off, hardly more than a burst of it was looked at.
    const opened = await server.sum("istio_tcp_connections_opened_total", `sa/${kind}"`);
    const attackMs = performance.now() - firstMs;
    ok(opened <= requestsMax(pass, attackMs), `${kind}: ${opened} requests in ${attackMs} ms`);
  }
}

Deno.test({
  name: "each kind of flood cuts its peer off, is counted and named, and harms nobody beside it",
  sanitizeOps: false,
  sanitizeResources: false,
}, async () => {
  const meshPath = await Deno.makeTempFile({ suffix: ".yaml" });
  await Deno.writeTextFile(meshPath, MESH);
  await using _echo = application(PORTS.echo);
  await using _endless = application(PORTS.endless);
  await using _sink = application(PORTS.sink);
  await using server = await ProxyProcess.start({ ip: IP, workload: "server", meshPath });
  const all = await parts();
  const honest = new Honest(all);
  await until(
    "the honest peer is served",
    () => honest.rounds > 20 || honest.failure !== undefined,
  );
  const lines: string[] = [];
  // The first pass is for what V8 keeps once it has been used: what grows with attacks grows in the second, too.
  await attackInTurn(all, server, honest, 1, lines);
  const rssBytes = await server.rssBytes();
  await attackInTurn(all, server, honest, 2, lines);
  const grownBytes = await server.rssBytes() - rssBytes;
  ok(grownBytes < RSS_GROWTH_BYTES_MAX, `grew by ${grownBytes} bytes: ${lines.join("; ")}`);
  ok(rssBytes + grownBytes < RSS_BYTES_MAX, `${rssBytes + grownBytes} bytes`);
  const roundsBefore = honest.rounds;
  await until("the honest peer goes on", () => honest.rounds > roundsBefore + 20);
  await honest.stop();
  ok(honest.worstMs < HONEST_MS_MAX, `${honest.worstMs} ms for one exchange: ${lines.join("; ")}`);
  for (const { kind } of ATTACKS.filter(({ orKind }) => orKind === undefined)) {
    ok(await server.sum("hbone_flood_violations_total", `kind="${kind}"`) >= 2, kind);
  }
  await Deno.remove(meshPath);
});

Deno.test({
  name: "a peer that stops in mid-handshake is reset and counted, before TLS and after",
  sanitizeOps: false,
  sanitizeResources: false,
}, async () => {
  const meshPath = await Deno.makeTempFile({ suffix: ".yaml" });
  await Deno.writeTextFile(meshPath, MESH);
  await using server = await ProxyProcess.start({ ip: IP, workload: "server", meshPath });
  const all = await parts();
  const count = () => server.sum("hbone_flood_violations_total", 'kind="handshake"');
  // A certificate first, so that what follows waits for nothing else.
  const warm = await secured(all, HONEST);
  warm.abort();
  const startMs = performance.now();
  const silent = await all.dialer.dial(HOP, { timeoutMs: 30_000 });
  const stream = await secured(all, attacker("handshake"));
  const half = new RawPeer(stream);
  await half.send(PREFACE.subarray(0, 10));
  const cut = Promise.all([half.ended, silent.read().then(() => "end", () => "reset")]);
  await cut;
  const tookMs = performance.now() - startMs;
  ok(tookMs > 5_000 && tookMs < 90_000, `cut after ${tookMs} ms`);
  await until("the count", async () => await count() === 2, () => server.output);
  for (
    const line of [
      /kind="handshake" src\.addr=\S+ src\.identity="\S+attack\/sa\/handshake"/,
      /kind="handshake" src\.addr=\S+ limit=/,
    ]
  ) await until("its line", () => line.test(server.output), () => server.output);
  for (const each of [stream, silent]) each.abort();
  await Deno.remove(meshPath);
});

Deno.test({
  name:
    "300 silent peers of one address: the oldest make room, and an honest one is served at once",
  sanitizeOps: false,
  sanitizeResources: false,
}, async () => {
  const meshPath = await Deno.makeTempFile({ suffix: ".yaml" });
  await Deno.writeTextFile(meshPath, MESH);
  await using _echo = application(PORTS.echo);
  // One data thread: what is capped is capped in each.
  const env = { ZTUNNEL_WORKER_THREADS: "1" };
  await using server = await ProxyProcess.start({ ip: IP, workload: "server", meshPath, env });
  const all = await parts();
  (await secured(all, HONEST)).abort();
  const silent: Deno.Conn[] = [];
  for (let count = 0; count < 300; count++) {
    silent.push(await Deno.connect({ hostname: IP, port: 15008 }));
  }
  const reset = () => server.sum("hbone_flood_violations_total", 'kind="concurrent_handshakes"');
  await until("44 are reset", async () => await reset() === 44, () => server.output);
  // A socket that was reset is closed a little later.
  const shaking = () => server.sum("ztunnel_sockets", 'state="handshake"');
  await until("256 are left", async () => await shaking() === 256, () => server.output);
  const ends = await Promise.all(
    silent.slice(0, 44).map((each) =>
      each.read(new Uint8Array(1)).then(() => "end", () => "reset")
    ),
  );
  ok(ends.every((end) => end === "reset"), "the oldest are those that are reset");
  const honest = new Honest(all);
  const startMs = performance.now();
  await until("the honest peer is served", () => honest.rounds > 0 || honest.failure !== undefined);
  ok(performance.now() - startMs < HONEST_MS_MAX);
  await honest.stop();
  for (const each of silent) each.close();
  await Deno.remove(meshPath);
});
