import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { createMesh, type Mesh } from "#mesh";
import { meshOf, policy, workload } from "./builders.ts";

const ALICE = workload("alice", { authorizationPolicies: ["shop/selected", "shop/nowhere"] });
const keys = (mesh: Mesh, who = ALICE) => mesh.view.policiesFor(who).map((each) => each.key);

Deno.test("policiesFor() is those of the namespace, then global ones, then those listed", () => {
  const mesh = meshOf({
    policies: [
      policy("shop/selected", { scope: "WorkloadSelector" }),
      policy("shop/unselected", { scope: "WorkloadSelector" }),
      policy("root/everywhere", { scope: "Global" }),
      policy("shop/here"),
      policy("vault/elsewhere"),
    ],
  });
  deepStrictEqual(keys(mesh), ["shop/here", "root/everywhere", "shop/selected"]);
  deepStrictEqual(mesh.view.missingPoliciesOf(ALICE), ["shop/nowhere"]);
  deepStrictEqual(keys(mesh, workload("bob", { namespace: "vault" })), [
    "vault/elsewhere",
    "root/everywhere",
  ]);
});

Deno.test("policiesFor() has a policy once, although a workload lists what rules it anyway", () => {
  const mesh = meshOf({ policies: [policy("shop/selected")] });
  deepStrictEqual(keys(mesh), ["shop/selected"]);
});

for (
  const [from, to, expected] of [
    ["Namespace", "Global", { own: true, other: true }],
    ["Global", "Namespace", { own: true, other: false }],
    ["Namespace", "WorkloadSelector", { own: false, other: false }],
    ["Global", "WorkloadSelector", { own: false, other: false }],
    ["WorkloadSelector", "Global", { own: true, other: true }],
  ] as const
) {
  Deno.test(`upsertPolicy() cleans the index when a scope goes from ${from} to ${to}`, () => {
    const mesh = meshOf({ policies: [policy("shop/p", { scope: from })] });
    const [own, other] = [workload("o"), workload("x", { namespace: "vault" })];
    mesh.view.policiesFor(own);
    mesh.writer.upsertPolicy(policy("shop/p", { scope: to }));
    strictEqual(mesh.writer.commit().policiesChanged, true);
    deepStrictEqual({ own: keys(mesh, own).length === 1, other: keys(mesh, other).length === 1 }, {
      ...expected,
    });
    mesh.writer.removePolicy("shop/p");
    mesh.writer.commit();
    deepStrictEqual([keys(mesh, own), keys(mesh, other)], [[], []]);
  });
}

Deno.test("policies are keyed by their resource name, not by what they call themselves", () => {
  const mesh = meshOf({
    policies: [
      { ...policy("shop/p"), key: "one" },
      { ...policy("shop/p"), key: "two" },
    ],
  });
  deepStrictEqual(mesh.view.policies().map((each) => each.key), ["one", "two"]);
  deepStrictEqual(keys(mesh, workload("w")), ["one", "two"]);
});

Deno.test("policiesFor() follows a policy that comes later", () => {
  const mesh = createMesh({});
  deepStrictEqual(keys(mesh), []);
  mesh.writer.upsertPolicy(policy("shop/selected", { scope: "WorkloadSelector" }));
  mesh.writer.commit();
  deepStrictEqual(keys(mesh), ["shop/selected"]);
});

Deno.test("a policy that nobody has asked for since two changes is not kept as an object, on the writer's thread either", () => {
  const mesh = meshOf({ policies: [policy("shop/kept")] });
  const [first] = mesh.view.policies();
  strictEqual(mesh.view.policies()[0], first);
  const change = (dryRun: boolean) => {
    mesh.writer.upsertPolicy(policy("shop/other", { dryRun }));
    mesh.writer.commit();
  };
  change(true);
  strictEqual(mesh.view.policies()[0], first, "it was asked for lately");
  change(false);
  change(true);
  deepStrictEqual(mesh.view.policies()[0], first);
  ok(mesh.view.policies()[0] !== first, "every policy there ever was is kept");
});

Deno.test("policies of responses that broke are not kept as objects", () => {
  const mesh = meshOf({ policies: [policy("shop/kept")] });
  const [first] = mesh.view.policies();
  for (const dryRun of [true, false]) {
    mesh.writer.upsertPolicy(policy("shop/other", { dryRun }));
    mesh.writer.discard();
  }
  deepStrictEqual(mesh.view.policies(), [first]);
  ok(mesh.view.policies()[0] !== first, "what was remembered meanwhile is kept");
});

Deno.test("what was just written is judged by as it is, and not read again", () => {
  const mesh = meshOf({ policies: [policy("shop/kept")] });
  const before = mesh.view.policiesFor(ALICE);
  const written = policy("shop/selected", { scope: "WorkloadSelector" });
  mesh.writer.upsertPolicy(written);
  mesh.writer.commit();
  const [kept, selected] = mesh.view.policiesFor(ALICE);
  ok(kept === before[0] && selected === written);
});
