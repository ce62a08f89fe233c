/** More than one connection for a key, and more than one tunnel for a connection's user. */
import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { type IncomingTunnel, serveTunnels } from "#hbone";
import { type ByteStream, DialError } from "#stream";
import { realClock } from "#system";
import { FakeClock } from "../../support/fake_clock.ts";
import {
  CART,
  echo,
  failureOf,
  hangUp,
  Hops,
  keyOf,
  REQUEST,
  say,
  SETTINGS,
  until,
  WEB,
} from "./support.ts";
import { standstill } from "../../support/waiting.ts";

/** Fills the window of a connection whose server reads nothing. */
async function fill(stream: ByteStream): Promise<void> {
  let taken = 0;
  (async () => {
    for (;;) {
      await stream.write(new Uint8Array(16_384));
      taken++;
    }
  })().catch(() => {});
  await standstill(() => taken, { lookMs: 10, looks: 5 });
}

const SMALL_CONNECTION = { connectionWindowBytes: 65_535, streamWindowBytes: 1 << 20 };

Deno.test("TunnelPool gives a busy connection a sibling before anybody queues, one for all who come", async () => {
  await using hops = new Hops({ serverSettings: SMALL_CONNECTION });
  const accept = hops.onTunnel;
  hops.onTunnel = (request) => void request.accept(new Map());
  await fill((await hops.pool.open(keyOf(), REQUEST)).stream);
  hops.onTunnel = accept;
  const tunnels = await Promise.all(
    Array.from({ length: 5 }, () => hops.pool.open(keyOf(), REQUEST)),
  );
  assertEquals(hops.dials.length, 2);
  for (const { stream } of tunnels) assertEquals(await say(stream, "hello"), "hello");
});

Deno.test("TunnelPool makes so many siblings and no more", async () => {
  await using hops = new Hops({ serverSettings: SMALL_CONNECTION });
  hops.onTunnel = (request) => void request.accept(new Map());
  for (let round = 0; round < 8; round++) {
    await fill((await hops.pool.open(keyOf(), REQUEST)).stream);
  }
  assertEquals(hops.dials.length, 4);
});

Deno.test("TunnelPool uses the busy connection where no sibling can be made, and waits before the next attempt", async () => {
  const clock = new FakeClock();
  await using hops = new Hops({ serverSettings: SMALL_CONNECTION }, clock);
  hops.onTunnel = (request) => void request.accept(new Map());
  await fill((await hops.pool.open(keyOf(), REQUEST)).stream);
  hops.beforeDial = () => Promise.reject(new DialError("ECONNREFUSED", 111, "refused"));
  await Promise.all(Array.from({ length: 3 }, () => hops.pool.open(keyOf(), REQUEST)));
  assertEquals(hops.dials.length, 2);
  await hops.pool.open(keyOf(), REQUEST);
  assertEquals(hops.dials.length, 2);
  await clock.advance(11_000);
  await hops.pool.open(keyOf(), REQUEST);
  assertEquals(hops.dials.length, 3);
});

/** What is behind a gateway: its own HTTP/2 in the outer tunnel. */
function gateway(hops: Hops, onInner: (request: IncomingTunnel) => void): IncomingTunnel[] {
  const asked: IncomingTunnel[] = [];
  hops.onTunnel = (request) => {
    asked.push(request);
    const stream = request.accept(new Map());
    const peer = {
      identities: [WEB],
      identity: WEB,
      path: [],
      anchor: new Uint8Array(),
      isRevoked: false,
    };
    const server = serveTunnels({ stream, peer }, {
      settings: { ...SETTINGS, concurrentStreamsMax: 200 },
      clock: realClock,
    }, (inner) => {
      asked.push(inner);
      onInner(inner);
    });
    hops.servers.push(server);
  };
  return asked;
}

const INNER = {
  expected: [CART],
  request: {
    authority: "cart.shop.svc:80",
    headers: new Map([["x-forwarded-network", ["east"]]]),
  },
};

Deno.test("TunnelPool opens a tunnel inside a tunnel, on an inner connection of its own that ends with it", async () => {
  await using hops = new Hops();
  const asked = gateway(hops, (inner) => {
    const stream = inner.accept(new Map([["baggage", ["k8s.namespace.name=far"]]]));
    echo(stream).catch(() => {});
  });
  const [one, two] = await Promise.all([
    hops.pool.openThrough(keyOf(), REQUEST, INNER),
    hops.pool.openThrough(keyOf(), REQUEST, INNER),
  ]);
  assertEquals(hops.dials.length, 1, "the outer connection is shared");
  assertEquals(hops.servers.length, 3, "the inner ones are not");
  assertEquals(one.headers.get("baggage"), ["k8s.namespace.name=far"]);
  assertEquals(one.peerIdentity, CART);
  const inner = asked.filter(({ authority }) => authority === INNER.request.authority);
  assertEquals(inner.map(({ headers }) => headers.get("x-forwarded-network")), [["east"], [
    "east",
  ]]);
  assertEquals(await say(one.stream, "hello"), "hello");
  await hangUp(one.stream);
  assertEquals(await say(two.stream, "still here"), "still here");
  await hangUp(two.stream);
  await Promise.all(hops.servers.slice(1).map(({ closed }) => closed));
  assertEquals(hops.pool.connectionsCount, 1, "the outer connection stays");
});

Deno.test("TunnelPool ends the outer tunnel when the inner one is refused, reset or given up", async () => {
  await using hops = new Hops();
  let outer = 0;
  gateway(hops, (inner) => inner.refuse(503));
  const failure = await failureOf(hops.pool.openThrough(keyOf(), REQUEST, INNER));
  assertEquals(failure, { kind: "http_status", status: 503 });
  gateway(hops, (inner) => void inner.accept(new Map()));
  const { stream } = await hops.pool.openThrough(keyOf(), REQUEST, INNER);
  stream.abort();
  await Promise.all(hops.servers.slice(1).map(({ closed }) => closed));
  hops.onTunnel = (request) => {
    outer++;
    request.accept(new Map()).closed.then(() => void outer--);
  };
  const stop = new AbortController();
  const opening = failureOf(hops.pool.openThrough(keyOf(), REQUEST, INNER, stop.signal));
  await until(() => outer === 1, "the gateway has the outer request");
  stop.abort({ kind: "policy_changed" });
  assertEquals(await opening, { kind: "policy_changed" });
  await until(() => outer === 0, "the outer tunnel is over");
});
