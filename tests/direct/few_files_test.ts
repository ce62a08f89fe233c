/** A process that runs out of file descriptors works again, on every port, as soon as it has some. */
import { strictEqual } from "node:assert/strict";
import { until } from "../support/netns.ts";
import { ProxyProcess } from "../support/proxy_process.ts";

const IP = "127.1.9.1";
const MESH = `
workloads:
- { uid: c//Pod/shop/one, name: one, namespace: shop, serviceAccount: one, trustDomain: cluster.local,
    workloadIps: ["${IP}"], protocol: HBONE }
`;
/** About twice what an idle proxy has open. */
const OPEN_FILES_MAX = 75;
const PROBES = ["15021/healthz/ready", "15020/metrics", "15000/"];

Deno.test("probes, metrics and admin answer again after the process ran out of file descriptors", async () => {
  const meshPath = await Deno.makeTempFile({ suffix: ".yaml" });
  await Deno.writeTextFile(meshPath, MESH);
  await using proxy = await ProxyProcess.start({
    ip: IP,
    workload: "one",
    meshPath,
    openFilesMax: OPEN_FILES_MAX,
  });
  const crowd = await Promise.all(
    Array.from({ length: 120 }, () => Deno.connect({ hostname: IP, port: 15080 })),
  );
  // They come while there is no fd left: the accept that fails is theirs.
  const early = await Promise.all(
    [15021, 15020, 15000].map((port) => Deno.connect({ hostname: IP, port })),
  );
  await new Promise((resolve) => setTimeout(resolve, 500));
  for (const connection of [...crowd, ...early]) connection.close();
  for (const probe of PROBES) {
    await until(
      `an answer to ${probe}`,
      () => answers(`http://${IP}:${probe}`),
      () => proxy.output,
    );
  }
  proxy.signal("SIGTERM");
  strictEqual((await proxy.exited).code, 0, proxy.output);
});

async function answers(url: string): Promise<boolean> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(10_000) });
    await response.body?.cancel();
    return response.ok;
  } catch {
    return false;
  }
}
