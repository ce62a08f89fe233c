/** Rules of 3.1, 3.8 and 3.10 about a stream, beside those of stream_test.ts. */
import { deepStrictEqual, doesNotMatch, match, ok, strictEqual } from "node:assert/strict";
import { createConnection, createServer, type Socket } from "node:net";
import { createLogHub, silentLog } from "#log";
import { createMesh } from "#mesh";
import { Metrics } from "#metrics";
import { type Clock, realClock, seededRng } from "#system";
import { DEMAND_TIMEOUT_MS, watchXds, type XdsOptions } from "#xds";
import { FakeClock } from "../../support/fake_clock.ts";
import { realNetwork, realTurn } from "../../support/network.ts";
import { until } from "../../support/netns.ts";
import { mintLeaf, mintRoot } from "../../support/pki.ts";
import { standstill } from "../../support/waiting.ts";
import { ControlPlane } from "./control_plane.ts";
import { responseBytes, workload } from "./messages.ts";

const HOST = "127.57.0.1";
const root = mintRoot();
const leaf = mintLeaf(root, { ips: [Uint8Array.of(127, 57, 0, 1)] });

const test = (name: string, fn: () => Promise<void>) =>
  Deno.test({ name, fn, sanitizeOps: false, sanitizeResources: false });

function follow(url: string, clock: Clock = realClock, more: Partial<XdsOptions> = {}) {
  const mesh = createMesh({});
  const metrics = new Metrics({ nowMs: () => 0 });
  const watch = watchXds({
    endpoint: {
      url,
      roots: { kind: "inline", pem: root.pem },
      clusterId: "Kubernetes",
      headers: [],
    },
    node: { metadata: {}, metadataJson: {} },
    onDemand: false,
    writer: mesh.writer,
    clock,
    turn: realTurn,
    dialer: realNetwork.dialer,
    rng: seededRng(1),
    log: silentLog,
    metrics,
    onCommit: () => {},
    ...more,
  });
  return { watch, view: mesh.view, metrics };
}

function logged(filter: string) {
  let text = "";
  const hub = createLogHub({
    write: (bytes) => text += new TextDecoder().decode(bytes),
    nowMs: () => 0,
    filter,
    format: "plain",
  });
  const said = () => {
    hub.flush();
    return text;
  };
  return { hub, said };
}

test("3.1: a server that takes the connection and never shakes hands is given up in ten seconds", async () => {
  let connectionsCount = 0;
  const silent = createServer((socket) => {
    connectionsCount++;
    socket.on("error", () => {});
  });
  await new Promise<void>((resolve) => silent.listen(0, HOST, resolve));
  try {
    const { port } = silent.address() as { port: number };
    const clock = new FakeClock(Date.now());
    const { hub, said } = logged("debug");
    const { watch } = follow(`https://${HOST}:${port}`, clock, { log: hub.scope("ztunnel::xds") });
    await until("it is connected", () => connectionsCount === 1);
    await clock.advance(9_999);
    strictEqual(watch.status().lastError, undefined);
    await clock.advance(1);
    await until("it is given up", async () => {
      await clock.advance(0);
      return watch.status().lastError !== undefined;
    });
    match(watch.status().lastError!, /cannot connect to .* in 10000 ms/);
    match(said(), /xds stream failed\treason="ConnectionError"/);
    doesNotMatch(said(), /not answered/, "nothing was asked");
    await watch[Symbol.asyncDispose]();
  } finally {
    silent.close();
  }
});

test("3.1: a first snapshot of many megabytes is one message", async () => {
  using plane = await ControlPlane.start(HOST, [leaf]);
  const { watch, view } = follow(plane.url);
  await using _watch = watch;
  const stream = await plane.stream();
  await stream.request();
  await stream.request();
  // 16 MB; gRPC's own limit would be 4.
  const resources = Array.from(
    { length: 250 },
    (_, i) => workload(`w-${i}`, { name: "n".repeat(65_000) }),
  );
  stream.say("address", { resources });
  const { errorDetail } = await stream.request();
  strictEqual(errorDetail, undefined);
  strictEqual(view.workloads().length, 250);
});

test("3.1: a server that vanishes behind an open connection is found by a ping after 30 s, within 10 s", async () => {
  using plane = await ControlPlane.start(HOST, [leaf]);
  // Between the two: what is silent here neither reads nor closes.
  const carried: Socket[] = [];
  let answersCount = 0;
  const between = createServer((near) => {
    const far = createConnection(plane.port, HOST);
    near.pipe(far).pipe(near);
    far.on("data", () => answersCount++);
    carried.push(near, far);
    for (const socket of [near, far]) socket.on("error", () => {});
  });
  await new Promise<void>((resolve) => between.listen(0, HOST, resolve));
  try {
    const { port } = between.address() as { port: number };
    const clock = new FakeClock(Date.now());
    const { watch } = follow(`https://${HOST}:${port}`, clock);
    await (await plane.stream()).greet();
    for (let round = 0; round < 4; round++) {
      const before = answersCount;
      await clock.advance(30_000);
      await until("the ping is answered", () => answersCount > before);
      for (let turns = 0; turns < 10; turns++) await realClock.sleep(10);
    }
    strictEqual(watch.status().state, "connected", "who answers pings stays");
    for (const socket of carried) socket.unpipe();
    await clock.advance(30_000);
    strictEqual(watch.status().state, "connected");
    await clock.advance(10_000);
    await until("it is found", async () => {
      await clock.advance(0);
      return watch.status().lastError !== undefined;
    });
    const disposed = watch[Symbol.asyncDispose]();
    await clock.advance(0);
    await disposed;
  } finally {
    between.close();
    for (const socket of carried) socket.destroy();
  }
});

test("3.4: metrics count messages and bytes by type", async () => {
  using plane = await ControlPlane.start(HOST, [leaf]);
  const { watch, metrics } = follow(plane.url);
  await using _watch = watch;
  const stream = await plane.stream();
  const resources = [workload("w1"), workload("w2")];
  await stream.greet({ resources });
  const bytes = resources.reduce((sum, { resource }) => sum + resource!.value!.length, 0);
  let text = "";
  for await (const part of metrics.expose("text", () => Promise.resolve())) text += part;
  const url = 'url="type.googleapis.com/istio.workload.Address"';
  ok(text.includes(`istio_xds_message_total{${url}} 1\n`), text);
  ok(text.includes(`istio_xds_message_bytes_total{${url}} ${bytes}\n`), text);
});

test("3.10: responses are handled one after another, and each is acknowledged when it is in the mesh", async () => {
  using plane = await ControlPlane.start(HOST, [leaf]);
  const { watch, view } = follow(plane.url);
  await using _watch = watch;
  const stream = await plane.stream();
  await stream.request();
  await stream.request();
  const many = Array.from({ length: 3_000 }, (_, i) => workload(`w-${i}`));
  stream.say("address", { nonce: "1", resources: many });
  stream.say("address", { nonce: "2", removed: many.map(({ name }) => name!) });
  stream.say("authorization", { nonce: "3" });
  const nonces = [];
  for (let i = 0; i < 3; i++) nonces.push((await stream.request()).responseNonce);
  deepStrictEqual(nonces, ["1", "2", "3"]);
  strictEqual(view.workloads().length, 0);
});

test("3.10: the log has the stream's number, a failure is a warning, an expected end is not", async () => {
  using plane = await ControlPlane.start(HOST, [leaf]);
  const { hub, said } = logged("debug");
  const { watch } = follow(plane.url, realClock, { log: hub.scope("ztunnel::xds") });
  await using _watch = watch;
  const first = await plane.stream();
  await first.greet();
  first.end(14, "transport is closing");
  const second = await plane.stream();
  await second.greet();
  second.end(13, "broken");
  await (await plane.stream()).greet();
  match(said(), /info\txds:xds\{id=1\}\tconnected to the xds server/);
  match(said(), /debug\txds:xds\{id=1\}\txds stream ended\treason="Reconnect"/);
  match(said(), /warn\txds:xds\{id=2\}\txds stream failed\treason="Error".*broken/);
  match(said(), /info\txds:xds\{id=3\}\tconnected/);
});

test("3.8: more demands at once than may wait to be written all reach istiod", async () => {
  using plane = await ControlPlane.start(HOST, [leaf]);
  const { watch } = follow(plane.url, realClock, { onDemand: true });
  await using _watch = watch;
  const stream = await plane.stream();
  await stream.greet();
  const names = Array.from({ length: 300 }, (_, at) => `net/10.0.${at >> 8}.${at & 255}`);
  const answers = names.map((name) => watch.demand(name));
  const asked: string[] = [];
  while (asked.length < names.length) {
    asked.push(...(await stream.request()).resourceNamesSubscribe);
  }
  deepStrictEqual(asked, names);
  stream.say("address", { removed: names });
  deepStrictEqual(new Set(await Promise.all(answers)), new Set([true]));
});

test("3.10: a server that speaks and does not read is not read either, and loses nothing", async () => {
  using plane = await ControlPlane.start(HOST, [leaf]);
  const { watch } = follow(plane.url);
  await using _watch = watch;
  const stream = await plane.stream();
  await stream.greet();
  stream.call.pause();
  const count = 20_000;
  for (let nonce = 0; nonce < count; nonce++) stream.say("address", { nonce: `${nonce}` });
  const handled = () => watch.status().types[0]!.messagesReceived;
  const before = await standstill(handled, { lookMs: 300, looks: 2 });
  ok(before < count / 2, `${before} answers wait`);
  stream.call.resume();
  for (let nonce = 0; nonce < count; nonce++) {
    strictEqual((await stream.request()).responseNonce, `${nonce}`);
  }
});

test("3.10: a server that does not read and dies is noticed, and followed when it is back", async () => {
  const plane = await ControlPlane.start(HOST, [leaf]);
  const { watch } = follow(plane.url);
  await using _watch = watch;
  const stream = await plane.stream();
  await stream.greet();
  stream.call.pause();
  for (let nonce = 0; nonce < 20_000; nonce++) stream.say("address", { nonce: `${nonce}` });
  const handled = () => watch.status().types[0]!.messagesReceived;
  await standstill(handled, { lookMs: 300, looks: 2 });
  plane[Symbol.dispose]();
  await until("it is noticed", () => watch.status().lastError !== undefined);
  using again = await ControlPlane.start(HOST, [leaf], plane.port);
  await (await again.stream()).greet();
});

test("3.8: whoever waits for what a response brought that broke behind it is told at once", async () => {
  using plane = await ControlPlane.start(HOST, [leaf]);
  const { watch, view } = follow(plane.url, realClock, { onDemand: true });
  await using _watch = watch;
  const stream = await plane.stream();
  await stream.greet();
  const answers = ["net/10.0.0.1", "w2"].map((name) => watch.demand(name));
  await stream.request();
  await stream.request();
  const resources = [workload("w1", {}, { aliases: ["net/10.0.0.1"] })];
  // No field begins like that.
  stream.sayBytes(Uint8Array.from([...responseBytes("address", { resources }), 0x07]));
  const late = realClock.sleep(9_000).then(() => "late");
  strictEqual(await Promise.race([answers[0], late]), true);
  strictEqual(view.workload("w1")?.uid, "w1");
  strictEqual(watch.status().demandsWaiting, 1);
  const next = await plane.stream();
  deepStrictEqual((await next.request()).initialResourceVersions, { w1: "v1", w2: "" });
});

test("3.8: whoever gave up is not asked for when a server reads again, and nobody twice", async () => {
  using plane = await ControlPlane.start(HOST, [leaf]);
  const clock = new FakeClock(Date.now());
  const { watch } = follow(plane.url, clock, { onDemand: true });
  const stream = await plane.stream();
  await stream.greet();
  stream.call.pause();
  const names = (round: string) =>
    Array.from({ length: 4_000 }, (_, at) => `${round}/${"n".repeat(200)}/${at}`);
  // No longer than until the first ping, whose answer would not keep up with this clock.
  for (const round of ["a", "b"]) {
    const answers = names(round).map((name) => watch.demand(name));
    await clock.advance(DEMAND_TIMEOUT_MS * 1.1);
    deepStrictEqual(new Set(await Promise.all(answers)), new Set([false]));
  }
  const last = names("last").map((name) => watch.demand(name));
  stream.call.resume();
  const asked: string[] = [];
  while (asked.at(-1) !== names("last").at(-1)) {
    asked.push(...(await stream.request()).resourceNamesSubscribe);
  }
  strictEqual(asked.filter((name) => name.startsWith("last/")).length, last.length);
  // What was on its way when the server stopped reading cannot be taken back.
  ok(asked.length < 1.5 * last.length, `${asked.length} names`);
  strictEqual(new Set(asked).size, asked.length);
  stream.say("address", { removed: asked });
  deepStrictEqual(new Set(await Promise.all(last)), new Set([true]));
  const disposed = watch[Symbol.asyncDispose]();
  await clock.advance(0);
  await disposed;
});

test("3.7: what we hold is listed, and who waits, when the server is there, not while it is looked for", async () => {
  using plane = await ControlPlane.start(HOST, [leaf]);
  const dialed = Promise.withResolvers<void>();
  const { dialer } = realNetwork;
  const { watch } = follow(plane.url, realClock, {
    onDemand: true,
    dialer: {
      async dial(to, options) {
        await dialed.promise;
        return await dialer.dial(to, options);
      },
    },
  });
  await using _watch = watch;
  await realClock.sleep(20);
  const answer = watch.demand("net/10.0.0.1");
  dialed.resolve();
  const stream = await plane.stream();
  const first = await stream.request();
  deepStrictEqual(first.initialResourceVersions, { "net/10.0.0.1": "" });
  await stream.request();
  stream.say("address", { removed: ["net/10.0.0.1"] });
  strictEqual(await answer, true);
  strictEqual((await stream.request()).responseNonce, "n", "it is asked for once");
});

test("3.10: a server that takes our subscriptions and says nothing is told of after ten seconds, once", async () => {
  using plane = await ControlPlane.start(HOST, [leaf]);
  const { hub, said } = logged("info");
  const clock = new FakeClock(Date.now());
  const { watch } = follow(plane.url, clock, { log: hub.scope("ztunnel::xds") });
  await using _watch = watch;
  const stream = await plane.stream();
  await stream.request();
  await stream.request();
  await clock.advance(9_999);
  doesNotMatch(said(), /not answered/);
  await clock.advance(1);
  match(
    said(),
    /warn\txds:xds\{id=1\}\txds server has not answered our subscriptions\t.*waitedMs=10000/,
  );
  const before = said().length;
  stream.say("address");
  await stream.request();
  stream.end(14, "transport is closing");
  await until("it comes again", async () => {
    await clock.advance(100);
    return plane.streamsCount === 2;
  });
  await (await plane.stream()).greet();
  await clock.advance(15_000);
  doesNotMatch(said().slice(before), /not answered/, "of one that answers");
});

Deno.test("3.8: a demand that nobody answers ends after ten seconds, and is asked for anew by the next one", async () => {
  const clock = new FakeClock();
  // The root cannot be used, so that nothing ever connects.
  const { watch } = follow("https://istiod.test:1", clock, {
    onDemand: true,
    endpoint: {
      url: "https://istiod.test:1",
      roots: { kind: "inline", pem: "junk" },
      clusterId: "c",
      headers: [],
    },
  });
  for (const _round of [1, 2]) {
    const answers: boolean[] = [];
    void watch.demand("net/10.0.0.1").then((isAnswered) => answers.push(isAnswered));
    await clock.advance(DEMAND_TIMEOUT_MS / 2);
    void watch.demand("net/10.0.0.1").then((isAnswered) => answers.push(isAnswered));
    strictEqual(watch.status().demandsWaiting, 1, "one name, however many wait");
    await clock.advance(DEMAND_TIMEOUT_MS / 2 - 1);
    deepStrictEqual(answers, []);
    await clock.advance(DEMAND_TIMEOUT_MS / 10 + 1);
    deepStrictEqual(answers, [false, false]);
    strictEqual(watch.status().demandsWaiting, 0);
  }
  const disposed = watch[Symbol.asyncDispose]();
  await clock.advance(0);
  await disposed;
});
