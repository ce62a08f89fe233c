import { deepStrictEqual, match, strictEqual, throws } from "node:assert/strict";
import { loadLocal } from "#xds";
import { comparePods, hostLines, planPods, podCommands } from "../../../lib/cli/dev_pods_plan.ts";

const examplePath = new URL("../../../examples/pods.yaml", import.meta.url);

function meshOf(workloads: string, services = "[]") {
  const loaded = loadLocal(`workloads: ${workloads}\nservices: ${services}\npolicies: []`, "x");
  if ("problems" in loaded) throw new Error(JSON.stringify(loaded.problems));
  return loaded.mesh;
}

/** A workload of the YAML, as one element of a flow list. */
const pod = (name: string, ip: string, more = "node: n1, protocol: HBONE") =>
  `{ uid: ${name}, name: ${name}, namespace: demo, workloadIps: ["${ip}"], ${more} }`;

Deno.test("the example's workloads become pods of one node, and there is something to paste", async () => {
  const loaded = loadLocal(await Deno.readTextFile(examplePath), "pods.yaml");
  if ("problems" in loaded) throw new Error(JSON.stringify(loaded.problems));
  const plan = planPods(loaded.mesh);
  deepStrictEqual(plan.nodes, ["node1"]);
  deepStrictEqual(
    plan.pods.map(({ workload, isMeshed, demos }) => [workload.name, isMeshed, demos.length]),
    [["client", true, 0], ["server", true, 2], ["outsider", false, 0]],
  );
  deepStrictEqual(podCommands(plan), [
    "ip netns exec client curl -s http://hello.demo.svc.cluster.local/",
    "ip netns exec client curl -s http://vault.demo.svc.cluster.local/",
    "ip netns exec outsider curl -s http://10.77.1.11:8080/",
  ]);
  match(hostLines(plan.services), /^10\.96\.0\.10 hello\.demo\.svc\.cluster\.local$/m);
});

Deno.test("nodes keep their numbers when workloads come and go", () => {
  const first = planPods(
    meshOf(`[${pod("a", "10.77.1.10")}, ${pod("b", "10.77.2.10", "node: n2, protocol: TCP")}]`),
  );
  deepStrictEqual(first.nodes, ["n1", "n2"]);
  const second = planPods(
    meshOf(`[${pod("b", "10.77.2.10", "node: n2, protocol: TCP")}]`),
    first.nodes,
  );
  deepStrictEqual(second.nodes, ["n1", "n2"]);
  const { gone, come } = comparePods(first.pods, second.pods);
  deepStrictEqual([gone.map(({ workload }) => workload.name), come], [["a"], []]);
});

Deno.test("a pod of which anything has changed goes and comes", () => {
  const before = planPods(meshOf(`[${pod("a", "10.77.1.10")}]`)).pods;
  for (
    const after of [
      pod("a", "10.77.1.11"),
      pod("a", "10.77.1.10", "node: n1, protocol: TCP"),
      pod("a", "10.77.1.10", "node: n1, protocol: HBONE, serviceAccount: other"),
    ]
  ) {
    const { gone, come } = comparePods(before, planPods(meshOf(`[${after}]`)).pods);
    deepStrictEqual([gone.length, come.length], [1, 1], after);
  }
});

Deno.test("what cannot be a pod is named with its workload", () => {
  for (
    const [workloads, reason] of [
      ["[]", /no workload: no pod to make/],
      [
        `[${pod("a", "10.77.2.10")}]`,
        /workload "a": address 10\.77\.2\.10: node "n1" is the 1st, so expected 10\.77\.1\.10 to/,
      ],
      [`[${pod("a", "10.77.1.2")}]`, /workload "a": address 10\.77\.1\.2/],
      [`[${pod("a", "fd77:0:0:1::2")}]`, /workload "a": address fd77:0:0:1::2/],
      [`[${pod("a", "fd77:0:0:2::10")}]`, /workload "a": address/],
      [`[${pod("a b", "10.77.1.10")}]`, /workload "a b": name "a b": expected a-z/],
      [`[${pod("a", "10.77.1.10", 'node: "$(reboot)"')}]`, /node "\$\(reboot\)": expected a-z/],
      [
        `[{ uid: a, name: a, namespace: x, node: n1, workloadIps: [] }]`,
        /workload "a": expected an address/,
      ],
      [
        `[${pod("a", "10.77.1.10")}, ${pod("b", "10.77.1.10")}]`,
        /workload "b": "a" has 10\.77\.1\.10 already/,
      ],
      [
        `[${pod("n1", "10.77.1.10")}]`,
        /workload "n1": the name n1 is taken/,
      ],
    ] as const
  ) {
    throws(() => planPods(meshOf(workloads)), reason, workloads);
  }
  strictEqual(planPods(meshOf(`[${pod("a", "fd77:0:0:1::10")}]`)).pods.length, 1);
});
