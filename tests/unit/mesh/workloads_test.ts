import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { createMesh, identityOf } from "#mesh";
import { ip, meshOf, workload } from "./builders.ts";

const POD = "cluster//Pod/shop/a";
const POD2 = "cluster//Pod/shop/b";
const ENTRY = "cluster/networking.istio.io/WorkloadEntry/shop/a";
const ENTRY2 = "cluster/networking.istio.io/WorkloadEntry/shop/b";
const at = { workloadIps: [ip("10.1.0.9")] };

for (
  const [name, candidates, expected] of [
    ["a pod over an entry", [[POD, "TCP"], [ENTRY, "TCP"]], POD],
    ["a pod over an HBONE entry", [[POD, "TCP"], [ENTRY, "HBONE"]], POD],
    ["HBONE among pods", [[POD, "HBONE"], [POD2, "TCP"]], POD],
    ["HBONE among entries", [[ENTRY, "HBONE"], [ENTRY2, "TCP"]], ENTRY],
    ["the latest among equals", [[POD, "HBONE"], [POD2, "HBONE"]], POD2],
    ["the latest among equal entries", [[ENTRY2, "TCP"], [ENTRY, "TCP"]], ENTRY],
  ] as const
) {
  Deno.test(`workloadAt() prefers ${name}`, () => {
    const { view } = meshOf({
      workloads: candidates.map(([uid, protocol]) => workload(uid, { ...at, protocol })),
    });
    strictEqual(view.workloadAt("", ip("10.1.0.9"))?.uid, expected);
  });
}

Deno.test("workloadAt() takes an upsert of a known uid for the latest", () => {
  const mesh = meshOf({ workloads: [workload(POD, at), workload(POD2, at)] });
  mesh.writer.upsertWorkload(workload(POD, at));
  mesh.writer.commit();
  strictEqual(mesh.view.workloadAt("", ip("10.1.0.9"))?.uid, POD);
});

Deno.test("workloadAt() falls back to the other candidate when the better one goes", () => {
  const mesh = meshOf({ workloads: [workload(POD, at), workload(ENTRY, at)] });
  strictEqual(mesh.writer.removeAddress(POD), true);
  mesh.writer.commit();
  strictEqual(mesh.view.workloadAt("", ip("10.1.0.9"))?.uid, ENTRY);
  mesh.writer.removeAddress(ENTRY);
  mesh.writer.commit();
  strictEqual(mesh.view.workloadAt("", ip("10.1.0.9")), undefined);
});

Deno.test("workloadAt() knows every address of a workload, in its network only", () => {
  const { view } = meshOf({
    workloads: [workload(POD, { workloadIps: [ip("10.1.0.9"), ip("fd00::9")], network: "east" })],
  });
  strictEqual(view.workloadAt("east", ip("10.1.0.9"))?.uid, POD);
  strictEqual(view.workloadAt("east", ip("fd00::9"))?.uid, POD);
  strictEqual(view.workloadAt("", ip("10.1.0.9")), undefined);
  strictEqual(view.workloadAt("west", ip("10.1.0.9")), undefined);
  strictEqual(view.workloadAt("east", ip("10.1.0.10")), undefined);
});

Deno.test("workloadAt() never finds a workload of the host network, workload() does", () => {
  const { view } = meshOf({ workloads: [workload(POD, { ...at, networkMode: "HostNetwork" })] });
  strictEqual(view.workloadAt("", ip("10.1.0.9")), undefined);
  strictEqual(view.workload(POD)?.uid, POD);
});

Deno.test("upsertWorkload() leaves nothing of the previous record in any index", () => {
  const mesh = meshOf({
    workloads: [
      workload(POD, { ...at, hostname: "old.example.org", serviceAccount: "old", name: "n" }),
    ],
  });
  mesh.writer.upsertWorkload(workload(POD, {
    workloadIps: [ip("10.1.0.10"), ip("10.1.0.10")],
    hostname: "new.example.org",
    serviceAccount: "new",
    name: "n",
  }));
  mesh.writer.commit();
  const { view } = mesh;
  strictEqual(view.workloadAt("", ip("10.1.0.9")), undefined);
  strictEqual(view.workloadAt("", ip("10.1.0.10"))?.uid, POD);
  strictEqual(view.named("shop", "old.example.org"), undefined);
  deepStrictEqual(view.named("shop", "new.example.org"), { workload: view.workload(POD) });
  const info = { name: "n", namespace: "shop" };
  strictEqual(view.localWorkload({ ...info, serviceAccount: "old" }), undefined);
  strictEqual(view.localWorkload({ ...info, serviceAccount: "new" })?.uid, POD);
  mesh.writer.removeAddress(POD);
  mesh.writer.commit();
  strictEqual(view.workloadAt("", ip("10.1.0.10")), undefined);
  strictEqual(view.named("shop", "new.example.org"), undefined);
  strictEqual(view.localWorkload({ ...info, serviceAccount: "new" }), undefined);
  deepStrictEqual(view.workloads(), []);
});

for (
  const [name, info, expected] of [
    ["finds name, namespace and account", ["web", "shop", "web"], "u1"],
    ["finds the other name of the account", ["web2", "shop", "web"], "u2"],
    ["does not take another account", ["web", "shop", "cart"], undefined],
    ["does not take another namespace", ["web", "vault", "web"], undefined],
    ["does not take another node", ["far", "shop", "web"], undefined],
  ] as const
) {
  Deno.test(`localWorkload() ${name}`, () => {
    const local = { serviceAccount: "web", node: "n1" };
    const { view } = meshOf({
      workloads: [
        workload("u1", { ...local, name: "web" }),
        workload("u2", { ...local, name: "web2" }),
        workload("u3", { ...local, name: "far", node: "n2" }),
      ],
    }, "n1");
    const [podName, namespace, serviceAccount] = info;
    strictEqual(view.localWorkload({ name: podName, namespace, serviceAccount })?.uid, expected);
  });
}

Deno.test("localWorkload() takes every workload for local when no node is given", () => {
  const { view } = meshOf({ workloads: [workload("u", { node: "anywhere" })] });
  const info = { name: "u", namespace: "shop", serviceAccount: "default" };
  strictEqual(view.localWorkload(info)?.uid, "u");
});

Deno.test("localWorkload() finds who arrives later", () => {
  const mesh = createMesh({ localNode: "n1" });
  const info = { name: "u", namespace: "shop", serviceAccount: "default" };
  strictEqual(mesh.view.localWorkload(info), undefined);
  mesh.writer.upsertWorkload(workload("u", { node: "n1" }));
  mesh.writer.commit();
  strictEqual(mesh.view.localWorkload(info)?.uid, "u");
});

Deno.test("workloads() are in the order of their uids", () => {
  const { view } = meshOf({ workloads: ["b", "a", "c"].map((uid) => workload(uid)) });
  deepStrictEqual(view.workloads().map((each) => each.uid), ["a", "b", "c"]);
});

Deno.test("identityOf() is trust domain, namespace and service account", () => {
  strictEqual(
    identityOf(workload("u", { serviceAccount: "web" })),
    "spiffe://cluster.local/ns/shop/sa/web",
  );
});

Deno.test("workloadAt() takes the last of several writes in one batch for the latest", () => {
  const { view } = meshOf({
    workloads: [workload(POD, at), workload(POD2, at), workload(POD, at)],
  });
  strictEqual(view.workloadAt("", ip("10.1.0.9"))?.uid, POD);
});
