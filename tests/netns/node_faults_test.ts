/** What a broken agent does to a node's proxy: nothing, as long as the pods are right (behaviour.md 10.6). */
import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { WorkloadRequestSchema } from "#proto/zds_pb.ts";
import type { Message } from "#standin";
import { MeshNodes } from "../support/mesh_node.ts";
import { testAsRoot } from "../support/needs.ts";
import { until } from "../support/netns.ts";

const PROGRAMS = ["ip", "nft", "python3", "curl"];

type Payload = NonNullable<MessageInitShape<typeof WorkloadRequestSchema>["payload"]>;

function words(payload: Payload): Uint8Array<ArrayBuffer> {
  return toBinary(WorkloadRequestSchema, create(WorkloadRequestSchema, { payload }));
}

const INFO = { name: "server", namespace: "demo", serviceAccount: "server" };
const add = (uid: string): Uint8Array<ArrayBuffer> =>
  words({ case: "add", value: { uid, workloadInfo: INFO } });

async function openFiles(pid: number): Promise<number> {
  return (await Array.fromAsync(Deno.readDir(`/proc/${pid}/fd`))).length;
}

testAsRoot(
  "an agent that speaks nonsense, hangs or sends wrong files loses its connection, and no pod anything",
  PROGRAMS,
  async () => {
    await using mesh = await MeshNodes.start();
    await mesh.pod("client");
    const server = await mesh.pod("server");
    await mesh.nodes.serve("server", "8080");
    await mesh.ready();
    const agent = mesh.nodes.cni.agent("node1");
    const works = async () =>
      match(await mesh.nodes.ask("client", `${server.ips[0]}`, 8080), /caller=/, mesh.logs());
    await works();
    const { pid } = mesh.proxy();
    const filesBefore = await openFiles(pid);
    const netns = `/run/netns/${server.netns}`;
    const nonsense: readonly (readonly [what: string, message: Message])[] = [
      ["garbage", { bytes: new Uint8Array(200).fill(255) }],
      ["garbage with a file", { bytes: new Uint8Array(9).fill(255), files: [netns] }],
      ["too long", { bytes: new Uint8Array(4_000).fill(1) }],
      ["no file", { bytes: add("nobody") }],
      ["two files", { bytes: add("nobody"), files: [netns, netns] }],
      ["ten files", { bytes: add("nobody"), files: Array(10).fill(netns) }],
      ["a file where none belongs", {
        bytes: words({ case: "del", value: { uid: "nobody" } }),
        files: [netns],
      }],
      ["a file that is no namespace", { bytes: add("nobody"), files: ["/dev/null"] }],
      ["a pod that runs already", { bytes: add(server.uid), files: [netns] }],
    ];
    const answers: Record<string, string> = {};
    for (const [what, message] of nonsense) {
      await until("it is connected", () => agent.readyCount === 1, () => mesh.logs());
      answers[what] = (await agent.send(message)).kind;
      await works();
      // Not known to the agent, so that only a `del` takes it away again.
      if (what.includes("no namespace")) await agent.remove("nobody");
    }
    strictEqual(answers["a pod that runs already"], "ok");
    for (const [what] of nonsense.slice(0, -1)) ok(answers[what] !== "ok", what);
    agent.hang();
    const late = agent.remove("nobody");
    await works();
    agent.resume();
    deepStrictEqual(await late, [{ kind: "ok" }]);
    await mesh.untilReady();
    await until(
      "no file is left",
      async () => await openFiles(pid) <= filesBefore,
      () => `${JSON.stringify(answers)} ${mesh.logs()}`,
    );
  },
);

testAsRoot(
  "an agent that breaks the protocol ends its proxy in order, with exit code 1",
  PROGRAMS,
  async () => {
    await using mesh = await MeshNodes.start({ env: { TERMINATION_GRACE_PERIOD_SECONDS: "3" } });
    await mesh.pod("client");
    await mesh.ready();
    const bytes = words({ case: "snapshotSent", value: {} });
    const answer = await mesh.nodes.cni.agent("node1").send({ bytes });
    strictEqual(answer.kind, "refused");
    strictEqual((await mesh.proxy().ended).code, 1, mesh.logs());
  },
);
