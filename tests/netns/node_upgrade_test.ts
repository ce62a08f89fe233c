/**
 * Upgrades: two proxies of one node overlap, as in a rollout of the DaemonSet. The new one gets every pod from the agent and
 * binds the same ports; the old one drains.
 */
import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { appPath } from "../support/cni.ts";
import { MeshNodes } from "../support/mesh_node.ts";
import { testAsRoot } from "../support/needs.ts";
import { until } from "../support/netns.ts";

const PROGRAMS = ["ip", "nft", "python3", "curl"];
/** Ten in a row are in upgrade_test.ts; here an agent tells two proxies, and half of the connections come in clear. */
const UPGRADES = 3;
const PER_SECOND = 200;
/** Of a drain; long enough for the transfer below, and for nothing that hangs. */
const GRACE_SECONDS = 15;
const TRANSFER_SECONDS = 4;

/** Starts the successor, waits until it serves, ends the one before; gives back how long that one drained, in ms. */
async function upgrade(mesh: MeshNodes): Promise<number> {
  const before = mesh.proxy();
  const [name, next] = await mesh.startSuccessor("node1");
  await mesh.untilReady(name);
  const startMs = performance.now();
  before.signal("SIGTERM");
  const { code } = await before.ended;
  strictEqual(code, 0, before.output().slice(-2_000));
  mesh.replaceProxy("node1", next);
  return performance.now() - startMs;
}

testAsRoot(
  `${UPGRADES} upgrades under ${PER_SECOND} connections a second: none refused, none reset`,
  PROGRAMS,
  async () => {
    await using mesh = await MeshNodes.start({
      env: { TERMINATION_GRACE_PERIOD_SECONDS: `${GRACE_SECONDS}`, RUST_LOG: "warn" },
    });
    await mesh.pod("client");
    await mesh.pod("outsider", { meshed: false });
    const server = await mesh.pod("server");
    await mesh.nodes.serve("server", "8080");
    await mesh.ready();
    const target = `${server.ips[0]}`;
    match(await mesh.nodes.ask("client", target, 8080), /caller=/);
    // Half of them through both proxies' sides, half in clear into the pod.
    const storms = await Promise.all(["client", "outsider"].map((from) =>
      mesh.nodes.run(from, [
        "python3",
        appPath("storm.py"),
        `${PER_SECOND / 2}`,
        target,
        "8080",
      ], { ready: /ready/ })
    ));
    const startMs = performance.now();
    let drainMsMax = 0;
    for (let round = 0; round < UPGRADES; round++) {
      drainMsMax = Math.max(drainMsMax, await upgrade(mesh));
    }
    const seconds = (performance.now() - startMs) / 1_000;
    let opened = 0;
    for (const storm of storms) {
      storm.signal("SIGTERM");
      await storm.ended;
      const { ok: good, ...bad } = JSON.parse(storm.output().trim().split("\n").at(-1)!);
      deepStrictEqual(bad, {}, `${good} were good\n${mesh.logs()}`);
      opened += good;
    }
    ok(opened > 0.9 * seconds * PER_SECOND, `only ${opened} connections in ${seconds} s`);
    // Nothing of it was long: a drain that waits for its deadline waits for something that it lost.
    ok(drainMsMax < (GRACE_SECONDS - 5) * 1_000 - 500, `a drain took ${drainMsMax} ms`);
  },
);

testAsRoot(
  "a long transfer survives the start of a second proxy and the drain of the first; what is longer ends at its deadline",
  PROGRAMS,
  async () => {
    await using mesh = await MeshNodes.start({
      nodes: ["node1", "node2"],
      env: { TERMINATION_GRACE_PERIOD_SECONDS: `${GRACE_SECONDS}` },
    });
    await mesh.pod("client");
    const near = await mesh.pod("near");
    const far = await mesh.pod("far", { node: "node2" });
    const serve = (name: string, port: string, seconds: number) =>
      mesh.nodes.run(name, ["python3", appPath("trickle.py"), "serve", port, `${seconds}`], {
        ready: /ready/,
      });
    await Promise.all([
      serve("near", "9000", TRANSFER_SECONDS),
      serve("far", "9000", TRANSFER_SECONDS),
      serve("far", "9001", 60),
      mesh.ready(),
    ]);
    const read = (from: string, { ips }: typeof near, port: string) =>
      mesh.nodes.run(from, ["python3", appPath("trickle.py"), "read", `${ips[0]}`, port], {
        ready: /begun/,
      });
    const transfers = [
      await read("client", near, "9000"),
      await read("client", far, "9000"),
      await read("far", near, "9000"),
    ];
    const endless = await read("client", far, "9001");
    const drainMs = await upgrade(mesh);
    for (const transfer of transfers) {
      await until("it is whole", () => /bytes=/.test(transfer.output()), () => mesh.logs());
      match(transfer.output(), new RegExp(`bytes=${TRANSFER_SECONDS * 100 * 1024}$`, "m"));
    }
    const deadlineMs = (GRACE_SECONDS - 5) * 1_000;
    ok(drainMs > deadlineMs - 500 && drainMs < deadlineMs + 20_000, `${drainMs} ms`);
    ok((await endless.ended).code !== 0, "what outlives the deadline is reset, not ended in order");
    match(await mesh.nodes.ask("client", `${near.ips[0]}`, 9000), /./);
  },
);
