/**
 * istiod away for longer than a certificate lives, as one sequence under traffic of which every connection is a handshake.
 * What an hour of it means for the waits between attempts, and for a thousand proxies that come back, is told by a clock
 * that can be turned (`tests/unit/standin/hour_test.ts`); here all parts are the real ones, and an hour is one life of a
 * certificate, which is fourteen seconds (behaviour.md 3.7, 3.9, 3.10, 9.3, 9.7).
 */
import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { until } from "../support/netns.ts";
import type { ProxyProcess } from "../support/proxy_process.ts";
import { pause } from "../support/waiting.ts";
import { Traffic, wireMesh, XdsMesh } from "../support/xds_mesh.ts";

const LIFETIME_MS = 14_000;
const UNAVAILABLE = 14;
/** The longest wait between two attempts is 18 s. */
const BACK_MS = 40_000;

interface Dumped {
  readonly xds: {
    readonly state: string;
    readonly ready: boolean;
    readonly stalenessSeconds: number;
    readonly types: readonly { readonly resources: number }[];
  };
  readonly certificates: readonly {
    readonly state: string;
    readonly certChain: readonly { readonly serialNumber: string }[];
  }[];
}

const dumped = (mesh: XdsMesh, proxy: ProxyProcess): Promise<Dumped> =>
  mesh.dump(proxy) as Promise<unknown> as Promise<Dumped>;

const serialsOf = async (mesh: XdsMesh): Promise<string[]> => {
  const dumps = await Promise.all(mesh.proxies.map((proxy) => dumped(mesh, proxy)));
  return dumps.map(({ certificates }) => certificates[0]!.certChain[0]!.serialNumber);
};

Deno.test({
  name:
    "istiod is away for a certificate's whole life: the mesh stays, certificates are renewed, no connection fails; then what differs comes",
  sanitizeOps: false,
  sanitizeResources: false,
  fn: async () => {
    await using mesh = await XdsMesh.start({
      network: "127.7.21",
      env: { POOL_UNUSED_RELEASE_TIMEOUT: "1ms" },
      plane: { certificateLifetimeMsMax: LIFETIME_MS },
    });
    const { plane, client, proxies } = mesh;
    const extra = (name: string, last: number) =>
      wireMesh(mesh.yaml.replace(
        "services:\n-",
        `- { uid: c//Pod/shop/${name}, name: ${name}, namespace: shop, workloadIps: ["127.7.21.${last}"] }\nservices:\n-`,
      ));
    plane.setMesh(extra("goes", 40));
    await until("it is there", async () => (await mesh.workloadsOf(client)).length === 3);
    const traffic = await Traffic.start(client, 60);
    const first = await serialsOf(mesh);

    // No word of the mesh any more; the CA still signs.
    plane.faults.refuseStreams = { code: UNAVAILABLE, details: "on demand" };
    plane.endStreams(UNAVAILABLE, "transport is closing");
    plane.setMesh(extra("comes", 50));
    const seen = new Map(proxies.map((proxy) => [proxy, new Set<string>()]));
    const awayUntilMs = performance.now() + LIFETIME_MS + 1_000;
    while (performance.now() < awayUntilMs) {
      const serials = await serialsOf(mesh);
      for (const [index, proxy] of proxies.entries()) seen.get(proxy)!.add(serials[index]!);
      await pause(500);
    }
    for (const [index, proxy] of proxies.entries()) {
      const { xds, certificates } = await dumped(mesh, proxy);
      ok(xds.state !== "connected" && xds.stalenessSeconds >= LIFETIME_MS / 1_000, xds.state);
      ok(xds.ready && await proxy.isReady(), "readiness is never revoked");
      deepStrictEqual(xds.types.map(({ resources }) => resources), [4, 1], "the mesh stays");
      deepStrictEqual(certificates.map(({ state }) => state), ["Available"]);
      const serials = seen.get(proxy)!;
      ok(serials.size >= 4, `${serials.size} certificates in ${LIFETIME_MS} ms`);
      ok((await serialsOf(mesh))[index] !== first[index], "the first one is long over");
    }
    ok((await mesh.workloadsOf(client)).includes("c//Pod/shop/goes"));

    // Then nobody at all, CA included, for less than what is left of a certificate.
    await plane.suspend();
    await pause(2_500);
    for (const proxy of proxies) {
      const { certificates } = await dumped(mesh, proxy);
      deepStrictEqual(certificates.map(({ state }) => state), ["Available"], "kept");
    }
    deepStrictEqual(traffic.failures, []);

    // And back: what went meanwhile goes, what came comes, and certificates are renewed again.
    const last = await serialsOf(mesh);
    plane.faults.refuseStreams = undefined;
    await plane.resume();
    await until(
      "the mesh is as it is now",
      async () => {
        const lists = await Promise.all(proxies.map((proxy) => mesh.workloadsOf(proxy)));
        return lists.every((uids) =>
          uids.join() === "c//Pod/shop/client,c//Pod/shop/comes,c//Pod/shop/server"
        );
      },
      () => client.output,
      BACK_MS,
    );
    await until("both have renewed", async () => {
      const serials = await serialsOf(mesh);
      return serials.every((serial, index) => serial !== last[index]);
    }, () => client.output);
    const { xds } = await dumped(mesh, client);
    strictEqual(xds.state, "connected");
    strictEqual(xds.stalenessSeconds, 0);
    const before = traffic.okCount;
    await until("traffic goes on", () => traffic.okCount > before);
    deepStrictEqual(await traffic.stop(), []);
    ok(traffic.okCount > 50, `${traffic.okCount} exchanges`);
  },
});
