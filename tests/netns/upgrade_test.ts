/**
 * One proxy after another on the same node (behaviour.md 10.11, 14.9): the successor listens on the same ports of the same
 * pods before the old one goes.
 * @module
 */
import { deepStrictEqual as assertEquals, match, ok as assert } from "node:assert/strict";
import { Host, type Program, until } from "../support/netns.ts";
import { testAsRoot } from "../support/needs.ts";
import { app, deno } from "../support/node.ts";
import { type Pod, SHARED_PROGRAMS, SharedNode } from "../support/shared_node.ts";

const UPGRADES = 10;
const RATE_PER_SECOND = 200;
const DRAIN_SECONDS = 3;
const ENV = { CONNECTION_TERMINATION_DEADLINE: `${DRAIN_SECONDS}s` };

/** A proxy that knows both pods and is ready. */
async function takeOver(node: SharedNode, pods: readonly Pod[], at: Host): Promise<Program> {
  const proxy = await node.startProxy(ENV, { at });
  await node.greet();
  for (const pod of pods) assertEquals(await node.add(pod), "", node.logs());
  assertEquals(await node.snapshotSent(), "");
  await node.ready(at);
  return proxy;
}

testAsRoot(
  "ten upgrades in a row, and no client of a steady stream notices",
  SHARED_PROGRAMS,
  async () => {
    await using node = await SharedNode.start(["a", "b"]);
    const pods = [await node.addPod("a", 1, false), await node.addPod("b", 2)];
    const [a, b] = pods as [Pod, Pod];
    const places = [await node.place(), await node.place()];
    let proxy = await takeOver(node, pods, places[0]!);
    match(await a.host.sh("cat /proc/sys/net/ipv4/tcp_migrate_req"), /1/);
    const client = await a.host.start(
      [...deno, app("steady_client.ts"), b.ip, "9000", `${RATE_PER_SECOND}`],
      { ready: /started/ },
    );
    for (let round = 1; round <= UPGRADES; round++) {
      const successor = await takeOver(node, pods, places[round % 2]!);
      proxy.signal("SIGTERM");
      assertEquals((await proxy.ended).code, 0, proxy.output().slice(-3_000));
      proxy = successor;
    }
    client.signal("SIGTERM");
    await client.ended;
    const told = JSON.parse(client.output().split("\n")[1]!);
    assertEquals(told.failed, {}, JSON.stringify(told));
    // However busy the machine is, some connections fall into each change of proxies.
    assert(told.ok > UPGRADES * 20, JSON.stringify(told));
  },
);

testAsRoot(
  "a long transfer lives through the drain of its proxy, up to the deadline",
  SHARED_PROGRAMS,
  async () => {
    await using node = await SharedNode.start(["a", "b"]);
    const pods = [await node.addPod("a", 1, false), await node.addPod("b", 2)];
    const [a, b] = pods as [Pod, Pod];
    const places = [await node.place(), await node.place()];
    const first = await takeOver(node, pods, places[0]!);
    const dripping = (seconds: number) =>
      a.host.start([...deno, app("drip_client.ts"), b.ip, "9000", `${seconds}`], {
        ready: /started/,
      });
    const [fits, doesNot] = [await dripping(DRAIN_SECONDS - 1), await dripping(60)];
    await takeOver(node, pods, places[1]!);
    const startMs = performance.now();
    first.signal("SIGTERM");
    await until(
      "the first transfer is whole",
      () => /whole/.test(fits.output()),
      () => node.logs(),
    );
    assertEquals(/cut/.test(doesNot.output()), false);
    await until("the second is cut", () => /cut/.test(doesNot.output()), () => node.logs());
    const elapsedMs = performance.now() - startMs;
    assert(
      elapsedMs > DRAIN_SECONDS * 900 && elapsedMs < DRAIN_SECONDS * 1_000 + 20_000,
      `${elapsedMs}`,
    );
    assertEquals((await first.ended).code, 0, first.output().slice(-3_000));
    assertEquals(
      await a.host.sh(`curl -s -S --max-time 60 http://${b.ip}:8080/`),
      `you are ::ffff:${a.ip}\n`,
    );
  },
);
