/**
 * Shared mode, whole: real namespaces, redirect rules, a control plane, and an agent that does what the test says.
 * @module
 */
import { deepStrictEqual as assertEquals, match, ok as assert } from "node:assert/strict";
import { until } from "../support/netns.ts";
import { testAsRoot } from "../support/needs.ts";
import { app, deno } from "../support/node.ts";
import { podIp6, SHARED_PROGRAMS, SharedNode } from "../support/shared_node.ts";
import { Zds } from "../support/zds_agent.ts";

const test = (name: string, body: () => Promise<void>) => testAsRoot(name, SHARED_PROGRAMS, body);
const curl = (ip: string) => `curl -s -S --max-time 60 http://${ip}:8080/`;
const curl6 = (index: number) => `curl -s -S --max-time 60 'http://[${podIp6(index)}]:8080/'`;
/** The server listens on both families at once, and so says IPv4 addresses in the way of IPv6. */
const mapped = (ip: string) => `you are ::ffff:${ip}\n`;

test("pods of a node are proxied with names of their own, from add to delete", async () => {
  await using node = await SharedNode.start(["a", "b"]);
  const [a, b] = [await node.addPod("a", 1), await node.addPod("b", 2)];
  const proxy = await node.startProxy({ ZTUNNEL_WORKER_THREADS: "2" });
  await node.greet();
  assertEquals(
    await node.readiness(),
    "not ready, pending: workload proxy manager (the CNI agent's list of pods)\n",
  );
  assertEquals([await node.add(a), await node.add(b)], ["", ""], node.logs());
  assertEquals(await node.snapshotSent(), "");
  await node.ready();

  assertEquals(await a.host.sh(curl(b.ip)), mapped(a.ip), node.logs());
  assertEquals(await b.host.sh(curl(a.ip)), mapped(b.ip), node.logs());
  assertEquals(await a.host.sh(curl6(2)), `you are ${podIp6(1)}\n`, node.logs());
  await until(
    "both ends have told all connections",
    () => (proxy.output().match(/connection complete/g) ?? []).length === 6,
    () => node.logs(),
  );
  match(
    proxy.output(),
    /src.identity="spiffe:\/\/cluster.local\/ns\/shop\/sa\/a".*direction="inbound"/,
  );
  match(
    proxy.output(),
    /src.identity="spiffe:\/\/cluster.local\/ns\/shop\/sa\/b".*direction="inbound"/,
  );
  const metrics = await node.metrics();
  match(metrics, /workload_manager_active_proxy_count 2\n/);
  match(metrics, /workload_manager_pending_proxy_count 0\n/);
  match(metrics, /workload_manager_proxies_started_total 2\n/);
  const { workloadState } = await node.dump();
  assertEquals(workloadState, {
    "uid-a-1": {
      connections: { inbound: [], outbound: [] },
      info: { name: "a", namespace: "shop", serviceAccount: "a" },
      state: "Up",
    },
    "uid-b-2": {
      connections: { inbound: [], outbound: [] },
      info: { name: "b", namespace: "shop", serviceAccount: "b" },
      state: "Up",
    },
  });

  assertEquals(await node.del(b), "");
  await until(
    "nothing listens in b any more",
    async () => !/:150(01|06|08)\b/.test(await b.host.sh("ss -tln")),
  );
  match(await node.metrics(), /workload_manager_proxies_stopped_total 1\n/);
  proxy.signal("SIGTERM");
  assertEquals((await proxy.ended).code, 0, node.logs());
});

test("ztunnel's own metrics are scraped by a pod of the mesh, encrypted", async () => {
  const self = "10.66.1.1";
  await using node = await SharedNode.start(
    ["a"],
    `- { uid: c//Pod/istio-system/ztunnel-x, name: ztunnel-x, namespace: istio-system, serviceAccount: ztunnel, ` +
      `trustDomain: cluster.local, workloadIps: ["${self}"], protocol: HBONE, node: n1, workloadName: ztunnel }`,
  );
  const a = await node.addPod("a", 1, false);
  const proxy = await node.startProxy({
    POD_NAME: "ztunnel-x",
    POD_NAMESPACE: "istio-system",
    SERVICE_ACCOUNT: "ztunnel",
  });
  await node.greet();
  assertEquals(await node.add(a), "");
  assertEquals(await node.snapshotSent(), "");
  await node.ready();
  const scraped = await a.host.sh(`curl -s -S --max-time 60 http://${self}:15020/metrics`);
  match(scraped, /workload_manager_active_proxy_count 1\n/);
  await until(
    "our own end has told it",
    () => /dst.workload="ztunnel-x".*direction="inbound"/.test(proxy.output()),
    () => node.logs(),
  );
  match(
    await node.metrics(),
    /istio_tcp_connections_closed_total\{reporter="destination",.*destination_workload="ztunnel",.*connection_security_policy="mutual_tls"/,
  );
  // Nothing of ours is on 15001 and 15006 there.
  const sockets = await node.host.sh("ss -tln");
  assert(/:15008\b/.test(sockets) && !/:1500[16]\b/.test(sockets), sockets);
});

test("certificates are there before anybody asks, and go with their last user", async () => {
  const line = (name: string, node: string) =>
    `- { uid: c//Pod/shop/${name}, name: ${name}, namespace: shop, serviceAccount: ${name}, ` +
    `trustDomain: cluster.local, workloadIps: ["10.90.0.${name.length}"], protocol: HBONE, node: ${node} }`;
  const own = "spiffe://cluster.local/ns/istio-system/sa/ztunnel";
  const shop = (name: string) => `spiffe://cluster.local/ns/shop/sa/${name}`;
  await using node = await SharedNode.start(
    ["a"],
    [line("near", "n1"), line("far-away", "n2")].join("\n"),
  );
  const a = await node.addPod("a", 1, false);
  await node.startProxy({
    POD_NAME: "ztunnel-x",
    POD_NAMESPACE: "istio-system",
    SERVICE_ACCOUNT: "ztunnel",
  });
  await node.greet();
  assertEquals(await node.snapshotSent(), "");
  const has = (what: string, ...identities: string[]) =>
    until(what, async () => {
      const { certificates } = await node.dump() as {
        certificates: { identity: string; state: string }[];
      };
      return certificates.map(({ identity, state }) => `${identity} ${state}`).join() ===
        identities.map((identity) => `${identity} Available`).sort().join();
    }, () => node.logs());
  await has("the node's workloads have theirs", shop("a"), shop("near"));
  assertEquals(await node.add(a), "");
  // The control plane forgets it first, then the node.
  await node.setMesh("workloads: []\n");
  await has("a running pod keeps its own", shop("a"));
  assertEquals(await node.del(a), "");
  await has("nothing is left");
  await node.setMesh(
    `workloads:\n- { uid: z, name: ztunnel-x, namespace: istio-system, serviceAccount: ztunnel, ` +
      `trustDomain: cluster.local, workloadIps: ["10.66.1.1"], protocol: HBONE, node: n1 }\n`,
  );
  await has("ours", own);
  await node.setMesh("workloads: []\n");
  await until(
    "the mesh is empty",
    async () => ((await node.dump()).workloads as unknown[]).length === 0,
  );
  await has("ours stays", own);
});

test("an address that another pod takes over never fails its callers", async () => {
  await using node = await SharedNode.start(["a", "b"]);
  const [a, b] = [await node.addPod("a", 1, false), await node.addPod("b", 2)];
  await node.startProxy();
  await node.greet();
  assertEquals([await node.add(a), await node.add(b)], ["", ""]);
  assertEquals(await node.snapshotSent(), "");
  await node.ready();
  assertEquals(await a.host.sh(curl(b.ip)), mapped(a.ip), node.logs());
  for (let round = 0; round < 3; round++) {
    const before = node.pods.at(-1)!;
    // The network goes first, so that nobody can tell a that its tunnel is dead.
    await node.unplug(before);
    assertEquals(await node.del(before), "");
    const after = await node.addPod("b", 2);
    assertEquals(await node.add({ ...after, uid: `uid-b-${round}-again` }), "");
    const startMs = performance.now();
    assertEquals(await a.host.sh(curl(b.ip)), mapped(a.ip), node.logs());
    // A tunnel that is dead and believed to live would hold it for half a minute.
    assert(performance.now() - startMs < 15_000);
  }
});

test("a pod whose ports are taken is refused, named, and served once they are free", async () => {
  await using node = await SharedNode.start(["a"]);
  const a = await node.addPod("a", 1);
  const squatter = await a.host.start([...deno, app("echo_server.ts"), "0.0.0.0", "15008"], {
    ready: /listening/,
  });
  await node.startProxy();
  await node.greet();
  const refused = /^failure to start proxy: cannot listen on \[::\]:15008: address already in use/;
  match(await node.add(a), refused);
  assertEquals(await node.snapshotSent(), "");
  match(await node.readiness(), /workload proxy manager \(pod shop\/a: cannot listen on/);
  const { workloadState } = await node.dump() as {
    workloadState: Record<string, { state: string }>;
  };
  assertEquals(workloadState[a.uid]!.state, "Pending");
  match(await node.metrics(), /workload_manager_pending_proxy_count 1\n/);
  // A file that is no namespace, beside it.
  match(
    await node.agent.ask(Zds.add("u9", "x", "shop", "x"), ["/dev/null"]),
    /^failure to start proxy: .*setns: invalid argument \(EINVAL\)/,
  );
  assertEquals(await node.agent.ask(Zds.del("u9")), "");
  squatter.signal("SIGKILL");
  await node.ready();
  match(await node.metrics(), /workload_manager_active_proxy_count 1\n/);
});

for (const reuse of ["true", "false"]) {
  test(`a pod may leave and come back at once, with INPOD_PORT_REUSE=${reuse}`, async () => {
    await using node = await SharedNode.start(["a", "b"]);
    const [a, b] = [await node.addPod("a", 1, false), await node.addPod("b", 2)];
    await node.startProxy({ ZTUNNEL_WORKER_THREADS: "2", INPOD_PORT_REUSE: reuse });
    await node.greet();
    assertEquals([await node.add(a), await node.add(b)], ["", ""]);
    assertEquals(await node.snapshotSent(), "");
    await node.ready();
    for (let round = 0; round < 20; round++) {
      assertEquals([await node.del(b), await node.add(b)], ["", ""], node.logs());
      if (round % 5 === 0) assertEquals(await a.host.sh(curl(b.ip)), mapped(a.ip), node.logs());
    }
    // By 15001 to 15008: one socket for each thread, or one for both.
    const listening = await b.host.sh("ss -tln | grep -c -E ':150(01|06|08)\\b'");
    assertEquals(Number(listening), reuse === "true" ? 6 : 3);
    match(await node.metrics(), /workload_manager_active_proxy_count 2\n/);
  });
}

test("pods without IPv6 are served by IPv4", async () => {
  await using node = await SharedNode.start(["a", "b"]);
  const [a, b] = [await node.addPod("a", 1, false), await node.addPod("b", 2)];
  for (const { host } of [a, b]) {
    await host.sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.lo.disable_ipv6=1");
  }
  await node.startProxy();
  await node.greet();
  assertEquals([await node.add(a), await node.add(b)], ["", ""]);
  assertEquals(await node.snapshotSent(), "");
  await node.ready();
  assertEquals(await a.host.sh(curl(b.ip)), mapped(a.ip), node.logs());
});

test("connections live through a restart of the agent, and one of another protocol ends us", async () => {
  await using node = await SharedNode.start(["a", "b"]);
  const [a, b] = [await node.addPod("a", 1, false), await node.addPod("b", 2)];
  const proxy = await node.startProxy({ CONNECTION_TERMINATION_DEADLINE: "1s" });
  await node.greet();
  assertEquals([await node.add(a), await node.add(b)], ["", ""]);
  assertEquals(await node.snapshotSent(), "");
  await node.ready();
  const dripping = await a.host.start([...deno, app("drip_client.ts"), b.ip, "9000", "3"], {
    ready: /started/,
  });
  await node.agent.leave();
  await node.agent.hangUp();
  await until(
    "it is missed",
    async () => (await node.readiness()).includes("workload proxy manager (the CNI agent)"),
  );
  await node.agent.listen();
  await node.greet();
  // What an agent says of a pod whose namespace it has lost.
  assertEquals(await node.agent.ask(Zds.keep(a.uid)), "");
  assertEquals(await node.add(b), "");
  assertEquals(await node.snapshotSent(), "");
  await node.ready();
  await until("the connection is whole", () => /whole/.test(dripping.output()), () => node.logs());
  match(await node.metrics(), /workload_manager_proxies_started_total 2\n/);
  match(
    await node.agent.ask(Zds.keep(a.uid)),
    /^failure to process message: keep after the snapshot/,
  );
  assertEquals((await proxy.ended).code, 1, node.logs());
});

const NEEDED = ["cap_net_admin", "cap_sys_admin", "cap_net_raw"] as const;

/** Runs a command as uid 0 with these capabilities and no way to more, as a container does. */
async function onlyWith(kept: readonly string[]): Promise<string[]> {
  const { stdout } = await new Deno.Command("capsh", { args: ["--print"] }).output();
  const bounding = /Bounding set =(\S*)/.exec(new TextDecoder().decode(stdout))![1]!.split(",");
  const dropped = bounding.filter((each) => !kept.includes(each));
  return ["capsh", `--drop=${dropped.join(",")}`, "--", "-c", 'exec "$@"', "sh"];
}

/** What follows sees the root, and all that is no mount of its own, as read-only. */
const READ_ONLY = ["unshare", "--mount", "--propagation", "private", "sh", "-ec"].concat(
  'mount -o remount,bind,ro / && exec "$@"',
  "sh",
);

for (const missing of [undefined, "cap_net_raw", "cap_net_admin"]) {
  const kept = NEEDED.filter((each) => each !== missing);
  testAsRoot(
    `uid 0 with ${kept.join(", ")} and a root that cannot be written proxies pods`,
    [...SHARED_PROGRAMS, "capsh", "unshare"],
    async () => {
      await using node = await SharedNode.start(["a", "b"]);
      const [a, b] = [await node.addPod("a", 1, false), await node.addPod("b", 2)];
      const proxy = await node.startProxy({}, { wrap: [...READ_ONLY, ...await onlyWith(kept)] });
      await node.greet();
      const mounts = await Deno.readTextFile(`/proc/${proxy.pid}/mountinfo`);
      match(mounts, /^\d+ \d+ \S+ \S+ \/ ro\b/m, "its root cannot be written");
      const status = await Deno.readTextFile(`/proc/${proxy.pid}/status`);
      const mask = [["cap_net_admin", 12n], ["cap_net_raw", 13n], ["cap_sys_admin", 21n]] as const;
      const expected = mask.reduce(
        (sum, [name, bit]) => kept.includes(name) ? sum | 1n << bit : sum,
        0n,
      );
      assertEquals(BigInt(`0x${/CapEff:\s*(\w+)/.exec(status)![1]}`), expected, status);
      assertEquals([await node.add(a), await node.add(b)], ["", ""], node.logs());
      assertEquals(await node.snapshotSent(), "");
      await node.ready();
      assertEquals(await a.host.sh(curl(b.ip)), mapped(a.ip), node.logs());
    },
  );
}

for (
  const [kept, line] of [
    [
      ["cap_net_admin", "cap_net_raw"],
      /cannot enter a pod's network namespace: setns: .*EPERM.*CAP_SYS_ADMIN/,
    ],
    [["cap_sys_admin"], /cannot mark packets: set SO_MARK: .*EPERM.*CAP_NET_ADMIN or CAP_NET_RAW/],
  ] as const
) {
  testAsRoot(
    `with ${kept.join(", ")} alone it says what it lacks`,
    [...SHARED_PROGRAMS, "capsh"],
    async () => {
      await using node = await SharedNode.start([]);
      const proxy = await node.startProxy({}, { wrap: await onlyWith(kept) });
      assertEquals((await proxy.ended).code, 1, node.logs());
      match(proxy.output(), line);
    },
  );
}
