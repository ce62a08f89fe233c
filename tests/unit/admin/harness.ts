/**
 * The servers of `#admin` on loopback, an empty mesh, and clients without ideas of their own.
 * @module
 */
import type { AdminSources, HttpServer } from "#admin";
import { createLogHub, silentLog } from "#log";
import type { MeshView, Workload } from "#mesh";
import { realClock } from "#system";

export const HOST = "127.61.15.1";
export const on = (component: string) => ({
  component,
  listen: [{ hostname: HOST, port: 0 }],
  clock: realClock,
  log: silentLog,
});
export const portOf = (server: HttpServer): number => server.addresses[0]!.port;

/** Starts, lets `use` talk to it, drains. */
export async function withServer(
  starting: Promise<HttpServer>,
  use: (base: string, port: number) => Promise<void>,
): Promise<void> {
  const server = await starting;
  try {
    await use(`http://${HOST}:${portOf(server)}`, portOf(server));
  } finally {
    await server.drain();
  }
}

/** Without fetch's own ideas about headers, and a connection of its own. */
export async function raw(port: number, request: string, halfClose = false): Promise<string> {
  using connection = await Deno.connect({ hostname: HOST, port });
  await connection.write(new TextEncoder().encode(request)).catch(() => {});
  if (halfClose) await connection.closeWrite();
  let text = "";
  const buffer = new Uint8Array(64 * 1024);
  for (;;) {
    const count = await connection.read(buffer).catch(() => null);
    if (count === null) return text;
    text += new TextDecoder("latin1").decode(buffer.subarray(0, count));
  }
}

export const ask = (port: number, line: string, ...headers: string[]) =>
  raw(
    port,
    [`${line} HTTP/1.1`, "Host: localhost", "Connection: close", ...headers, "", ""].join("\r\n"),
  );

export function statusOf(response: string): string {
  return response.slice("HTTP/1.1 ".length, "HTTP/1.1 ".length + 3);
}
export function bodyOf(response: string): string {
  return response.slice(response.indexOf("\r\n\r\n") + 4);
}

export const EMPTY_MESH: MeshView = {
  epoch: 0,
  workload: () => undefined,
  workloadAt: () => undefined,
  serviceAt: () => undefined,
  serviceNamed: () => undefined,
  servicesNamed: () => [],
  service: () => undefined,
  endpointsOf: () => [],
  eachEndpoint: () => [],
  candidatesOf: () => [],
  named: () => undefined,
  localWorkload: () => undefined,
  policiesFor: () => [],
  missingPoliciesOf: () => [],
  workloads: () => [],
  services: () => [],
  policies: () => [],
  eachWorkload: () => [],
  eachService: () => [],
  stagedEndpoints: () => new Map(),
};

/** A mesh of nothing but these. */
export function meshOf(workloads: readonly Workload[]): MeshView {
  const byUid = new Map(workloads.map((workload) => [workload.uid, workload]));
  return {
    ...EMPTY_MESH,
    workload: (uid) => byUid.get(uid),
    workloads: () => workloads,
    eachWorkload: () => workloads,
  };
}

export function sourcesWith(changes: Partial<AdminSources> = {}): AdminSources & {
  quits: number;
  dumps: number[];
} {
  const sources = {
    quits: 0,
    dumps: [] as number[],
    configDump: () => ({ proxy: true, localNode: null }),
    mesh: EMPTY_MESH,
    staticConfig: () => Promise.resolve({ workloads: [], policies: [], services: [] }),
    certificates: () => [{ identity: "spiffe://td/ns/a/sa/b", state: "Available" }],
    report: () =>
      Promise.resolve({ connections: { inbound: [], outbound: [] }, tunnels: [], floods: [] }),
    version: () => ({ version: "1" }),
    xds: () => undefined,
    dumped: (recordsCount: number) => void sources.dumps.push(recordsCount),
    logHub: createLogHub({ write: () => {}, nowMs: () => 0, filter: "", format: "plain" }),
    turn: () => realClock.sleep(0),
    quit: () => void sources.quits++,
    ...changes,
  };
  return sources;
}

export function manyWorkloads(count: number): Workload[] {
  return Array.from({ length: count }, (_, index) => ({
    uid: `cluster//Pod/ns/pod-${index}`,
    name: `pod-${index}`,
    namespace: "ns",
    serviceAccount: "default",
    trustDomain: "",
    workloadIps: [],
    network: "",
    hostname: "",
    node: "node",
    protocol: "HBONE",
    networkMode: "Standard",
    nativeTunnel: false,
    workloadName: "pod",
    workloadType: "deployment",
    canonicalName: "pod",
    canonicalRevision: "latest",
    clusterId: "cluster",
    locality: { region: "", zone: "", subzone: "" },
    authorizationPolicies: [],
    status: "Healthy",
    capacity: 1,
    services: new Map(),
  }));
}
