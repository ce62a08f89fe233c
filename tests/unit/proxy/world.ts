/** A data side before a kernel of queues. */
import { loopback, type ToControl, type ToData } from "#link";
import { createLogHub } from "#log";
import { createMesh, type Policy } from "#mesh";
import { Metrics } from "#metrics";
import { DataThread, type InstanceOptions } from "#proxy";
import type { ByteStream } from "#stream";
import { seededRng } from "#system";
import { Revocations, type Tls } from "#tls";
import { SpiffeId } from "#values";
import { FakeClock } from "../../support/fake_clock.ts";
import { FakeKernel } from "../../support/fake_kernel.ts";
import { ip, ports, service, workload } from "../route/world.ts";

const HTTP2 = {
  streamWindowBytes: 1 << 20,
  connectionWindowBytes: 4 << 20,
  frameBytesMax: 1 << 14,
  headerListBytesMax: 1 << 14,
  pingIntervalMs: 10_000,
  pingTimeoutMs: 20_000,
};
export const noTls: Tls = {
  client: () => Promise.reject(new Error("no TLS in this test")),
  server: () => Promise.reject(new Error("no TLS in this test")),
};
const WEB_INFO = { name: "web", namespace: "shop", serviceAccount: "web" };
export const WEB = SpiffeId.of("cluster.local", "shop", "web");
export const deny: Policy = {
  key: "shop/no",
  name: "no",
  namespace: "shop",
  scope: "Namespace",
  action: "Deny",
  dryRun: false,
  rules: [[[{
    namespaces: [],
    notNamespaces: [],
    principals: [],
    notPrincipals: [],
    serviceAccounts: [],
    notServiceAccounts: [],
    sourceIps: [],
    notSourceIps: [],
    destinationIps: [],
    notDestinationIps: [],
    destinationPorts: [8080],
    notDestinationPorts: [],
  }]]],
};

export function options(clock: FakeClock): InstanceOptions {
  const listen = (port: number, redirected: boolean) => ({
    at: { ip: ip("127.0.0.1"), port },
    transparent: "try",
    redirected,
  } as const);
  return {
    settings: {
      localWorkloadWaitMs: 5_000,
      info: WEB_INFO,
      network: "",
      clusterDomain: "cluster.local",
      preferredServiceNamespace: undefined,
      searchDomains: [],
      ipv6Enabled: true,
      illegalPorts: new Set([15001, 15006, 15008, 15080]),
      responseBaggage: true,
      from: undefined,
      policyInfoLogging: false,
      quiet: { halfClosedLingerMs: 600_000, idleTimeoutMs: 0 },
      onDemand: false,
      tunnelServer: { clock, settings: { ...HTTP2, concurrentStreamsMax: 200 } },
    },
    listeners: {
      inbound: listen(15008, false),
      plaintext: listen(15006, true),
      outbound: listen(15001, true),
      socks5: listen(15080, false),
    },
    dialer: {},
    pool: { settings: HTTP2, streamsPerConnectionMax: 100, idleReleaseMs: 60_000 },
  };
}

export function onDemand(clock: FakeClock): InstanceOptions {
  const usual = options(clock);
  return { ...usual, settings: { ...usual.settings, onDemand: true } };
}

export class World {
  readonly clock = new FakeClock();
  readonly kernel = new FakeKernel();
  readonly mesh = createMesh({});
  readonly metrics = new Metrics({ nowMs: () => this.clock.monotonicMs() });
  readonly told: ToControl[] = [];
  readonly port;
  /** Namespaces that were let go. */
  groundsGoneCount = 0;
  sharedGarbageBytes = 0;
  #log = "";

  constructor(
    options_: (clock: FakeClock) => InstanceOptions = options,
    taken?: number,
    tls: Tls = noTls,
  ) {
    if (taken !== undefined) this.kernel.takenPorts.add(taken);
    const hub = createLogHub({
      write: (bytes) => this.#log += new TextDecoder().decode(bytes),
      nowMs: () => this.clock.nowMs(),
      filter: "info",
      format: "plain",
    });
    const [control, data] = loopback<ToData, ToControl>();
    this.port = control;
    control.onWord = (word) => void this.told.push(word);
    new DataThread({
      groundOf: () => ({
        kernel: this.kernel,
        options: options_(this.clock),
        [Symbol.dispose]: () => void this.groundsGoneCount++,
      }),
      log: {
        flush: () => hub.flush(),
        taken: () => {},
        setFilter: (filter) => hub.change(filter, true),
      },
      port: data,
      view: this.mesh.view,
      clock: this.clock,
      rng: seededRng(3),
      metrics: this.metrics,
      tls,
      revocations: new Revocations({ clock: this.clock, onRevoked: () => {} }),
      onSharedGarbage: (bytesCount) => this.sharedGarbageBytes += bytesCount,
      scope: (name) => hub.scope(name),
      isSpokesman: true,
    });
    control.post({ tell: "open", instance: 1, spec: { kind: "dedicated", info: WEB_INFO } });
  }

  get warnings(): string[] {
    return this.#log.split("\n").filter((line) => line.includes("\twarn\tproxy\t"));
  }

  get lines(): string[] {
    return this.#log.split("\n").filter((line) => line.includes("\taccess\t"));
  }

  commit(): void {
    const { epoch, policiesChanged, touched } = this.mesh.writer.commit();
    this.port.post({ tell: "mesh", epoch, policiesChanged, workloadsChanged: touched.length > 0 });
  }

  async start(): Promise<this> {
    const { writer } = this.mesh;
    writer.upsertWorkload(workload("web", { ips: ["10.1.0.5"] }));
    writer.upsertWorkload(
      workload("plain", {
        ips: ["10.1.0.9"],
        protocol: "TCP",
        services: { "shop/plain.shop.svc.cluster.local": ports([80, 8080]) },
      }),
    );
    writer.upsertService(
      service("plain.shop.svc.cluster.local", { vips: ["10.96.0.20"], ports: ports([80, 8080]) }),
    );
    this.commit();
    this.port.post({ tell: "start" });
    await this.clock.advance(0);
    return this;
  }

  async sum(sample: string, ...having: string[]): Promise<number> {
    let text = "";
    for await (const piece of this.metrics.expose("openmetrics", () => Promise.resolve())) {
      text += piece;
    }
    return text.split("\n").filter((line) =>
      line.startsWith(`${sample}{`) && having.every((part) => line.includes(part))
    ).reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
  }
}

export const bytes = (text: string) => new TextEncoder().encode(text);

export async function readText(stream: ByteStream): Promise<string> {
  let text = "";
  for (let chunk = await stream.read(); chunk !== null; chunk = await stream.read()) {
    text += new TextDecoder().decode(chunk);
  }
  return text;
}
