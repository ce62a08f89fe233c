/** A service with a million endpoints, sent to the real program as one push. */
import { socksConnect } from "../../tests/support/proxy_process.ts";
import type { Istiod } from "./istiod_process.ts";
import { MeshProxy, type Peer, PROXY_IP, sleep } from "./mesh_proxy.ts";
import { mb, ms, type Report, seconds } from "./mesh_report.ts";

export const HOSTILE_TARGETS = {
  /** Of the whole process: about twice what it takes. The mesh alone may take 1 GiB (lib/mesh/memory.ts). */
  peakBytes: 600e6,
  /** What the kubelet waits for a readiness probe, if it is told nothing else. */
  stallMs: 1_000,
} as const;

/** As mesh_istiod.ts has them. */
const LAST_ENDPOINT_IP = "127.0.0.4";
const LAST_SERVICE_IP = "172.31.0.2";

export interface Hostile {
  readonly tookMs: number;
  readonly cpuSeconds: number;
  /** What was refused, by name; absent: nothing. */
  readonly rejected?: string;
  readonly peakBytes: number;
  readonly restedBytes: number;
  /** The longest that the control side took to say that it is ready. */
  readonly stallMs: number;
  /** Whether a connection to the service that stood behind all that comes to its endpoint. */
  readonly isLastReached: boolean;
}

export interface HostileOptions {
  readonly endpointsCount: number;
  readonly restMs: number;
}

export async function hostilePush(
  istiod: Istiod,
  peer: Peer,
  { endpointsCount, restMs }: HostileOptions,
): Promise<Hostile> {
  istiod.forget();
  // Before there is a stream: a server that answers no PING for long has none.
  await istiod.make(endpointsCount);
  await using proxy = await MeshProxy.start(istiod, peer);
  await istiod.acknowledged("full");
  await proxy.ready();
  const cpuBefore = proxy.cpuSeconds();
  proxy.watchControl();
  const startMs = await istiod.ask("hostile", "hostile");
  const { atMs, rejected } = await istiod.answered("hostile");
  const stallMs = proxy.longestStallMs();
  const cpuSeconds = proxy.cpuSeconds() - cpuBefore;
  const isLastReached = await reachesLast();
  await sleep(restMs);
  return {
    tookMs: atMs - startMs,
    cpuSeconds,
    ...(rejected !== undefined && { rejected }),
    peakBytes: proxy.memory.peak,
    restedBytes: proxy.memory.rss,
    stallMs,
    isLastReached,
  };
}

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

export async function showHostile(
  report: Report,
  istiod: Istiod,
  peer: Peer,
  options: HostileOptions,
): Promise<void> {
  const push = await hostilePush(istiod, peer, options);
  const { tookMs, cpuSeconds, rejected, peakBytes, stallMs } = push;
  report.show(
    `a service with ${options.endpointsCount.toLocaleString("en")} endpoints in one push`,
    `${seconds(tookMs)}; processor ${cpuSeconds.toFixed(1)} s; ${
      rejected === undefined ? "all of it taken" : `refused by name: ${rejected}`
    }`,
  );
  const { peakBytes: peakMax, stallMs: stallMax } = HOSTILE_TARGETS;
  report.judge("— RSS at its peak", `at most ${mb(peakMax)}`, mb(peakBytes), peakBytes <= peakMax);
  report.show(`— ${options.restMs / 1_000} s later`, mb(push.restedBytes));
  report.judge(
    "— readiness answered meanwhile within",
    `at most ${ms(stallMax)}`,
    ms(stallMs),
    stallMs <= stallMax,
  );
  report.judge(
    "— the service that stood behind them in the push",
    "reached",
    push.isLastReached ? "reached" : "not reached",
    push.isLastReached,
  );
}
