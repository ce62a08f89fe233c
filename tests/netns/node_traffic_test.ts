/**
 * Shared mode on real nodes: one proxy per node, pods in namespaces with istio-cni's rules, told by its agent's protocol.
 * Applications are programs that know of nothing.
 */
import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { MeshNodes } from "../support/mesh_node.ts";
import { testAsRoot } from "../support/needs.ts";
import { until } from "../support/netns.ts";

const PROGRAMS = ["ip", "nft", "iptables-restore", "python3", "curl"];
const VIPS = ["10.96.0.10", "fd96::10"] as const;
const WEB = "demo/web.demo.svc.cluster.local";
const HEADLESS = "demo/headless.demo.svc.cluster.local";
const SERVICES = [
  {
    name: "web",
    namespace: "demo",
    hostname: "web.demo.svc.cluster.local",
    vips: VIPS.map((ip) => `/${ip}`),
    ports: { 80: 8080 },
  },
  {
    name: "headless",
    namespace: "demo",
    hostname: "headless.demo.svc.cluster.local",
    vips: [],
    ports: { 9000: 9000 },
  },
];

/** Two nodes: client and near on the first, far on the second; and on each a pod that is in no mesh. */
async function town(flavour: "nftables" | "iptables") {
  const mesh = await MeshNodes.start({ nodes: ["node1", "node2"], flavour, services: SERVICES });
  const pods = {
    client: await mesh.pod("client"),
    near: await mesh.pod("near", { services: { [HEADLESS]: { 9000: 9000 } } }),
    far: await mesh.pod("far", { node: "node2", services: { [WEB]: { 80: 8080 } } }),
    outsider: await mesh.pod("outsider", { meshed: false }),
    stranger: await mesh.pod("stranger", { meshed: false, node: "node2" }),
  };
  await Promise.all([
    ...["client", "near", "far", "stranger"].map((name) =>
      mesh.nodes.serve(name, "8080", "9000", "53")
    ),
    mesh.ready(),
  ]);
  return { mesh, pods };
}

for (const flavour of ["nftables", "iptables"] as const) {
  testAsRoot(
    `${flavour}: pods of two nodes reach each other, strangers and themselves, and see who calls`,
    PROGRAMS,
    async () => {
      const { mesh, pods } = await town(flavour);
      await using _ = mesh;
      const { client, near, far, outsider, stranger } = pods;
      for (const family of [0, 1] as const) {
        const at = (pod: typeof near) => `${pod.ips[family]}`;
        const caller = async (from: string, host: string, port: number) => {
          const answer = await mesh.nodes.ask(from, host, port);
          return / caller=(\S+) /.exec(answer)?.[1] ?? answer;
        };
        const seen = {
          near: await caller("client", at(near), 8080),
          far: await caller("client", at(far), 8080),
          back: await caller("far", at(client), 8080),
          vip: await caller("client", VIPS[family], 80),
          headless: await caller("far", at(near), 9000),
          itself: await caller("client", at(client), 8080),
          itselfByVip: await caller("far", VIPS[family], 80),
          toStranger: await caller("client", at(stranger), 8080),
          fromOutsider: await caller("outsider", at(near), 8080),
          fromStranger: await caller("stranger", at(near), 8080),
          fromOtherHost: await caller("node2", at(near), 8080),
          probe: await caller("node1", at(near), 8080),
          names: await caller("client", at(near), 53),
        };
        deepStrictEqual(seen, {
          near: at(client),
          far: at(client),
          back: at(far),
          vip: at(client),
          headless: at(far),
          itself: at(client),
          itselfByVip: at(far),
          toStranger: at(client),
          fromOutsider: at(outsider),
          fromStranger: at(stranger),
          fromOtherHost: family === 0 ? "10.77.0.2" : "fd77::2",
          probe: family === 0 ? "169.254.7.127" : "fd16:9254:7127:1337:ffff:ffff:ffff:ffff",
          names: at(client),
        }, mesh.logs());
      }
      await sealed(mesh, pods);
      await ownPorts(mesh, pods);
    },
  );
}

type Town = Awaited<ReturnType<typeof town>>;

/** What the lines say of what went through HBONE, and of what could not. */
async function sealed(mesh: MeshNodes, { client, near, far, outsider }: Town["pods"]) {
  const spiffe = (name: string) => `spiffe://cluster.local/ns/demo/sa/${name}`;
  await until("the last lines are there", () => mesh.lines(/direction="inbound"/).length > 10);
  const outbound = mesh.lines(/direction="outbound"/).filter((line) =>
    line.includes(`dst.hbone_addr=${far.ips[0]}:8080`)
  );
  ok(outbound.length >= 2, mesh.logs());
  for (const line of outbound) {
    ok(line.includes(`dst.identity="${spiffe("far")}"`), line);
    ok(line.includes('src.workload="client"') || line.includes('src.workload="far"'), line);
  }
  const [plain] = mesh.lines(/direction="inbound"/).filter((line) =>
    line.includes(`src.addr=${outsider.ips[0]}:`)
  );
  strictEqual(plain?.includes("src.identity"), false, plain ?? mesh.logs());
  const inbound = mesh.lines(/direction="inbound"/, "node1").filter((line) =>
    line.includes(`src.addr=${client.ips[0]}:`) && line.includes(`=${near.ips[0]}:8080`)
  );
  ok(inbound[0]?.includes(`src.identity="${spiffe("client")}"`), inbound.join("\n"));
  // The probe goes past the proxy.
  deepStrictEqual(mesh.lines(/169\.254\.7\.127/), []);
}

/** The proxy's own ports lead nowhere, and 15053 is nobody's while no names are captured. */
async function ownPorts(mesh: MeshNodes, { near }: Town["pods"]) {
  for (const port of [15001, 15006, 15008]) {
    const answer = await mesh.nodes.ask("client", `${near.ips[0]}`, port);
    ok(!answer.includes("caller="), `${port}: ${answer}`);
  }
  const { out } = await mesh.nodes.try("near", "ss -Htuln");
  const ports = new Set([...out.matchAll(/:(15\d{3})\s/g)].map(([, port]) => port));
  deepStrictEqual([...ports].sort(), ["15001", "15006", "15008"], out);
}

testAsRoot(
  "policies hold per pod: a denied port, an allowed caller, and STRICT that refuses plaintext",
  PROGRAMS,
  async () => {
    await using mesh = await MeshNodes.start({
      policies: [
        {
          name: "strict",
          namespace: "demo",
          scope: "WorkloadSelector",
          action: "Deny",
          rules: [[[{ notPrincipals: [{ Presence: [] }] }]]],
        },
        {
          name: "no-9000",
          namespace: "demo",
          scope: "WorkloadSelector",
          action: "Deny",
          rules: [[[{ destinationPorts: [9000] }]]],
        },
        {
          name: "friends",
          namespace: "demo",
          scope: "WorkloadSelector",
          action: "Allow",
          rules: [[[{ principals: [{ Exact: "cluster.local/ns/demo/sa/friend" }] }]]],
        },
      ],
    });
    await mesh.pod("friend");
    await mesh.pod("other");
    await mesh.pod("outsider", { meshed: false });
    const open = await mesh.pod("open", { policies: ["demo/no-9000"] });
    const strict = await mesh.pod("strict", { policies: ["demo/strict"] });
    const closed = await mesh.pod("closed", { policies: ["demo/friends"] });
    await Promise.all([
      ...["open", "strict", "closed"].map((name) => mesh.nodes.serve(name, "8080", "9000")),
      mesh.ready(),
    ]);
    const heard = async (from: string, { ips }: typeof open, port = 8080) =>
      (await mesh.nodes.ask(from, `${ips[0]}`, port)).includes("caller=");
    deepStrictEqual({
      open: await heard("other", open),
      openDeniedPort: await heard("other", open, 9000),
      openPlain: await heard("outsider", open),
      strictPlain: await heard("outsider", strict),
      strictSealed: await heard("other", strict),
      closedFriend: await heard("friend", closed),
      closedOther: await heard("other", closed),
      closedPlain: await heard("outsider", closed),
    }, {
      open: true,
      openDeniedPort: false,
      openPlain: true,
      strictPlain: false,
      strictSealed: true,
      closedFriend: true,
      closedOther: false,
      closedPlain: false,
    }, mesh.logs());
    await until("the reasons", () => mesh.lines(/explicitly denied by: demo\/strict/).length > 0);
    await until("the port's", () => mesh.lines(/explicitly denied by: demo\/no-9000/).length > 0);
    match(mesh.lines(/explicitly denied by: demo\/no-9000/).join("\n"), /dst\.workload="open"/);
  },
);

testAsRoot(
  "an address that another pod takes over answers the very next request, with its own identity",
  PROGRAMS,
  async () => {
    await using mesh = await MeshNodes.start({ nodes: ["node1", "node2"] });
    const client = await mesh.pod("client");
    const first = await mesh.pod("first", { node: "node2" });
    await mesh.nodes.serve("first", "8080");
    await mesh.ready();
    const ask = () => mesh.nodes.ask("client", `${first.ips[0]}`, 8080);
    match(await ask(), /caller=/);
    match(await ask(), /caller=/);
    await mesh.remove("first");
    await mesh.pod("second", { node: "node2", ips: first.ips });
    await mesh.nodes.serve("second", "8080");
    await mesh.settled("second");
    // A pooled tunnel to the first pod is still there: its address answers as somebody else now.
    match(await ask(), new RegExp(`caller=${client.ips[0]} `), mesh.logs());
    await until(
      "its identity is in the line",
      () => mesh.lines(/dst\.identity="[^"]*\/sa\/second".*direction="outbound"/).length > 0,
      () => mesh.logs(),
    );
  },
);

testAsRoot(
  "the agent restarts: what runs goes on, what comes and goes meanwhile is made up for",
  PROGRAMS,
  async () => {
    await using mesh = await MeshNodes.start();
    await mesh.pod("client");
    const server = await mesh.pod("server");
    await mesh.pod("leaver");
    await mesh.nodes.serve("server", "8080");
    await mesh.ready();
    const up = async () => {
      const { workloadState } = await mesh.dump() as {
        readonly workloadState: Readonly<Record<string, { readonly state: string }>>;
      };
      return Object.entries(workloadState).filter(([, { state }]) => state === "Up")
        .map(([uid]) => uid.replace(/^uid-(\w+)-.*/, "$1")).sort();
    };
    deepStrictEqual(await up(), ["client", "leaver", "server"]);
    const agent = mesh.nodes.cni.agent("node1");
    const restarting = agent.restart(1_000);
    match(await mesh.nodes.ask("client", `${server.ips[0]}`, 8080), /caller=/);
    await mesh.remove("leaver");
    const comer = await mesh.pod("comer");
    await restarting;
    match(await mesh.nodes.ask("client", `${server.ips[0]}`, 8080), /caller=/);
    await until("the proxy is back", () => agent.readyCount === 1, () => mesh.logs());
    await until(
      "it has made up for it",
      async () => JSON.stringify(await up()) === JSON.stringify(["client", "comer", "server"]),
      () => mesh.logs(),
    );
    await mesh.nodes.serve("comer", "8080");
    match(await mesh.nodes.ask("client", `${comer.ips[0]}`, 8080), /caller=/);
    await mesh.untilReady();

    // One that lost the namespaces can only say that pods still exist.
    for (const { uid } of mesh.nodes.cni.pods) agent.forgetNamespace(uid);
    await agent.restart();
    await until("the proxy is back again", () => agent.readyCount === 1, () => mesh.logs());
    deepStrictEqual(await up(), ["client", "comer", "server"]);
    match(await mesh.nodes.ask("client", `${server.ips[0]}`, 8080), /caller=/);
  },
);
