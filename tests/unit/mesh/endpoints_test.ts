import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import type { Health, LoadBalancer, Mesh, Workload } from "#mesh";
import { createMesh } from "#mesh";
import { meshOf, service, workload } from "./builders.ts";

const KEY = "shop/cart.example.org";
const CART = service("cart.example.org");
const balance = (healthPolicy: LoadBalancer["healthPolicy"]): LoadBalancer => ({
  mode: "Standard",
  routingPreferences: [],
  healthPolicy,
});
const TOLERANT = service("cart.example.org", { loadBalancer: balance("AllowAll") });
const STRICT = service("cart.example.org", { loadBalancer: balance("OnlyHealthy") });

const pod = (uid: string, status: Health = "Healthy", target = 8080): Workload =>
  workload(uid, { status, services: new Map([[KEY, new Map([[80, target]])]]) });

function uids({ view }: Mesh): string[] {
  const found = view.service(KEY);
  if (found === undefined) return [];
  const uids = Array.from(view.endpointsOf(found), (each) => each.workloadUid);
  // One by one they are the same.
  deepStrictEqual(Array.from(view.eachEndpoint(found), (each) => each.workloadUid), uids);
  return uids;
}
const staged = ({ view }: Mesh): string[] => [...view.stagedEndpoints().get(KEY)?.keys() ?? []];

for (
  const [order, write] of [
    ["workloads, then the service, in one batch", (mesh: Mesh) => {
      mesh.writer.upsertWorkload(pod("a"));
      mesh.writer.upsertWorkload(pod("b", "Unhealthy"));
      mesh.writer.upsertService(CART);
    }],
    ["the service, then workloads, in one batch", (mesh: Mesh) => {
      mesh.writer.upsertService(CART);
      mesh.writer.upsertWorkload(pod("a"));
      mesh.writer.upsertWorkload(pod("b", "Unhealthy"));
    }],
    ["workloads before the service's batch", (mesh: Mesh) => {
      mesh.writer.upsertWorkload(pod("a"));
      mesh.writer.upsertWorkload(pod("b", "Unhealthy"));
      mesh.writer.commit();
      mesh.writer.upsertService(CART);
    }],
    ["the service's batch before workloads", (mesh: Mesh) => {
      mesh.writer.upsertService(CART);
      mesh.writer.commit();
      mesh.writer.upsertWorkload(pod("a"));
      mesh.writer.upsertWorkload(pod("b", "Unhealthy"));
    }],
    ["a removal, then an upsert of the same uid", (mesh: Mesh) => {
      mesh.writer.upsertService(CART);
      mesh.writer.upsertWorkload(pod("a"));
      mesh.writer.commit();
      mesh.writer.removeAddress("a");
      mesh.writer.upsertWorkload(pod("a"));
    }],
  ] as const
) {
  Deno.test(`endpointsOf() has the healthy ones after ${order}`, () => {
    const mesh = createMesh({});
    write(mesh);
    mesh.writer.commit();
    deepStrictEqual(uids(mesh), ["a"]);
    deepStrictEqual(staged(mesh), []);
  });
}

Deno.test("endpointsOf() gives each workload's own ports and health", () => {
  const { view } = meshOf({ workloads: [pod("a", "Unhealthy", 9090)], services: [TOLERANT] });
  deepStrictEqual([...view.endpointsOf(TOLERANT)], [
    { workloadUid: "a", ports: new Map([[80, 9090]]), status: "Unhealthy" },
  ]);
});

Deno.test("stagedEndpoints() keeps healthy and unhealthy ones until their service comes", () => {
  const mesh = meshOf({ workloads: [pod("a"), pod("b", "Unhealthy")] });
  deepStrictEqual(staged(mesh), ["a", "b"]);
  mesh.writer.upsertService(STRICT);
  mesh.writer.commit();
  deepStrictEqual([uids(mesh), staged(mesh)], [["a"], []]);
});

Deno.test("stagedEndpoints() forgets a workload that goes, and one that lists the service no more", () => {
  const mesh = meshOf({ workloads: [pod("a"), pod("b"), pod("c")] });
  mesh.writer.removeAddress("a");
  mesh.writer.upsertWorkload(workload("b"));
  mesh.writer.commit();
  deepStrictEqual(staged(mesh), ["c"]);
  mesh.writer.removeAddress("c");
  mesh.writer.commit();
  strictEqual(mesh.view.stagedEndpoints().size, 0);
});

Deno.test("endpointsOf() loses a workload that becomes unhealthy, and has it again afterwards", () => {
  const mesh = meshOf({ workloads: [pod("a"), pod("b")], services: [CART] });
  mesh.writer.upsertWorkload(pod("a", "Unhealthy"));
  mesh.writer.commit();
  deepStrictEqual(uids(mesh), ["b"]);
  mesh.writer.upsertWorkload(pod("a"));
  mesh.writer.commit();
  deepStrictEqual(uids(mesh).sort(), ["a", "b"]);
});

Deno.test("endpointsOf() follows the health policy when it tightens and when it loosens", () => {
  const mesh = meshOf({ workloads: [pod("a"), pod("b", "Unhealthy")], services: [TOLERANT] });
  deepStrictEqual(uids(mesh), ["a", "b"]);
  mesh.writer.upsertService(STRICT);
  mesh.writer.commit();
  deepStrictEqual(uids(mesh), ["a"]);
  mesh.writer.upsertService(TOLERANT);
  mesh.writer.commit();
  deepStrictEqual(uids(mesh), ["a", "b"]);
});

Deno.test("endpointsOf() is complete for a service that went and came back", () => {
  const mesh = meshOf({ workloads: [pod("a"), pod("b")], services: [CART] });
  strictEqual(mesh.writer.removeAddress(KEY), true);
  mesh.writer.commit();
  deepStrictEqual([uids(mesh), staged(mesh)], [[], ["a", "b"]]);
  mesh.writer.upsertService(CART);
  mesh.writer.commit();
  deepStrictEqual([uids(mesh), staged(mesh)], [["a", "b"], []]);
});

Deno.test("endpointsOf() loses a workload that is removed, whatever its health", () => {
  const mesh = meshOf({ workloads: [pod("a"), pod("b", "Unhealthy")], services: [TOLERANT] });
  mesh.writer.removeAddress("a");
  mesh.writer.removeAddress("b");
  mesh.writer.commit();
  deepStrictEqual(uids(mesh), []);
});

Deno.test("endpointsOf() takes only the shares in that very service", () => {
  const other = service("cart.example.org", { namespace: "other" });
  const mesh = meshOf({ workloads: [pod("a")], services: [CART, other] });
  deepStrictEqual([...mesh.view.endpointsOf(other)], []);
});

Deno.test("endpointsOf() does not remember what it answered before a workload went", () => {
  const mesh = meshOf({ workloads: [pod("a"), pod("b"), pod("c")], services: [TOLERANT] });
  deepStrictEqual(uids(mesh), ["a", "b", "c"]);
  mesh.writer.removeAddress("b");
  mesh.writer.commit();
  deepStrictEqual(uids(mesh), ["a", "c"]);
  mesh.writer.upsertService(STRICT);
  mesh.writer.commit();
  deepStrictEqual(uids(mesh), ["a", "c"]);
  mesh.writer.removeAddress("a");
  mesh.writer.commit();
  deepStrictEqual(uids(mesh), ["c"]);
});

Deno.test("lists of services without endpoints are forgotten too when many others were asked for", () => {
  const services = Array.from({ length: 10_000 }, (_, index) => service(`s${index}.org`));
  const { view } = meshOf({ services });
  const first = view.endpointsOf(services[0]!);
  strictEqual(view.endpointsOf(services[0]!), first, "it is remembered");
  for (const each of services) view.endpointsOf(each);
  ok(view.endpointsOf(services[0]!) !== first);
});
