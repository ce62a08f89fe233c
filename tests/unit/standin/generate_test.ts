import { deepStrictEqual, ok, strictEqual, throws } from "node:assert/strict";
import { createMesh } from "#mesh";
import { differencesBetween, GeneratedMesh } from "#standin";
import { fromBinary } from "@bufbuild/protobuf";
import { answerBytes } from "../../../lib/standin/wire_mesh.ts";
import { DeltaDiscoveryResponseSchema } from "../../../proto/gen/xds_pb.ts";

const SIZE = { workloads: 1_000, services: 100, nodes: 10 };

Deno.test("a mesh of a size is always the same one, and every resource of it can be used", () => {
  const [one, two] = [new GeneratedMesh(SIZE), new GeneratedMesh(SIZE)];
  deepStrictEqual(differencesBetween(one.mesh, two.mesh), []);
  const resources = [...one.mesh.address.values()];
  strictEqual(resources.length, 1_100);
  const { view, writer } = createMesh({});
  const bytes = answerBytes({ type: "address", nonce: "n", resources, removed: [] });
  for (const { resource } of fromBinary(DeltaDiscoveryResponseSchema, bytes).resources) {
    strictEqual(writer.upsertAddressBytes(resource!.value), undefined);
  }
  writer.commit();
  strictEqual(new Set(view.workloads().map(({ node }) => node)).size, 10);
  strictEqual(new Set(view.workloads().map(({ workloadIps }) => workloadIps[0])).size, 1_000);
  for (const service of view.services()) {
    strictEqual([...view.endpointsOf(service)].length, 10);
    ok(service.vips.length === 1);
  }
});

Deno.test("an update is the next few workloads, round and round, and a difference to the mesh before", () => {
  const generated = new GeneratedMesh(SIZE);
  const names = (count: number) => {
    const before = generated.mesh;
    const [difference, ...rest] = differencesBetween(before, generated.update(count));
    deepStrictEqual([rest, difference?.removed], [[], []]);
    return difference!.changed.map(({ name }) => name);
  };
  const first = names(600);
  strictEqual(first.length, 600);
  const second = names(600);
  strictEqual(second.length, 600);
  strictEqual(new Set([...first, ...second]).size, 1_000);
  deepStrictEqual(names(1), [[...generated.mesh.address.keys()][100 + 200]]);
});

Deno.test("a mesh without anything, or of more than there are addresses for, is refused", () => {
  for (
    const wrong of [{ workloads: 0 }, { services: 0 }, { nodes: 0 }, { workloads: 10_000_001 }]
  ) {
    throws(() => new GeneratedMesh({ ...SIZE, ...wrong }), /a mesh needs/);
  }
});
