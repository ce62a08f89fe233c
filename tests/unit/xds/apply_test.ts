/** Responses that break in the middle: what came is kept where it is whole, and nothing is claimed that is not there. */
import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { createMesh } from "#mesh";
import { type Clock, realClock } from "#system";
import { FakeClock } from "../../support/fake_clock.ts";
import { apply } from "../../../lib/xds/apply.ts";
import { KNOWN_TYPES, type Push, Session } from "../../../lib/xds/session.ts";
import { type Pieces, ResponseReader } from "../../../lib/xds/wire_response.ts";
import { policy, responseBytes, type ResponseInit, workload } from "./messages.ts";
import { NOW, opened, piecesOf } from "./session_support.ts";

/** The message, whose stream breaks when `share` of it has come. */
function broken(bytes: Uint8Array, share: number): Pieces {
  const pieces = piecesOf(bytes, () => 100);
  let left = Math.floor(bytes.length * share);
  return {
    bytesCount: bytes.length,
    async read() {
      if (left <= 0) throw new Error("the stream broke");
      const piece = await pieces.read();
      left -= piece?.length ?? 0;
      return piece;
    },
  };
}

function talk() {
  const session = new Session({ node: { id: "z" }, onDemand: false });
  const mesh = createMesh({});
  const commits: boolean[] = [];
  const stop = new AbortController();
  const hear = async (pieces: Pieces): Promise<Push> => {
    const reader = new ResponseReader(pieces, KNOWN_TYPES);
    await reader.begin();
    const push = session.receive(reader);
    await apply(reader, push, {
      writer: mesh.writer,
      clock: realClock,
      turn: () => realClock.sleep(0),
      stop: stop.signal,
      onCommit: ({ policiesChanged }) => commits.push(policiesChanged),
    });
    return push;
  };
  const say = async (type: string, init: ResponseInit) =>
    (await hear(piecesOf(responseBytes(type, init)))).finish(NOW);
  return { session, mesh, commits, stop, hear, say };
}

Deno.test("3.7 addresses that came before the stream broke are kept, and listed as held", async () => {
  const { session, mesh, hear, say } = talk();
  session.open();
  await say("address", { resources: [workload("old")] });
  const resources = Array.from({ length: 200 }, (_, i) => workload(`w${i}`));
  const bytes = responseBytes("address", { resources, removed: ["old"], nonce: "n" });
  await rejects(hear(broken(bytes, 0.5)), /the stream broke/);
  session.closed();
  const held = mesh.view.workloads().map(({ uid }) => uid);
  strictEqual(held.length > 50 && held.length < 150, true, `${held.length}`);
  strictEqual(held.includes("old"), true, "nothing was removed");
  deepStrictEqual(Object.keys(opened(session)[0]!.initialResourceVersions).sort(), held);
  strictEqual(session.status()[0]!.messagesReceived, 1, "nothing was acknowledged");
});

Deno.test("3.4 policies of a response that broke are not seen, not listed, and not in the next commit", async () => {
  const { session, mesh, hear, say, commits } = talk();
  session.open();
  await say("authorization", { resources: [policy("shop/a"), policy("shop/b")] });
  const resources = Array.from({ length: 200 }, (_, i) => policy(`shop/p${i}`));
  const bytes = responseBytes("authorization", { resources, removed: ["shop/a"] });
  const { ids } = mesh.use;
  await rejects(hear(broken(bytes, 0.7)), /the stream broke/);
  strictEqual(mesh.use.ids, ids, "something was left behind");
  session.closed();
  const listed = opened(session).map((each) => Object.keys(each.initialResourceVersions));
  deepStrictEqual(listed, [[], ["shop/a", "shop/b"]]);
  await say("address", { resources: [workload("w")] });
  deepStrictEqual(mesh.view.policies().map(({ key }) => key), ["shop/a", "shop/b"]);
  deepStrictEqual(commits, [true, false]);
  // And whole the next time.
  await say("authorization", { resources });
  strictEqual(mesh.view.policies().length, 202);
});

Deno.test("3.7 what the mesh could not hold in the end is neither listed as held nor in the next commit", async () => {
  const { session, mesh, stop, say } = talk();
  session.open();
  await say("address", { resources: [workload("old")] });
  const resources = Array.from({ length: 10 }, (_, i) => workload(`w${i}`));
  const reader = new ResponseReader(
    piecesOf(responseBytes("address", { resources })),
    KNOWN_TYPES,
  );
  await reader.begin();
  const commit = () => {
    throw new RangeError("full");
  };
  const applied = apply(reader, session.receive(reader), {
    writer: { ...mesh.writer, commit },
    clock: realClock,
    turn: () => realClock.sleep(0),
    stop: stop.signal,
    onCommit: () => {},
  });
  await rejects(applied, /full/);
  session.closed();
  deepStrictEqual(opened(session)[0]!.initialResourceVersions, { old: "v1" });
  await say("address", { resources: [workload("new")] });
  deepStrictEqual(mesh.view.workloads().map(({ uid }) => uid), ["new", "old"]);
});

Deno.test("3.7 a snapshot that broke removes nothing, and the next one still does", async () => {
  const { session, mesh, hear, say } = talk();
  session.open();
  await say("address", { resources: [workload("w1"), workload("w2")] });
  session.closed();
  session.open();
  session.closed({ code: 8, details: "grpc: received message larger than max (5 vs. 4)" });
  session.open();
  const bytes = responseBytes("address", { resources: [workload("w2"), workload("w3")] });
  await rejects(hear(broken(bytes, 0.6)), /the stream broke/);
  strictEqual(mesh.view.workload("w1")?.uid, "w1");
  session.closed();
  session.open();
  await say("address", { resources: [workload("w2"), workload("w3")] });
  deepStrictEqual(mesh.view.workloads().map(({ uid }) => uid), ["w2", "w3"]);
});

Deno.test("an aborted watch commits nothing more", async () => {
  const { session, mesh, stop, commits } = talk();
  session.open();
  const resources = Array.from({ length: 50 }, (_, i) => workload(`w${i}`));
  const pieces = piecesOf(responseBytes("address", { resources }), () => 100);
  const stopping: Pieces = {
    bytesCount: pieces.bytesCount,
    read: () => {
      stop.abort();
      return pieces.read();
    },
  };
  const reader = new ResponseReader(pieces, KNOWN_TYPES);
  await reader.begin();
  const done = await apply(new ResponseReader(stopping, KNOWN_TYPES), session.receive(reader), {
    writer: mesh.writer,
    clock: realClock,
    turn: () => realClock.sleep(0),
    stop: stop.signal,
    onCommit: () => commits.push(true),
  });
  deepStrictEqual([done, commits, mesh.view.workloads().length], [false, [], 0]);
});

Deno.test("3.6 what goes, goes in slices, between which others have their turn", async () => {
  const { session, mesh, say, stop } = talk();
  session.open();
  const names = Array.from({ length: 2_000 }, (_, i) => `w${i}`);
  await say("address", { resources: names.map((name) => workload(name)) });
  // Time goes by as it is looked at, and whoever has a turn sees how far it is.
  let nowMs = 0;
  const seen: number[] = [];
  const clock: Clock = { ...realClock, monotonicMs: () => nowMs++ };
  const reader = new ResponseReader(
    piecesOf(responseBytes("address", { removed: names })),
    KNOWN_TYPES,
  );
  await reader.begin();
  const push = session.receive(reader);
  const told: string[][] = [];
  await apply(reader, push, {
    writer: mesh.writer,
    clock,
    turn: () => Promise.resolve(void seen.push(mesh.view.workloads().length)),
    stop: stop.signal,
    onCommit: ({ touched }) => told.push([...touched]),
  });
  push.finish(NOW);
  ok(seen.length > 10, `${seen.length} turns`);
  deepStrictEqual(seen, seen.toSorted((a, b) => b - a));
  ok(seen[0]! > 1_500 && seen.at(-1)! < 500, `${seen}`);
  deepStrictEqual(told.flat().sort(), names.toSorted());
  deepStrictEqual([mesh.view.workloads(), session.status()[0]!.resources], [[], 0]);
});

/** A message that comes as far as `resume` lets it; `waiting` resolves when everything that came was taken. */
function stalling(bytes: Uint8Array, firstBytes: number) {
  const [stalled, resumed] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let at = 0;
  const pieces: Pieces = {
    bytesCount: bytes.length,
    async read() {
      if (at === firstBytes) {
        stalled.resolve();
        await resumed.promise;
      }
      const piece = bytes.slice(at, at < firstBytes ? firstBytes : bytes.length);
      at += piece.length;
      return piece.length === 0 ? undefined : piece;
    },
  };
  return { pieces, stalled: stalled.promise, resume: () => resumed.resolve() };
}

for (
  const [type, resources, toldInTheStall] of [
    ["address", Array.from({ length: 200 }, (_, i) => workload(`w${i}`)), 1],
    ["authorization", Array.from({ length: 200 }, (_, i) => policy(`shop/p${i}`)), 0],
  ] as const
) {
  Deno.test(`3.4 where the server stalls inside a response, ${type} that came is told ${toldInTheStall} time`, async () => {
    const { session, mesh } = talk();
    session.open();
    const bytes = responseBytes(type, { resources });
    const { pieces, stalled, resume } = stalling(bytes, bytes.length >> 1);
    const clock = new FakeClock();
    const told: number[] = [];
    const reader = new ResponseReader(pieces, KNOWN_TYPES);
    await reader.begin();
    const applied = apply(reader, session.receive(reader), {
      writer: mesh.writer,
      clock,
      turn: () => Promise.resolve(),
      stop: new AbortController().signal,
      onCommit: (_, resourcesCount) => told.push(resourcesCount),
    });
    await stalled;
    await clock.advance(3);
    strictEqual(told.length, 0);
    await clock.advance(1);
    strictEqual(told.length, toldInTheStall);
    const seen = mesh.view.workloads().length + mesh.view.policies().length;
    strictEqual(seen, told[0] ?? 0, "what was told can be seen");
    resume();
    strictEqual(await applied, true);
    strictEqual(told.reduce((sum, count) => sum + count, 0), 200);
    strictEqual(clock.timersCount, 0);
  });
}
