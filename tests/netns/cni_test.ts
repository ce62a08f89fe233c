/**
 * Our stand-in for istio-cni by itself, without a ztunnel: what its rules do to real packets, and what its agent says to
 * a peer that shares no code with us.
 */
import { deepStrictEqual, match, ok, rejects, strictEqual } from "node:assert/strict";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import { WorkloadRequestSchema, WorkloadResponseSchema, ZdsHelloSchema } from "#proto/zds_pb.ts";
import { Cni } from "#standin";
import { Ip } from "#values";
import { HandZds, Nodes } from "../support/cni.ts";
import { testAsRoot } from "../support/needs.ts";
import { sh, until } from "../support/netns.ts";

const PROGRAMS = ["ip", "nft", "iptables-restore", "python3"];
const PROBE = "169.254.7.127";
const PROBE6 = "fd16:9254:7127:1337:ffff:ffff:ffff:ffff";

for (const flavour of ["nftables", "iptables"] as const) {
  testAsRoot(
    `${flavour}: a pod's traffic is turned to its proxy, and nothing else is`,
    PROGRAMS,
    async () => {
      await using nodes = await Nodes.start({ nodes: ["node1", "node2"], flavour, dns: true });
      const [pod, near, far] = [
        await nodes.pod("pod"),
        await nodes.pod("near", { meshed: false }),
        await nodes.pod("far", { meshed: false, node: "node2" }),
      ];
      const ports = ["80", "15001", "15006", "15008", "15053", "u15053"];
      await nodes.serve("pod", ...ports);
      await nodes.serve("near", "80");
      await nodes.serve("far", "80");
      for (const family of [0, 1]) {
        const [own, other, beyond] = [pod, near, far].map(({ ips }) => `${ips[family]}`);
        const said = {
          out: await nodes.ask("pod", beyond!, 80),
          marked: await nodes.ask("pod", beyond!, 80, "mark=1337"),
          in: await nodes.ask("far", own!, 80),
          hbone: await nodes.ask("near", own!, 15008),
          itself: await nodes.ask("pod", own!, 80),
          probe: await nodes.ask("node1", own!, 80),
          names: await nodes.ask("pod", beyond!, 53),
          namesByUdp: await nodes.ask("pod", beyond!, 53, "udp"),
          unmeshed: await nodes.ask("near", beyond!, 80),
        };
        deepStrictEqual(said, {
          out: `port=15001 caller=${own} original=${beyond} 80`,
          marked: `port=80 caller=${own} original= 0`,
          in: `port=15006 caller=${beyond} original=${own} 80`,
          hbone: `port=15008 caller=${other} original=${own} 15008`,
          itself: `port=80 caller=${own} original=${own} 80`,
          probe: `port=80 caller=${family === 0 ? PROBE : PROBE6} original=${own} 80`,
          names: `port=15053 caller=${own} original=${beyond} 53`,
          namesByUdp: "port=15053",
          unmeshed: `port=80 caller=${other} original= 0`,
        });
      }
    },
  );
}

testAsRoot("a pod without IPv6, one with addresses of its own, and one that takes them over", [
  ...PROGRAMS,
], async () => {
  await using nodes = await Nodes.start({ uplink: false });
  const four = await nodes.pod("four", { ipv6: false });
  const asker = await nodes.pod("asker", { meshed: false });
  await nodes.serve("four", "15006");
  match(await nodes.ask("asker", four.ips[0]!, 80), /port=15006/);
  match(await nodes.ask("asker", four.ips[1]!, 80), /timed out|unreachable|No route/i);
  await nodes.cni.removePod("four");
  // The neighbour still remembers the hardware address of the one before.
  const taker = await nodes.pod("taker", { ips: four.ips });
  await nodes.serve("taker", "15006");
  const listener = nodes.cni.within(taker, () => Deno.listen({ port: 15001 }));
  match((await nodes.try("taker", "ss -Htln")).out, /:15001/);
  listener.close();
  await nodes.cni.setHosts("10.96.0.1 web.demo\n");
  match((await nodes.try("asker", "cat /etc/hosts")).out, /^10\.96\.0\.1 web\.demo$/m);
  match(await nodes.ask("asker", taker.ips[0]!, 80), /port=15006/);
  await rejects(nodes.pod("asker"), /there is a pod "asker" already/);
  await rejects(nodes.pod("x", { node: "nowhere" }), /there is no node "nowhere"/);
  strictEqual(asker.ips.length, 2);
});

const HELLO = hex(toBinary(ZdsHelloSchema, create(ZdsHelloSchema, { version: 1 })));
const ack = (error = "") =>
  hex(
    toBinary(
      WorkloadResponseSchema,
      create(WorkloadResponseSchema, { payload: { case: "ack", value: { error } } }),
    ),
  );

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Connects as a ztunnel and says hello. */
async function connect(nodes: Nodes): Promise<HandZds> {
  const ztunnel = new HandZds();
  deepStrictEqual(await ztunnel.say(`connect ${nodes.cni.socketOf("node1")}`), {});
  deepStrictEqual(await ztunnel.say(`send ${HELLO}`), {});
  return ztunnel;
}

/** The next message: its words, and the namespaces beside it. */
async function hear(ztunnel: HandZds) {
  const { bytes, inodes, error } = await ztunnel.say("read");
  if (bytes === undefined) throw new Error(error);
  if (bytes === "") return { word: "closed" };
  const raw = Uint8Array.from(bytes.match(/../g) ?? [], (pair) => parseInt(pair, 16));
  const { payload } = fromBinary(WorkloadRequestSchema, raw);
  const uid = payload.value !== undefined && "uid" in payload.value ? payload.value.uid : "";
  return { word: payload.case, uid, inodes };
}

async function inodeOf(netns: string): Promise<number> {
  return Number(await sh(`stat -L -c %i /run/netns/${netns}`));
}

testAsRoot(
  "the agent tells each pod with its namespace, one message per answer, then what changes",
  PROGRAMS,
  async () => {
    await using nodes = await Nodes.start();
    const pods = [await nodes.pod("a"), await nodes.pod("b"), await nodes.pod("c")];
    await nodes.pod("outside", { meshed: false });
    await using ztunnel = await connect(nodes);
    const told: unknown[] = [];
    for (let index = 0; index < 3; index++) {
      const { word, uid, inodes } = await hear(ztunnel);
      told.push([word, uid, inodes]);
      await ztunnel.say(`send ${ack(index === 1 ? "no room" : "")}`);
    }
    const wanted = [];
    for (const { uid, netns } of pods) wanted.push(["add", uid, [await inodeOf(netns)]]);
    deepStrictEqual(told.map(String).sort(), wanted.map(String).sort());
    deepStrictEqual(await hear(ztunnel), { word: "snapshotSent", uid: "", inodes: [] });
    strictEqual(nodes.cni.agent("node1").readyCount, 0);
    await ztunnel.say(`send ${ack()}`);
    await nodes.until(/in the snapshot: refused: no room/);
    strictEqual(nodes.cni.agent("node1").readyCount, 1);

    const adding = nodes.cni.addPod({ ...pods[0]!, name: "d", ips: [] });
    strictEqual((await hear(ztunnel)).word, "add");
    await ztunnel.say(`send ${ack("bind failed")}`);
    const { pod, answer } = await adding;
    deepStrictEqual(answer, { kind: "refused", text: "bind failed" });
    const removing = nodes.cni.removePod("d");
    deepStrictEqual(await hear(ztunnel), { word: "del", uid: pod.uid, inodes: [] });
    await ztunnel.say(`send ${ack()}`);
    await removing;
  },
);

testAsRoot(
  "additions go to the newest ztunnel, deletions to all; a word unasked for ends the connection",
  PROGRAMS,
  async () => {
    await using nodes = await Nodes.start();
    await using old = await connect(nodes);
    strictEqual((await hear(old)).word, "snapshotSent");
    await old.say(`send ${ack()}`);
    await using young = await connect(nodes);
    strictEqual((await hear(young)).word, "snapshotSent");
    await young.say(`send ${ack()}`);
    await until("both are there", () => nodes.cni.agent("node1").readyCount === 2);
    const adding = nodes.pod("a");
    strictEqual((await hear(young)).word, "add");
    await young.say(`send ${ack()}`);
    await adding;
    const removing = nodes.cni.removePod("a");
    for (const each of [old, young]) {
      strictEqual((await hear(each)).word, "del");
      await each.say(`send ${ack()}`);
    }
    await removing;
    await young.say(`send ${ack()}`);
    strictEqual((await hear(young)).word, "closed");
    await nodes.until(/spoke unasked/);
    strictEqual(nodes.cni.agent("node1").readyCount, 1);
  },
);

testAsRoot(
  "an answer that comes late is taken for the next one; a long one is none",
  PROGRAMS,
  async () => {
    await using nodes = await Nodes.start();
    await using ztunnel = await connect(nodes);
    strictEqual((await hear(ztunnel)).word, "snapshotSent");
    await ztunnel.say(`send ${ack()}`);
    const [first, second] = [
      nodes.cni.addPod({ ...SPEC, name: "a" }),
      nodes.cni.addPod({ ...SPEC, name: "b" }),
    ];
    strictEqual((await hear(ztunnel)).word, "add");
    deepStrictEqual((await Promise.race([first, second])).answer, { kind: "unanswered" });
    strictEqual((await hear(ztunnel)).word, "add");
    await ztunnel.say(`send ${ack("of the first")}`);
    const answers = [(await first).answer, (await second).answer];
    ok(answers.some((answer) => answer?.kind === "refused" && answer.text === "of the first"));
    // The second answer comes when nothing is asked.
    await ztunnel.say(`send ${ack()}`);
    strictEqual((await hear(ztunnel)).word, "closed");

    await using other = await connect(nodes);
    for (const _ of ["add", "add", "snapshot sent"]) {
      await hear(other);
      await other.say(`send ${ack()}`);
    }
    const removing = nodes.cni.agent("node1").remove("nobody");
    await hear(other);
    await other.say(`send ${ack("x".repeat(2_000))}`);
    deepStrictEqual(await removing, [{ kind: "unanswered" }]);
  },
);

testAsRoot("an agent misbehaves on demand, forgets, hangs and comes back", PROGRAMS, async () => {
  await using nodes = await Nodes.start();
  const pod = await nodes.pod("a");
  const agent = nodes.cni.agent("node1");
  await using ztunnel = await connect(nodes);
  for (let index = 0; index < 2; index++) {
    await hear(ztunnel);
    await ztunnel.say(`send ${ack()}`);
  }
  const bytes = new Uint8Array(3_000).fill(255);
  const netns = `/run/netns/${pod.netns}`;
  for (
    const [message, size, files] of [
      [{ bytes }, 3_000, 0],
      [{ bytes: bytes.slice(0, 3), files: [netns, "/dev/null", netns] }, 3, 3],
    ] as const
  ) {
    const sending = agent.send(message);
    const got = await ztunnel.say("read");
    deepStrictEqual([got.bytes!.length / 2, got.inodes!.length], [size, files]);
    await ztunnel.say(`send ${ack("garbage")}`);
    deepStrictEqual(await sending, { kind: "refused", text: "garbage" });
  }
  agent.hang();
  const answer = agent.remove("x");
  agent.resume();
  strictEqual((await hear(ztunnel)).word, "del");
  await ztunnel.say(`send ${ack()}`);
  deepStrictEqual(await answer, [{ kind: "ok" }]);
  agent.forgetNamespace(pod.uid);
  await agent.restart(100);
  strictEqual((await hear(ztunnel)).word, "closed");
  await using again = await connect(nodes);
  deepStrictEqual(await hear(again), { word: "keep", uid: pod.uid, inodes: [] });
  await again.say("close");
  await nodes.until(/in the snapshot: gone/);
  deepStrictEqual(await agent.send({ bytes }), { kind: "gone" });
});

testAsRoot(
  "what a killed run has left is removed by the next; a stranger's namespace is not touched",
  PROGRAMS,
  async () => {
    const folder = await Deno.makeTempDir();
    const prefix = `zs${Deno.pid}-`;
    const scratch = await Deno.makeTempDir({ dir: folder });
    await Deno.writeTextFile(`${scratch}/token`, "");
    const options = { nodes: ["node1"], folder, ledger: `${folder}/ledger`, prefix };
    const code = `import { Cni } from "#standin";
      const cni = await Cni.start(${JSON.stringify({ ...options, scratch })});
      await cni.addPod({ name: "a", namespace: "x", serviceAccount: "x", node: "node1" });
      await cni.addPod({ name: "c", namespace: "x", serviceAccount: "x", node: "node1" });
      await cni.removePod("c");
      console.log("up");
      setInterval(() => {}, 1000);`;
    await Deno.writeTextFile(`${folder}/run.ts`, code);
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "-q", "--config", configPath, `${folder}/run.ts`],
      stdout: "piped",
    }).spawn();
    const reader = child.stdout.getReader();
    await reader.read();
    child.kill("SIGKILL");
    await child.status;
    await reader.cancel();
    match(await sh("ip netns list"), new RegExp(`${prefix}a`));
    // One that a stranger has had all the time, and one whose name was ours once.
    await sh(`ip netns add ${prefix}b && ip netns add ${prefix}c`);
    try {
      const events: string[] = [];
      await using cni = await Cni.start({ ...options, onEvent: (text) => events.push(text) });
      deepStrictEqual(
        events.sort(),
        ["a", "node1", "wire"].map((name) =>
          `removed namespace "${prefix}${name}", which an earlier run had left`
        ),
      );
      await rejects(Deno.stat(scratch), Deno.errors.NotFound);
      for (const name of ["b", "c"]) {
        await rejects(cni.addPod({ ...SPEC, name }), /exists already and is not ours/);
      }
      // A namespace that can be made, from whose address no gateway can be reached: it goes again.
      const ips = [Ip.parse("10.88.0.1")!];
      await rejects(cni.addPod({ ...SPEC, name: "d", ips }), /exit code/);
      strictEqual((await sh("ip netns list")).includes(`${prefix}d`), false);
      strictEqual(cni.pods.length, 0);
    } finally {
      const left = await sh("ip netns list");
      for (const name of ["b", "c"]) {
        ok(left.includes(`${prefix}${name}`), left);
        await sh(`ip netns del ${prefix}${name}`);
      }
    }
    strictEqual((await sh("ip netns list")).includes(prefix), false);
    await Deno.remove(folder, { recursive: true });
  },
);

const SPEC = { namespace: "demo", serviceAccount: "x", node: "node1" } as const;
const configPath = new URL("../../deno.json", import.meta.url).pathname;
