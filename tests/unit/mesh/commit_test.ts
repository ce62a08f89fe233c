import { deepStrictEqual, notStrictEqual, ok, strictEqual } from "node:assert/strict";
import { OwnProcess } from "#linux";
import { createMesh, type Mesh } from "#mesh";
import { cidr, ip, meshOf, policy, service, workload, write } from "./builders.ts";

/** The same content in new objects at each call. */
const contents = () => ({
  workloads: [
    workload("a", {
      workloadIps: [ip("10.1.0.1")],
      services: new Map([["shop/s.org", new Map([[80, 8080]])]] as const),
    }),
    workload("b", { workloadIps: [ip("10.1.0.1")] }),
  ],
  services: [service("s.org", { vips: [{ network: "", ip: ip("10.96.0.1") }] })],
  policies: [policy("shop/p", { rules: [] })],
});

function replaceAll(
  mesh: Mesh,
  next: Parameters<typeof write>[1],
): ReturnType<typeof mesh.writer.commit> {
  mesh.writer.clear();
  write(mesh, next);
  return mesh.writer.commit();
}

Deno.test("commit() shows nothing before and everything after", () => {
  const mesh = createMesh({});
  write(mesh, contents());
  deepStrictEqual(
    [mesh.view.workloads(), mesh.view.services(), mesh.view.policies(), mesh.view.epoch],
    [[], [], [], 0],
  );
  deepStrictEqual(mesh.writer.commit(), { epoch: 1, policiesChanged: true, touched: ["a", "b"] });
  strictEqual(mesh.view.epoch, 1);
  strictEqual(mesh.view.workloads().length, 2);
  strictEqual(mesh.view.services().length, 1);
  strictEqual(mesh.view.policies().length, 1);
});

Deno.test("clear() hides nothing before commit, and removes what is not written again", () => {
  const mesh = meshOf(contents());
  mesh.writer.clear();
  mesh.writer.upsertWorkload(contents().workloads[1]!);
  strictEqual(mesh.view.workloads().length, 2);
  deepStrictEqual(mesh.writer.commit(), { epoch: 2, policiesChanged: true, touched: ["a"] });
  deepStrictEqual(mesh.view.workloads().map((each) => each.uid), ["b"]);
  deepStrictEqual([mesh.view.services(), mesh.view.policies()], [[], []]);
  strictEqual(mesh.view.workloadAt("", ip("10.1.0.1"))?.uid, "b");
});

Deno.test("commit() keeps the very objects whose content is the same, and touches none of them", () => {
  const mesh = meshOf(contents());
  const before = [
    mesh.view.workload("a"),
    mesh.view.service("shop/s.org"),
    mesh.view.policies()[0],
  ];
  deepStrictEqual(replaceAll(mesh, contents()), { epoch: 2, policiesChanged: false, touched: [] });
  const after = [mesh.view.workload("a"), mesh.view.service("shop/s.org"), mesh.view.policies()[0]];
  for (const [index, value] of before.entries()) strictEqual(after[index], value);
  write(mesh, contents());
  deepStrictEqual(mesh.writer.commit(), { epoch: 3, policiesChanged: false, touched: [] });
  strictEqual(mesh.view.workload("a"), before[0]);
});

Deno.test("clear() breaks ties as a fresh start would", () => {
  const mesh = meshOf(contents());
  strictEqual(mesh.view.workloadAt("", ip("10.1.0.1"))?.uid, "b");
  const { workloads, ...rest } = contents();
  replaceAll(mesh, { ...rest, workloads: workloads.toReversed() });
  strictEqual(mesh.view.workloadAt("", ip("10.1.0.1"))?.uid, "a");
});

for (
  const [name, change, expected] of [
    ["a workload that comes", (mesh: Mesh) => mesh.writer.upsertWorkload(workload("c")), {
      policiesChanged: false,
      touched: ["c"],
    }],
    ["a workload that goes", (mesh: Mesh) => mesh.writer.removeAddress("a"), {
      policiesChanged: false,
      touched: ["a"],
    }],
    [
      "a port that changes",
      (mesh: Mesh) =>
        mesh.writer.upsertWorkload({
          ...contents().workloads[0]!,
          services: new Map([["shop/s.org", new Map([[80, 9090]])]]),
        }),
      { policiesChanged: false, touched: ["a"] },
    ],
    [
      "a workload that lists a policy",
      (mesh: Mesh) =>
        mesh.writer.upsertWorkload({
          ...contents().workloads[0]!,
          authorizationPolicies: ["shop/p"],
        }),
      { policiesChanged: true, touched: ["a"] },
    ],
    [
      "a service that changes",
      (mesh: Mesh) => mesh.writer.upsertService(service("s.org", { canonical: true })),
      { policiesChanged: false, touched: [] },
    ],
    [
      "a policy that changes deep inside",
      (mesh: Mesh) => mesh.writer.upsertPolicy(policy("shop/p", { rules: [[[]]] })),
      { policiesChanged: true, touched: [] },
    ],
    ["a policy that goes", (mesh: Mesh) => mesh.writer.removePolicy("shop/p"), {
      policiesChanged: true,
      touched: [],
    }],
    ["what comes and goes in one batch", (mesh: Mesh) => {
      mesh.writer.upsertWorkload(workload("c"));
      mesh.writer.upsertPolicy(policy("shop/q"));
      ok(mesh.writer.removeAddress("c"));
      ok(mesh.writer.removePolicy("shop/q"));
    }, { policiesChanged: false, touched: [] }],
  ] as const
) {
  Deno.test(`commit() says what is touched by ${name}`, () => {
    const mesh = meshOf(contents());
    change(mesh);
    deepStrictEqual(mesh.writer.commit(), { epoch: 2, ...expected });
  });
}

for (
  const [name, expected] of [
    ["a", true],
    ["shop/s.org", true],
    ["unknown", false],
    ["shop/unknown.org", false],
    ["cluster//Pod/shop/unknown", false],
    ["", false],
  ] as const
) {
  Deno.test(`removeAddress() says ${expected} for "${name}"`, () => {
    const mesh = meshOf(contents());
    strictEqual(mesh.writer.removeAddress(name), expected);
    strictEqual(mesh.writer.removeAddress(name), false);
    mesh.writer.commit();
    strictEqual(mesh.view.workloads().length + mesh.view.services().length, expected ? 2 : 3);
  });
}

Deno.test("removeAddress() and removePolicy() see nothing behind a clear()", () => {
  const mesh = meshOf(contents());
  mesh.writer.clear();
  strictEqual(mesh.writer.removeAddress("a"), false);
  strictEqual(mesh.writer.removeAddress("shop/s.org"), false);
  strictEqual(mesh.writer.removePolicy("shop/p"), false);
});

Deno.test("commit() replaces the object of what changed", () => {
  const mesh = meshOf(contents());
  const before = mesh.view.workload("b");
  mesh.writer.upsertWorkload(workload("b", { capacity: 2 }));
  mesh.writer.commit();
  notStrictEqual(mesh.view.workload("b"), before);
});

Deno.test("10,000 workloads of 1,000 services load, reload and are found without a scan", () => {
  const many = () => ({
    workloads: Array.from({ length: 10_000 }, (_, i) =>
      workload(`c//Pod/shop/w${i}`, {
        workloadIps: [ip(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`)],
        serviceAccount: "one",
        name: `w${i}`,
        services: new Map([[`shop/s${i % 1_000}.org`, new Map([[80, 8080]])]] as const),
      })),
    services: Array.from({ length: 1_000 }, (_, i) =>
      service(`s${i}.org`, {
        vips: [{ network: "", ip: ip(`10.96.${i >> 8}.${i & 255}`) }],
        cidrVips: [{ network: "", cidr: cidr(`11.${i >> 8}.${i & 255}.0/24`) }],
      })),
  });
  const mesh = createMesh({});
  const startMs = OwnProcess.threadProcessorMs();
  replaceAll(mesh, many());
  strictEqual(replaceAll(mesh, many()).touched.length, 0);
  const loadedMs = OwnProcess.threadProcessorMs() - startMs;
  for (let i = 0; i < 10_000; i++) {
    const info = { name: `w${i}`, namespace: "shop", serviceAccount: "one" };
    strictEqual(mesh.view.localWorkload(info)?.name, info.name);
    ok(mesh.view.workloadAt("", ip(`10.0.${(i >> 8) & 255}.${i & 255}`)));
    ok(mesh.view.serviceAt("", ip(`11.0.${i % 250}.7`)));
  }
  // A scan of 10,000 for each would take many times what loading does. Of this thread's processor, both.
  const foundMs = OwnProcess.threadProcessorMs() - startMs - loadedMs;
  ok(foundMs < 2 * loadedMs, `${foundMs} ms, and ${loadedMs} ms to load`);
});
