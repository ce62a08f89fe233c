import { deepStrictEqual, match, strictEqual } from "node:assert/strict";
import { seededRng } from "#system";
import { TYPE_URLS } from "#xds";
import { DEMAND_TIMEOUT_MS, DEMANDS_MAX } from "../../../lib/xds/demands.ts";
import { Retry, type StreamEnd } from "../../../lib/xds/retry.ts";
import { garbage, policy, workload } from "./messages.ts";
import { opened, talk } from "./session_support.ts";

const TOO_LARGE = {
  code: 8,
  details: "grpc: received message larger than max (5000000 vs. 4194304)",
};

Deno.test("3.7: a new stream lists everything known with its version, policies without one too, and the node again", async () => {
  const { session, hear } = talk();
  session.open();
  await hear("address", {
    resources: [workload("w1"), workload("w2", {}, { version: "v7" }), garbage("bad")],
  });
  await hear("authorization", { resources: [policy("shop/a")] });
  session.closed();
  const [first, second] = opened(session);
  deepStrictEqual(first?.initialResourceVersions, { w1: "v1", w2: "v7" });
  deepStrictEqual(second?.initialResourceVersions, { "shop/a": "" });
  strictEqual(first?.node?.id, "ztunnel~x");
  strictEqual(second?.node?.id, "ztunnel~x");
});

Deno.test("3.7: a refused update leaves the version that is held, so that it is sent again", async () => {
  const { session, hear } = talk();
  session.open();
  await hear("address", { resources: [workload("w1")] });
  await hear("address", { resources: [workload("w1", { status: 9 as never }, { version: "v2" })] });
  deepStrictEqual(opened(session)[0]?.initialResourceVersions, { w1: "v1" });
});

Deno.test("3.7: a list that istiod cannot read is not sent again, and then the first answer is all there is", async () => {
  const { session, hear, view } = talk();
  session.open();
  await hear("address", { resources: [workload("w1"), workload("w2")] });
  await hear("authorization", { resources: [policy("shop/a"), policy("shop/b")] });
  session.closed();
  session.open();
  strictEqual(session.closed(TOO_LARGE), true);
  for (const request of opened(session)) deepStrictEqual(request.initialResourceVersions, {});
  await hear("address", { resources: [workload("w2")] });
  await hear("authorization", { resources: [policy("shop/b")] });
  deepStrictEqual(view.workloads().map(({ uid }) => uid), ["w2"]);
  deepStrictEqual(view.policies().map(({ key }) => key), ["shop/b"]);
  await hear("address", { resources: [workload("w3")] });
  deepStrictEqual(view.workloads().map(({ uid }) => uid), ["w2", "w3"]);
});

Deno.test("3.7: only a refusal of the list itself drops it", async () => {
  const ends = [
    { code: 8, details: "request rate limit exceeded" },
    { code: 14, details: "received message larger than max" },
    // Ours, of what istiod sends.
    { code: 8, details: "the server's message has 209715201 bytes, at most 209715200" },
    undefined,
  ];
  for (const end of ends) {
    const { session, hear } = talk();
    session.open();
    await hear("address", { resources: [workload("w1")] });
    session.closed();
    session.open();
    strictEqual(session.closed(end), false);
    deepStrictEqual(opened(session)[0]?.initialResourceVersions, { w1: "v1" });
  }
  const { session, hear } = talk();
  session.open();
  await hear("address", { resources: [workload("w1")] });
  session.closed(TOO_LARGE);
  deepStrictEqual(opened(session)[0]?.initialResourceVersions, { w1: "v1" });
});

Deno.test("3.7: of a list of everything in which a name cannot be read nothing is known to be gone", async () => {
  const { session, hear } = talk();
  session.open();
  await hear("address", { resources: [workload("w1"), workload("w2")] });
  session.closed();
  session.open();
  session.closed(TOO_LARGE);
  const readable = { name: "w1", version: "v1", aliases: [], payload: undefined, malformed: "x" };
  const response = { typeUrl: TYPE_URLS.address, nonce: "n", removed: [] };
  for (const [name, goes] of [["", []], ["w1", ["w2"]]] as const) {
    session.open();
    const push = session.receive(response);
    push.take({ ...readable, name });
    deepStrictEqual([...push.removals()], goes);
    session.closed();
  }
});

Deno.test("3.7: on demand, a list that istiod cannot read becomes questions by name", async () => {
  const { session, hear, view } = talk(true);
  session.open();
  const resources = Array.from({ length: 5_001 }, (_, i) => workload(`w${i}`));
  await hear("address", { resources });
  session.closed();
  session.open();
  session.closed(TOO_LARGE);
  const requests = opened(session).slice(2);
  deepStrictEqual(requests.map((each) => each.resourceNamesSubscribe.length), [5_000, 1]);
  await hear("address", { resources: [workload("w1")] });
  strictEqual(view.workloads().length, 5_001);
});

Deno.test("3.8: a demand is asked for once, however many wait, and not when nobody waits any more", async () => {
  const { session, hear } = talk(true);
  session.open();
  const asked = () => session.question()?.resourceNamesSubscribe;
  strictEqual(session.demand("net/10.0.0.1", 0), true);
  const request = session.question();
  strictEqual(request?.typeUrl, TYPE_URLS.address);
  deepStrictEqual(request.resourceNamesSubscribe, ["net/10.0.0.1"]);
  strictEqual(request.node, undefined);
  strictEqual(session.demand("net/10.0.0.1", 1), true);
  strictEqual(asked(), undefined);
  for (const name of ["net/10.0.0.2", "w3", "w4"]) session.demand(name, 2);
  await hear("address", { resources: [workload("w3")] });
  deepStrictEqual([asked(), asked(), asked()], [["net/10.0.0.2"], ["w4"], undefined]);
  session.demand("w5", 3);
  session.expire(3 + DEMAND_TIMEOUT_MS);
  strictEqual(asked(), undefined);
  session.demand("w5", 4 + DEMAND_TIMEOUT_MS);
  deepStrictEqual(asked(), ["w5"]);
});

Deno.test("3.8: a demand without a stream is asked for by the next one, with an empty version", () => {
  const { session } = talk(true);
  strictEqual(session.demand("net/10.0.0.1", 0), true);
  deepStrictEqual(opened(session)[0]?.initialResourceVersions, { "net/10.0.0.1": "" });
  strictEqual(session.question(), undefined, "it was asked for");
});

Deno.test("3.8: nothing is demanded where everything is sent anyway, nor more than has room", () => {
  strictEqual(talk().session.demand("net/10.0.0.1", 0), false);
  const { session } = talk(true);
  for (let i = 0; i < DEMANDS_MAX; i++) strictEqual(session.demand(`n/${i}`, 0), true);
  strictEqual(session.demand("n/one-more", 0), false);
  strictEqual(session.demand("n/0", 0), true);
});

Deno.test("3.8, 18.7: waiters wake by name, by alias, by removal, and by a resource that was refused", async () => {
  const { session, hear } = talk(true);
  session.open();
  for (const name of ["w1", "net/10.0.0.2", "net/10.0.0.3", "bad", "later"]) {
    session.demand(name, 0);
  }
  const resources = [workload("w1"), workload("w2", {}, { aliases: ["net/10.0.0.2"] })];
  const found = await hear("address", { resources });
  deepStrictEqual(found.answered, ["w1", "net/10.0.0.2"]);
  const gone = await hear("address", { removed: ["net/10.0.0.3"], resources: [garbage("bad")] });
  deepStrictEqual(gone.answered, ["bad", "net/10.0.0.3"]);
  strictEqual(session.demandsCount, 1);
  deepStrictEqual(session.expire(DEMAND_TIMEOUT_MS - 1), []);
  deepStrictEqual(session.expire(DEMAND_TIMEOUT_MS), ["later"]);
  strictEqual(session.demandsCount, 0);
});

Deno.test("3.8: what a response mentions waits no longer than it may, although the response does not end", () => {
  const { session } = talk(true);
  session.open();
  session.demand("w1", 0);
  const push = session.receive({ typeUrl: TYPE_URLS.address, nonce: "n", removed: [] });
  push.take({ name: "w1", version: "", aliases: ["w1"], payload: undefined, malformed: "x" });
  deepStrictEqual(session.expire(DEMAND_TIMEOUT_MS), ["w1"]);
  deepStrictEqual(push.answered(), []);
  session.demand("w1", DEMAND_TIMEOUT_MS);
  deepStrictEqual([push.answered(), push.answered()], [["w1"], []]);
});

Deno.test("3.9: ready when both types were acknowledged once, a refusal does not count, and it is never taken back", async () => {
  const { session, hear } = talk();
  session.open();
  await hear("authorization");
  strictEqual(session.isReady, false);
  await hear("address", { resources: [garbage("bad")] });
  strictEqual(session.isReady, false);
  await hear("address", { resources: [workload("w1")] });
  strictEqual(session.isReady, true);
  session.closed();
  await hear("address", { resources: [garbage("bad")] });
  strictEqual(session.isReady, true);
});

Deno.test("3.9: on demand, policies are enough to be ready", async () => {
  const { session, hear } = talk(true);
  session.open();
  strictEqual(session.isReady, false);
  await hear("authorization");
  strictEqual(session.isReady, true);
});

/** A rng in the middle: no jitter. */
const MIDDLE = { ...seededRng(1), next: () => 0.5 };
const status = (code: number, details = ""): StreamEnd => ({ kind: "status", code, details });

Deno.test("3.10: each outcome has its reason, its wait and its next wait", () => {
  const table: readonly (readonly [StreamEnd, string, number, number])[] = [
    [{ kind: "not_connected" }, "ConnectionError", 20, 40],
    [status(2), "Reconnect", 10, 20],
    [status(1), "Reconnect", 10, 20],
    [status(4), "Reconnect", 10, 20],
    [status(14, "transport is closing"), "Reconnect", 10, 20],
    [status(14, "received prior goaway: code: NO_ERROR"), "Reconnect", 10, 20],
    [status(14, "Connection dropped"), "Reconnect", 10, 20],
    [status(14, "overloaded"), "Error", 20, 40],
    [status(13, "transport is closing"), "Error", 20, 40],
    [status(7), "Error", 20, 40],
    [{ kind: "local" }, "Error", 20, 40],
    [{ kind: "ok" }, "Complete", 0, 20],
  ];
  for (const [end, reason, waitMs, nextMs] of table) {
    const retry = new Retry(MIDDLE);
    deepStrictEqual(retry.after(end, true), { reason, waitMs }, JSON.stringify(end));
    strictEqual(retry.after({ kind: "not_connected" }, false).waitMs, nextMs, JSON.stringify(end));
  }
});

Deno.test("3.10: waits double to 15 s, and start again after a stream that ended well", () => {
  const retry = new Retry(MIDDLE);
  const waits = Array.from({ length: 12 }, () => retry.after({ kind: "not_connected" }, false));
  deepStrictEqual(
    waits.map(({ waitMs }) => waitMs),
    [20, 40, 80, 160, 320, 640, 1_280, 2_560, 5_120, 10_240, 15_000, 15_000],
  );
  strictEqual(retry.after(status(2), true).waitMs, 10);
  strictEqual(retry.after({ kind: "not_connected" }, false).waitMs, 20);
});

Deno.test("3.10, 18.1: a server that ends every stream at once is not called in a loop", () => {
  const retry = new Retry(MIDDLE);
  const waits = Array.from({ length: 4 }, () => retry.after({ kind: "ok" }, false).waitMs);
  deepStrictEqual(waits, [0, 20, 40, 80]);
});

Deno.test("3.10: waits differ between nodes", () => {
  const rng = seededRng(7);
  const waits = Array.from(
    { length: 50 },
    () => new Retry(rng).after({ kind: "not_connected" }, false).waitMs,
  );
  strictEqual(waits.every((waitMs) => waitMs >= 16 && waitMs <= 24), true);
  strictEqual(new Set(waits).size > 40, true);
});

Deno.test("C.10: the exchange of the specification", async () => {
  const { session, hear, view } = talk();
  session.open();
  const good = [workload("w1"), workload("w2")];
  const bad = { ...garbage("shop/bad.example") };
  const refused = await hear("address", { nonce: "n1", resources: [...good, bad] });
  strictEqual(refused.reply.responseNonce, "n1");
  match(refused.reply.errorDetail?.message ?? "", /^shop\/bad\.example: decode: /);
  strictEqual(view.workloads().length, 2);
  strictEqual(session.isReady, false);
  const fixed = await hear("address", { nonce: "n2", resources: [workload("w3")] });
  strictEqual(fixed.reply.errorDetail, undefined);
  const policies = await hear("authorization", { nonce: "n3", resources: [policy("shop/a")] });
  strictEqual(policies.reply.responseNonce, "n3");
  strictEqual(session.isReady, true);
  session.closed({ code: 14, details: "Connection dropped" });
  const [first, second] = opened(session);
  deepStrictEqual(first?.initialResourceVersions, { w1: "v1", w2: "v1", w3: "v1" });
  deepStrictEqual(second?.initialResourceVersions, { "shop/a": "" });
  const removed = await hear("address", { nonce: "n4", removed: ["w2"] });
  strictEqual(removed.reply.errorDetail, undefined);
  deepStrictEqual(view.workloads().map(({ uid }) => uid), ["w1", "w3"]);
});
