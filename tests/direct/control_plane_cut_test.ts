/** istiod in trouble, with live traffic through two real proxies (behaviour.md 3.4, 3.7, 3.10). */
import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { until } from "../support/netns.ts";
import { ProxyProcess, socksConnect } from "../support/proxy_process.ts";
import { pause } from "../support/waiting.ts";
import { HOST, Traffic, wireMesh, XdsMesh } from "../support/xds_mesh.ts";

const test = (name: string, fn: () => Promise<void>) =>
  Deno.test({ name, fn, sanitizeOps: false, sanitizeResources: false });

/** Waits between attempts as the log tells them, in order. */
function retriesMs(proxy: ProxyProcess): number[] {
  return [...proxy.output.matchAll(/xds stream failed.*retryMs=(\d+)/g)].map(([, ms]) =>
    Number(ms)
  );
}

test("istiod is cut for seconds: traffic goes on, both come back by backoff, nothing is sent twice", async () => {
  await using mesh = await XdsMesh.start({ network: "127.7.1" });
  const { plane, client, server } = mesh;
  const traffic = await Traffic.start(client, 20);
  await plane.suspend();
  plane.records.clear();
  const openedBefore = traffic.okCount;
  await pause(2_000);
  await until(
    "traffic goes on, and both have tried often",
    () =>
      traffic.okCount > openedBefore + 40 &&
      [client, server].every((proxy) => retriesMs(proxy).length >= 4),
    () => `${traffic.okCount} exchanges\n${client.output}`,
  );
  for (const proxy of [client, server]) {
    ok(await proxy.isReady(), "readiness is never revoked");
    const waits = retriesMs(proxy);
    ok(waits.length < 12, `waits: ${waits}`);
    // Doubling, give or take a fifth.
    for (const [index, wait] of waits.slice(1).entries()) {
      ok(wait > waits[index]! && wait < 3 * waits[index]!, `waits: ${waits}`);
    }
  }
  ok(retriesMs(client).join() !== retriesMs(server).join(), "with jitter, no two proxies agree");
  await plane.resume();
  await until("both are back", () => plane.records.heard("ack").length === 4);
  const sent = plane.records.of("sent");
  const addresses = sent.filter(({ type }) => type === "address");
  deepStrictEqual(addresses.map(({ resources, removed }) => [resources, removed]), [[0, 0], [
    0,
    0,
  ]]);
  deepStrictEqual(await traffic.stop(), []);

  // And it is heard again: a policy that refuses everybody.
  plane.setMesh(wireMesh(mesh.yaml.replace("action: Allow", "action: Deny")));
  await until("the push is followed", async () => {
    try {
      (await socksConnect(client.ip, HOST, 80)).close();
      return /policy rejection/.test(server.output);
    } catch {
      return true;
    }
  });
});

test("istiod restarts with another mesh: what is gone goes, what is new comes, traffic does not notice", async () => {
  await using mesh = await XdsMesh.start({ network: "127.7.2" });
  const { plane, client } = mesh;
  const extra = (name: string) =>
    `- { uid: c//Pod/shop/${name}, name: ${name}, namespace: shop, workloadIps: ["127.7.2.${name.length}0"] }\n`;
  const withExtra = (name: string) =>
    wireMesh(mesh.yaml.replace("services:\n-", `${extra(name)}services:\n-`));
  plane.setMesh(withExtra("old"));
  await until(
    "the workload is there",
    async () => (await mesh.workloadsOf(client)).includes("c//Pod/shop/old"),
  );
  const traffic = await Traffic.start(client, 20);
  await plane.suspend();
  plane.setMesh(withExtra("younger"));
  await pause(200);
  await plane.resume();
  await until(
    "the new one is there",
    async () => (await mesh.workloadsOf(client)).includes("c//Pod/shop/younger"),
  );
  deepStrictEqual(await mesh.workloadsOf(client), [
    "c//Pod/shop/client",
    "c//Pod/shop/server",
    "c//Pod/shop/younger",
  ]);
  deepStrictEqual(await traffic.stop(), []);
});

test("a resource that cannot be used is refused by name, the rest of the push applies", async () => {
  await using mesh = await XdsMesh.start({ network: "127.7.3" });
  const { plane, client } = mesh;
  const traffic = await Traffic.start(client, 20);
  plane.poison("c//Pod/shop/bad", "legacy_tunnel");
  await until("both have refused it", () => plane.records.heard("nack").length === 2);
  match(plane.records.heard("nack")[0]!.reason, /^c\/\/Pod\/shop\/bad: /);
  const rejected = /resources rejected.*rejected=1 reasons="c\/\/Pod\/shop\/bad: /;
  await until("it is told", () => rejected.test(client.output), () => client.output);
  // An update of a good one that is bad, beside a good one: the good one applies, the other stays as it was.
  plane.poison("c//Pod/shop/server", "garbage");
  await until("it is refused", () => plane.records.heard("nack").length === 4);
  plane.setMesh(
    wireMesh(mesh.yaml.replace("name: client, namespace", "name: client, node: n9, namespace")),
  );
  await until("the rest is followed", async () => {
    const { workloads } = await mesh.dump(client) as { workloads: { node: string }[] };
    return workloads.some(({ node }) => node === "n9");
  });
  deepStrictEqual(await traffic.stop(), []);
});

test("slow and out of order, istiod is understood all the same", async () => {
  await using mesh = await XdsMesh.start({
    network: "127.7.4",
    prepare: ({ faults }) => {
      faults.answerDelayMs = 300;
      faults.reorder = true;
    },
  });
  const traffic = await Traffic.start(mesh.client, 20);
  await pause(200);
  deepStrictEqual(await traffic.stop(), []);
});

test("a message that is too large ends the stream, is told, and nothing is lost", async () => {
  await using mesh = await XdsMesh.start({ network: "127.7.5", only: "client" });
  const { plane, client } = mesh;
  plane.faults.paddingBytes = 201 * 1024 * 1024;
  plane.setMesh(
    wireMesh(mesh.yaml.replace("name: client, namespace", "name: client, node: n9, namespace")),
  );
  await until("it is told", () => /xds stream failed.*RESOURCE_EXHAUSTED/.test(client.output));
  plane.faults.paddingBytes = 0;
  await until("the change comes", async () => {
    const { workloads } = await mesh.dump(client) as { workloads: { node: string }[] };
    return workloads.some(({ node }) => node === "n9");
  });
  strictEqual((await mesh.workloadsOf(client)).length, 2);
});

test("a stream is ended every now and then, as istiod does it: a debug line, and no backoff to speak of", async () => {
  await using mesh = await XdsMesh.start({ network: "127.7.6", only: "client" });
  const { plane, client } = mesh;
  await until("the first one is heard", () => plane.records.heard("ack").length >= 2);
  for (const [code, details] of [[0, ""], [14, "transport is closing"], [0, ""]] as const) {
    const opened = plane.records.of("stream_opened").length;
    plane.endStreams(code, details);
    await until("it is back", () => plane.records.of("stream_opened").length > opened);
    await until("it is heard", () => plane.records.heard("ack").length >= 2 * (opened + 1));
  }
  ok(!/xds stream failed/.test(client.output), client.output);
});

test("SIGTERM is honoured before istiod has said anything: connected, unreachable, and refused", async () => {
  for (
    const prepare of [
      (mesh: XdsMesh["plane"]) => void (mesh.faults.answerDelayMs = 60_000),
      (mesh: XdsMesh["plane"]) => mesh.suspend(),
      (mesh: XdsMesh["plane"]) => void (mesh.faults.refuseStreams = { code: 14, details: "no" }),
    ]
  ) {
    await using mesh = await XdsMesh.start({
      network: "127.7.7",
      only: "client",
      env: { CONNECTION_TERMINATION_DEADLINE: "60s" },
      mayFail: true,
      prepare,
    });
    const { client, plane } = mesh;
    await until(
      "it has tried",
      () => plane.streamsOpen === 1 || /xds stream failed/.test(client.output),
      () => client.output,
    );
    strictEqual(await client.isReady(), false);
    const startedMs = performance.now();
    client.signal("SIGTERM");
    strictEqual((await client.exited).code, 0, client.output);
    ok(performance.now() - startedMs < 30_000, "long before the deadline of a drain");
  }
});
