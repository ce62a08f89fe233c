import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { createServer } from "node:net";
import { createMesh } from "#mesh";
import { Metrics } from "#metrics";
import { silentLog } from "#log";
import { realClock, seededRng } from "#system";
import { watchXds, type XdsOptions, type XdsWatch } from "#xds";
import { realNetwork, realTurn } from "../../support/network.ts";
import { until } from "../../support/netns.ts";
import { mintLeaf, mintRoot } from "../../support/pki.ts";
import { ControlPlane } from "./control_plane.ts";
import { garbage, policy, workload } from "./messages.ts";

const HOST = "127.55.0.1";
const IPS = { ips: [Uint8Array.of(127, 55, 0, 1)] };
const root = mintRoot();
const leaf = mintLeaf(root, IPS);
const node = { podName: "zt", podNamespace: "istio-system", metadata: {}, metadataJson: {} };

const test = (name: string, fn: () => Promise<void>) =>
  Deno.test({ name, fn, sanitizeOps: false, sanitizeResources: false });

function follow(
  url: string,
  endpoint: Partial<XdsOptions["endpoint"]> = {},
  more: Partial<XdsOptions> = {},
) {
  const mesh = createMesh({});
  const metrics = new Metrics({ nowMs: () => 0 });
  const commits: number[] = [];
  const watch = watchXds({
    endpoint: {
      url,
      roots: { kind: "inline", pem: root.pem },
      clusterId: "Kubernetes",
      headers: [],
      ...endpoint,
    },
    node,
    onDemand: false,
    writer: mesh.writer,
    ...realNetwork,
    turn: realTurn,
    rng: seededRng(1),
    log: silentLog,
    metrics,
    onCommit: ({ epoch }) => commits.push(epoch),
    ...more,
  });
  return { watch, view: mesh.view, metrics, commits };
}

async function textOf(metrics: Metrics): Promise<string> {
  let text = "";
  for await (const part of metrics.expose("text", () => Promise.resolve())) text += part;
  return text;
}

const errorOf = (watch: XdsWatch) => watch.status().lastError ?? "";

async function withFile(text: string, act: (path: string) => Promise<void>): Promise<void> {
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(path, text);
    await act(path);
  } finally {
    await Deno.remove(path);
  }
}

test("3.1: a mesh arrives, is acknowledged, and is told of in status and metrics", async () => {
  using plane = await ControlPlane.start(HOST, [leaf]);
  const { watch, view, metrics, commits } = follow(plane.url);
  await using _watch = watch;
  const stream = await plane.stream();
  await stream.greet({ resources: [workload("w1")] }, { resources: [policy("shop/a")] });
  await watch.ready;
  strictEqual(view.workload("w1")?.namespace, "shop");
  deepStrictEqual(view.policies().map(({ key }) => key), ["shop/a"]);
  strictEqual(commits.length, 2);
  const status = watch.status();
  strictEqual(status.state, "connected");
  strictEqual(status.ready, true);
  strictEqual(status.stalenessSeconds, 0);
  ok(status.connectedSince !== undefined && status.types[0]?.lastAck !== undefined);
  const text = await textOf(metrics);
  match(text, /istio_xds_message_total\{url="type.googleapis.com\/istio.workload.Address"\} 1/);
  match(text, /ztunnel_xds_connected 1/);
  match(text, /ztunnel_xds_resources\{url="type.googleapis.com\/istio.security.Authorization"\} 1/);
});

test("3.4: a refusal goes to the server, and the rest of the response applies", async () => {
  using plane = await ControlPlane.start(HOST, [leaf]);
  const { watch, view, metrics } = follow(plane.url);
  await using _watch = watch;
  const stream = await plane.stream();
  await stream.request();
  await stream.request();
  stream.say("address", { nonce: "n1", resources: [garbage("bad"), workload("w1")] });
  const nack = await stream.request();
  strictEqual(nack.responseNonce, "n1");
  match(nack.errorDetail?.message ?? "", /^bad: decode: /);
  strictEqual(view.workloads().length, 1);
  match(watch.status().types[0]?.lastNackReason ?? "", /^bad: /);
  const url = 'url="type.googleapis.com/istio.workload.Address"';
  const told = await textOf(metrics);
  ok(told.includes(`ztunnel_xds_resources_received_total{${url}} 2`), told);
  ok(told.includes(`ztunnel_xds_resources_rejected_total{${url}} 1`));
  ok(told.includes(`ztunnel_xds_last_nack_seconds{${url}} 1`), "some Unix time");
  ok(!told.includes(`ztunnel_xds_last_ack_seconds{${url}}`), "what never was is left out");
  ok(/^ztunnel_xds_connected_since_seconds 1\d+/m.test(told));
  ok(/^ztunnel_xds_staleness_seconds 0$/m.test(told));
  stream.end(14, "transport is closing");
  plane[Symbol.dispose]();
  await until("it shows", () => watch.status().state !== "connected");
  await realClock.sleep(20);
  const after = await textOf(metrics);
  ok(/^ztunnel_xds_connected 0$/m.test(after));
  ok(!/^ztunnel_xds_connected_since_seconds /m.test(after));
  ok(Number(/^ztunnel_xds_staleness_seconds (\S+)$/m.exec(after)?.[1]) > 0, after);
});

test("3.1: token, cluster and headers travel with each stream, and a changed token file with the next", () =>
  withFile("first\n", async (path) => {
    using plane = await ControlPlane.start(HOST, [leaf]);
    const { watch } = follow(plane.url, {
      token: { kind: "file", value: path },
      clusterId: "c1",
      headers: [["X-Custom", "yes"]],
    });
    await using _watch = watch;
    const first = await plane.stream();
    deepStrictEqual(first.metadata.get("authorization"), ["Bearer first"]);
    deepStrictEqual(first.metadata.get("clusterid"), ["c1"]);
    deepStrictEqual(first.metadata.get("x-custom"), ["yes"]);
    await first.greet();
    await Deno.writeTextFile(path, "second");
    first.call.end();
    const second = await plane.stream();
    deepStrictEqual(second.metadata.get("authorization"), ["Bearer second"]);
    await second.greet();
    await Deno.writeTextFile(path, "");
    second.call.end();
    await until(
      "the empty token is told",
      () => /UNAUTHENTICATED: cannot use the token in .* is empty/.test(errorOf(watch)),
    );
    await Deno.writeTextFile(path, "sec\nret");
    await until("a line end is told", () => /token in .* no header may have$/.test(errorOf(watch)));
    ok(!/sec|ret/.test(errorOf(watch).replace(path, "")), errorOf(watch));
    await Deno.writeTextFile(path, "third");
    deepStrictEqual((await plane.stream()).metadata.get("authorization"), ["Bearer third"]);
  }));

test("3.1, 18.28: the root file is read for each attempt, so that a bad one needs no restart", () =>
  withFile("junk", async (path) => {
    using plane = await ControlPlane.start(HOST, [leaf]);
    const { watch, metrics } = follow(plane.url, { roots: { kind: "file", path } });
    await using _watch = watch;
    await until("the roots are told", () => /cannot use the root bundle/.test(errorOf(watch)));
    await Deno.writeTextFile(path, mintRoot().pem);
    await until("the stranger is told", () => /^grpc status UNAVAILABLE/.test(errorOf(watch)));
    strictEqual(plane.streamsCount, 0);
    await Deno.writeTextFile(path, root.pem);
    await (await plane.stream()).greet();
    await watch.ready;
    const text = await textOf(metrics);
    match(text, /terminations_total\{reason="Error"\} [1-9]/);
    match(text, /terminations_total\{reason="ConnectionError"\} [1-9]/);
  }));

test("3.1: a server of another name is refused, unless the alternative name is its own", async () => {
  using plane = await ControlPlane.start(HOST, [mintLeaf(root, { dns: ["istiod.alt.test"] })]);
  {
    const { watch } = follow(plane.url);
    await using _watch = watch;
    await until("the name is told", () => /certificate is for .*expected/.test(errorOf(watch)));
  }
  strictEqual(plane.streamsCount, 0);
  const { watch } = follow(plane.url, { altHostname: "istiod.alt.test" });
  await using _watch = watch;
  await (await plane.stream()).greet();
  await watch.ready;
});

test("3.1: plain http is refused without a word on the wire", async () => {
  const { watch } = follow("http://127.55.0.1:1");
  await using _watch = watch;
  await until("the scheme is told", () => /only https/.test(errorOf(watch)));
});

test("3.7, 3.10: a cut stream comes back with what is known, and traffic's mesh stays meanwhile", async () => {
  using plane = await ControlPlane.start(HOST, [leaf]);
  const { watch, view, metrics } = follow(plane.url);
  await using _watch = watch;
  const ends: ((stream: Awaited<ReturnType<ControlPlane["stream"]>>) => void)[] = [
    (stream) => stream.call.end(),
    (stream) => stream.end(14, "transport is closing"),
    (stream) => stream.end(13, "broken"),
    () => plane.goAway(),
  ];
  for (const [index, end] of ends.entries()) {
    const stream = await plane.stream();
    const [first, second] = [await stream.request(), await stream.request()];
    const known = index === 0 ? [{}, {}] : [{ w1: "v1" }, { "shop/a": "" }];
    deepStrictEqual([first.initialResourceVersions, second.initialResourceVersions], known);
    strictEqual(first.node?.id.startsWith("ztunnel~1.1.1.1~zt.istio-system~"), true);
    stream.say("address", index === 0 ? { resources: [workload("w1")] } : {});
    stream.say("authorization", index === 0 ? { resources: [policy("shop/a")] } : {});
    await stream.request();
    await stream.request();
    end(stream);
    strictEqual(view.workloads().length, 1);
  }
  await (await plane.stream()).greet({ removed: ["w1"] });
  strictEqual(view.workloads().length, 0);
  const text = await textOf(metrics);
  for (const reason of ["Complete", "Reconnect", "Error"]) {
    match(text, new RegExp(`terminations_total\\{reason="${reason}"\\} [1-9]`), text);
  }
});

test("3.10: a server that is not there is tried until it is", async () => {
  let port: number;
  {
    using plane = await ControlPlane.start(HOST, [leaf]);
    port = plane.port;
  }
  const { watch } = follow(`https://${HOST}:${port}`);
  await using _watch = watch;
  await until(
    "it is told",
    () => /ECONNREFUSED/.test(errorOf(watch)) && watch.status().streams > 2,
  );
  strictEqual(watch.status().connectedSince, undefined);
  using plane = await ControlPlane.start(HOST, [leaf], port);
  await (await plane.stream()).greet();
  await watch.ready;
});

test("3.10: an attempt is one connection, also after it was given up", async () => {
  let connectionsCount = 0;
  const refusing = createServer((socket) => {
    connectionsCount++;
    socket.destroy();
  });
  await new Promise<void>((resolve) => refusing.listen(0, HOST, resolve));
  try {
    const { port } = refusing.address() as { port: number };
    const { watch } = follow(`https://${HOST}:${port}`);
    await until("it has failed", () => errorOf(watch) !== "");
    await watch[Symbol.asyncDispose]();
    const { streams } = watch.status();
    await until("all have come", () => connectionsCount >= streams);
    await realClock.sleep(400);
    strictEqual(connectionsCount, streams);
  } finally {
    refusing.close();
  }
});

test("stopping is honoured while a server says nothing, at any layer", async () => {
  using plane = await ControlPlane.start(HOST, [leaf]);
  const silent = createServer((socket) => void socket.on("error", () => {}));
  await new Promise<void>((resolve) => silent.listen(0, HOST, resolve));
  try {
    const { port } = silent.address() as { port: number };
    const tls = follow(`https://${HOST}:${port}`).watch;
    const ads = follow(plane.url).watch;
    await plane.stream();
    const startedMs = realClock.monotonicMs();
    await tls[Symbol.asyncDispose]();
    await ads[Symbol.asyncDispose]();
    ok(realClock.monotonicMs() - startedMs < 1_000);
    strictEqual(ads.status().state, "closed");
    strictEqual(await ads.demand("x/y"), false);
  } finally {
    silent.close();
  }
});

test("3.8: whoever waits for an address is woken by the answer's alias, and by its absence", async () => {
  using plane = await ControlPlane.start(HOST, [leaf]);
  const { watch, view } = follow(plane.url, {}, { onDemand: true });
  await using _watch = watch;
  const stream = await plane.stream();
  await stream.greet();
  await watch.ready;
  const waiting = [watch.demand("net/10.0.0.1"), watch.demand("net/10.0.0.1")];
  deepStrictEqual((await stream.request()).resourceNamesSubscribe, ["net/10.0.0.1"]);
  stream.say("address", { resources: [workload("w1", {}, { aliases: ["net/10.0.0.1"] })] });
  deepStrictEqual(await Promise.all(waiting), [true, true]);
  strictEqual(view.workloads().length, 1);
  await stream.request();
  const unknown = watch.demand("net/10.9.9.9");
  deepStrictEqual((await stream.request()).resourceNamesSubscribe, ["net/10.9.9.9"]);
  stream.say("address", { removed: ["net/10.9.9.9"] });
  strictEqual(await unknown, true);
});

test("a message that is no response ends the stream, and the next one is good", async () => {
  using plane = await ControlPlane.start(HOST, [leaf]);
  const { watch } = follow(plane.url);
  await using _watch = watch;
  const stream = await plane.stream();
  stream.call.write(new Uint8Array([0x12, 0x7f, 1]) as never);
  await until("it is told", () => errorOf(watch) !== "");
  await (await plane.stream()).greet();
  await watch.ready;
});

test("a large push comes in slices, between which others have their turn", async () => {
  using plane = await ControlPlane.start(HOST, [leaf]);
  const { watch, view, commits } = follow(plane.url);
  await using _watch = watch;
  const stream = await plane.stream();
  await stream.request();
  await stream.request();
  const resources = Array.from(
    { length: 10_000 },
    (_, i) =>
      workload(`Kubernetes//Pod/shop/w-${i}`, {
        addresses: [Uint8Array.of(10, 1, i >> 8, i & 255)],
        services: { "shop/s.shop": { ports: [{ servicePort: 80, targetPort: 8080 }] } },
      }),
  );
  stream.say("address", { resources });
  stream.say("authorization", {});
  await watch.ready;
  strictEqual(view.workloads().length, 10_000);
  ok(commits.length > 1, `${commits.length} commits`);
});
