/** A server that floods its client: the pool cuts it off, and says who it was. */
import { deepStrictEqual, match, ok } from "node:assert/strict";
import { TunnelPool } from "#hbone";
import { type Dialer, pipe } from "#stream";
import { realClock } from "#system";
import type { CertBundle, Tls } from "#tls";
import { FLAG, frame, RawPeer, settings, TYPE } from "../../support/h2_raw.ts";
import { CART, HOP, keyOf, REQUEST, SETTINGS, until } from "./support.ts";

Deno.test("a server that PINGs without end is cut off, and named to whoever counts", async () => {
  const peers: RawPeer[] = [];
  const dialer: Dialer = {
    dial: () => {
      const [near, far] = pipe();
      const peer = new RawPeer(far, { polite: true });
      peers.push(peer);
      void peer.send(settings());
      return Promise.resolve(Object.assign(near, { local: HOP }));
    },
  };
  const peer = {
    identities: [CART],
    identity: CART,
    path: [],
    anchor: new Uint8Array(),
    isRevoked: false,
  };
  const tls: Tls = {
    client: (stream) => Promise.resolve({ stream, peer }),
    server: () => Promise.reject(new Error("no server here")),
  };
  const told: unknown[] = [];
  const pool = new TunnelPool({
    dialer,
    tls,
    clock: realClock,
    bundleOf: () => Promise.resolve({} as CertBundle),
    settings: SETTINGS,
    streamsPerConnectionMax: 100,
    idleReleaseMs: 300_000,
    onFlood: ({ kind, limit }, hop, identity) => told.push([kind, limit, hop, identity]),
  });
  const opening = pool.open(keyOf(), REQUEST).then(() => "open", (error) => String(error));
  await until(() => peers.length === 1, "a dial");
  const ping = frame(TYPE.ping, 0, 0, new Uint8Array(8));
  for (let count = 0; !peers[0]!.isOver && count < 3_000; count++) await peers[0]!.send(ping);
  await peers[0]!.ended;
  deepStrictEqual(told, [["ping", "200 at once, 100 per second", HOP, CART]]);
  match(await opening, /too much of ping \(ENHANCE_YOUR_CALM\)/);
  const goaway = peers[0]!.frames.findLast(({ type }) => type === TYPE.goaway);
  ok(goaway !== undefined && goaway.flags !== FLAG.ack && goaway.payload[7] === 11);
  pool.destroy();
});
