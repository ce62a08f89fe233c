import { deepStrictEqual, match, ok, rejects, strictEqual } from "node:assert/strict";
import { realClock } from "#system";
import { createTls, Revocations } from "#tls";
import { SpiffeId } from "#values";
import { FakeClock } from "../../support/fake_clock.ts";
import { realTurn } from "../../support/network.ts";
import { bundleOf, mintCrl, mintIntermediate, mintLeaf, mintRoot } from "../../support/pki.ts";
import { tcpPair } from "../../support/tcp_pair.ts";

const root = mintRoot({ serial: 100 });
const intermediate = mintIntermediate(root, { serial: 200 });
const packed = (...pems: string[]) =>
  Revocations.pack(new TextEncoder().encode(pems.join("\n")), { clock: realClock, turn: realTurn });
const WEB = SpiffeId.of("cluster.local", "shop", "web");
const CART = SpiffeId.of("cluster.local", "shop", "cart");
const bundle = (identity: SpiffeId, serial: number) =>
  bundleOf(identity, [mintLeaf(intermediate, { serial, uris: [identity] }), intermediate], [root]);

function seat(clock = realClock) {
  const told: string[] = [];
  const revocations = new Revocations({ clock, onRevoked: (peer) => told.push(peer) });
  return { revocations, told };
}

Deno.test("9.8: a new list ends the live connections that it revokes, each once, and no others", async () => {
  const { revocations, told } = seat(new FakeClock());
  const ended: string[] = [];
  const path = (serial: number) =>
    [mintLeaf(intermediate, { serial }), intermediate, root].map(({ der }) => der);
  const [first, second] = [path(301), path(302)];
  revocations.follow(first, "client", () => ended.push("a"));
  revocations.follow(first, "server", () => ended.push("b"));
  revocations.follow(second, "client", () => ended.push("c"));
  revocations.follow(first, "client", () => ended.push("gone"))[Symbol.dispose]();
  strictEqual(await revocations.load(await packed(mintCrl(intermediate, [300]))), 0);
  deepStrictEqual(ended, []);
  strictEqual(await revocations.load(await packed(mintCrl(intermediate, [301]))), 2);
  deepStrictEqual([ended, told], [["a", "b"], ["client", "server"]]);
  strictEqual(await revocations.load(await packed(mintCrl(intermediate, [301, 302]))), 1);
  deepStrictEqual(ended, ["a", "b", "c"]);
});

Deno.test("9.8: lists that come after one whose connections could not be ended count all the same", async () => {
  const { revocations } = seat(new FakeClock());
  const ended: string[] = [];
  const path = (serial: number) =>
    [mintLeaf(intermediate, { serial }), intermediate, root].map(({ der }) => der);
  revocations.follow(path(301), "client", () => {
    throw new Error("a bug");
  });
  revocations.follow(path(302), "client", () => ended.push("b"));
  await rejects(revocations.load(await packed(mintCrl(intermediate, [301]))), /a bug/);
  strictEqual(await revocations.load(await packed(mintCrl(intermediate, [302]))), 1);
  deepStrictEqual(ended, ["b"]);
});

Deno.test("9.8: both ends refuse a revoked peer in the handshake, and say what it was to them", async () => {
  const { revocations, told } = seat();
  await revocations.load(await packed(mintCrl(intermediate, [401])));
  const strict = createTls(realClock, { revocation: revocations });
  const lenient = createTls(realClock, {});
  for (const revoked of ["client", "server"] as const) {
    const [near, far] = await tcpPair();
    const [web, cart] = revoked === "client"
      ? [bundle(WEB, 401), bundle(CART, 402)]
      : [bundle(WEB, 402), bundle(CART, 401)];
    const client = (revoked === "server" ? strict : lenient).client(near, web, [CART]);
    const server = (revoked === "client" ? strict : lenient).server(far, cart);
    const [refused, other] = revoked === "client" ? [server, client] : [client, server];
    other.then(({ stream }) => stream.abort(), () => {});
    await rejects(refused, /is revoked by its issuer/);
    await other.catch(() => {});
  }
  deepStrictEqual(told, ["client", "server"]);
});

Deno.test("9.8: a live connection is reset when its peer is revoked, and its peer says so", async () => {
  const { revocations, told } = seat();
  const tls = createTls(realClock, { revocation: revocations });
  const [near, far] = await tcpPair();
  const [client, server] = await Promise.all([
    tls.client(near, bundle(WEB, 501), [CART]),
    createTls(realClock, {}).server(far, bundle(CART, 502)),
  ]);
  await client.stream.write(Uint8Array.of(1));
  strictEqual((await server.stream.read())?.length, 1);
  strictEqual(client.peer.isRevoked, false);
  strictEqual(await revocations.load(await packed(mintCrl(intermediate, [502]))), 1);
  ok(client.peer.isRevoked);
  deepStrictEqual(told, ["server"]);
  await rejects(server.stream.read(), (error: Error) => {
    match(error.message, /reset|closed|close_notify|abort/i);
    return true;
  });
  server.stream.abort();
  await Promise.all([client.stream.closed, server.stream.closed]);
  strictEqual(await revocations.load(await packed(mintCrl(intermediate, [502, 503]))), 0);
});
