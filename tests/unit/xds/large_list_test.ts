/**
 * The list of what we hold, where istiod cannot read it any more (users.md 0, 10): 110,000 names are 7 MB, and it takes 4
 * MiB; here both are a tenth.
 */
import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { createMesh } from "#mesh";
import { Metrics } from "#metrics";
import { silentLog } from "#log";
import { seededRng } from "#system";
import { watchXds } from "#xds";
import {
  ADDRESS_TYPE,
  largeMesh,
  responseOf,
  serviceResource,
  uidOf,
  workloadResource,
} from "../../../bench/support/large_mesh.ts";
import { realNetwork, realTurn } from "../../support/network.ts";
import { mintLeaf, mintRoot } from "../../support/pki.ts";
import { ControlPlane } from "./control_plane.ts";

const HOST = "127.55.0.3";
const ISTIOD_BYTES_MAX = (4 << 20) / 10;
const GONE_COUNT = 100;
const SIZE = largeMesh(10_000);

function* resources(fromWorkload: number): Generator<Uint8Array> {
  for (let at = 0; at < SIZE.servicesCount; at++) yield serviceResource(SIZE, at, 1);
  for (let at = fromWorkload; at < SIZE.workloadsCount; at++) yield workloadResource(SIZE, at, 1);
}

Deno.test({
  name:
    "3.7 a list of names above istiod's limit is refused by istiod, and without it nothing is lost and nothing stays too long",
  sanitizeOps: false,
  sanitizeResources: false,
  async fn() {
    const root = mintRoot();
    const leaf = mintLeaf(root, { ips: [Uint8Array.of(127, 55, 0, 3)] });
    using plane = await ControlPlane.start(HOST, [leaf], 0, ISTIOD_BYTES_MAX);
    const { view, writer } = createMesh({ localNode: "node-1" });
    await using watch = watchXds({
      endpoint: {
        url: plane.url,
        roots: { kind: "inline", pem: root.pem },
        clusterId: "Kubernetes",
        headers: [],
      },
      node: { metadata: {}, metadataJson: {} },
      onDemand: false,
      writer,
      ...realNetwork,
      turn: realTurn,
      rng: seededRng(1),
      log: silentLog,
      metrics: new Metrics({ nowMs: () => 0 }),
      onCommit: () => {},
    });
    const first = await plane.stream();
    await first.request();
    await first.request();
    first.sayBytes(responseOf(ADDRESS_TYPE, "n1", resources(0)));
    first.say("authorization");
    await first.request();
    await first.request();
    await watch.ready;
    strictEqual(watch.status().types[0]?.resources, 11_000);
    strictEqual(view.workload(uidOf(SIZE, 5))?.uid, uidOf(SIZE, 5));

    first.end(14, "transport is closing");
    // The one that is refused, and the next one.
    await plane.stream();
    const second = await plane.stream();
    match(
      watch.status().lastError ?? "",
      /RESOURCE_EXHAUSTED: .*larger than max \(\d+ vs 419430/,
    );
    const requests = [await second.request(), await second.request()];
    deepStrictEqual(requests.map((each) => each.initialResourceVersions), [{}, {}]);
    // What went while we were away is missed by nobody but the first answer.
    second.sayBytes(responseOf(ADDRESS_TYPE, "n2", resources(GONE_COUNT)));
    strictEqual((await second.request()).responseNonce, "n2");
    strictEqual(watch.status().types[0]?.resources, 11_000 - GONE_COUNT);
    strictEqual(view.workload(uidOf(SIZE, GONE_COUNT - 1)), undefined);
    ok(view.workload(uidOf(SIZE, GONE_COUNT)) !== undefined);
  },
});
