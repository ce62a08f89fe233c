/** A service with a million endpoints, sent to the real program as one push. */
import { socksConnect } from "../../tests/support/proxy_process.ts";
import type { Istiod } from "./istiod_process.ts";
import { MeshProxy, type Peer, PROXY_IP, sleep } from "./mesh_proxy.ts";
import { mb, ms, type Report, seconds } from "./mesh_report.ts";

/** What the arena may take (lib/mesh/memory.ts), and as much as a quiet process and one push beside it need. */
const RSS_BYTES_MAX = 1_400e6;
/** The kubelet's usual patience with a readiness probe. */
const STALL_MS_MAX = 1_000;
/** As mesh_istiod.ts has them. */
const LAST_ENDPOINT_IP = "127.0.0.4";
const LAST_SERVICE_IP = "172.31.0.2";
const REST_MS = 8_000;

export async function showHostile(
  report: Report,
  istiod: Istiod,
  peer: Peer,
  endpointsCount: number,
): Promise<void> {
  istiod.forget();
  await using proxy = await MeshProxy.start(istiod, peer);
  await istiod.acknowledged("full");
  await proxy.ready();
  await sleep(REST_MS);
  const cpuBefore = proxy.cpuSeconds();
  const startMs = await istiod.ask(`hostile ${endpointsCount}`, "hostile");
  proxy.watchControl();
  const { atMs, rejected } = await istiod.answered("hostile");
  const stallMs = proxy.longestStallMs();
  const what = `a service with ${endpointsCount.toLocaleString("en")} endpoints in one push`;
  const cpuSeconds = proxy.cpuSeconds() - cpuBefore;
  report.show(
    what,
    `${seconds(atMs - startMs)}, processor ${cpuSeconds.toFixed(1)} s; ${
      rejected === undefined ? "all of it taken" : `refused by name: ${rejected}`
    }`,
  );
  const { peak } = proxy.memory;
  report.judge(
    "— RSS at its peak",
    `at most ${mb(RSS_BYTES_MAX)}`,
    mb(peak),
    peak <= RSS_BYTES_MAX,
  );
  report.judge(
    "— readiness answered meanwhile within",
    `${STALL_MS_MAX} ms`,
    ms(stallMs),
    stallMs <= STALL_MS_MAX,
  );
  await sleep(REST_MS);
  report.show(`— RSS ${REST_MS / 1_000} s later`, mb(proxy.memory.rss));
  const isThere = await reachesLast();
  report.judge(
    "— the service that stood behind them in the push",
    "is reached",
    isThere ? "is reached" : "is not reached",
    isThere,
  );
}

/** Whether a connection to the last service's address comes to its one endpoint. */
async function reachesLast(): Promise<boolean> {
  using server = Deno.listen({ hostname: LAST_ENDPOINT_IP, port: 8080 });
  try {
    using _client = await socksConnect(PROXY_IP, LAST_SERVICE_IP, 80);
    using _connection = await server.accept();
    return true;
  } catch {
    return false;
  }
}
