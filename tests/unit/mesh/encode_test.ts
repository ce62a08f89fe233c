/** Our hand-written records against the generated code of the same messages, byte for byte. */
import { deepStrictEqual } from "node:assert/strict";
import type { GatewayAddress, Policy, PolicyMatch, Service, StringMatch, Workload } from "#mesh";
import { type Rng, seededRng } from "#system";
import { encodePolicy, encodeService, encodeWorkload } from "../../../lib/mesh/encode.ts";
import * as oracle from "../../support/mesh_oracle/encode.ts";
import { cidr, ip, service, workload } from "./builders.ts";

const VALUES_COUNT = 300;

class Chance {
  constructor(private readonly rng: Rng) {}

  of<T>(...values: readonly T[]): T {
    return values[this.rng.below(values.length)]!;
  }
  some<T>(make: () => T): T[] {
    return Array.from({ length: this.rng.below(4) }, make);
  }
  maybe<K extends string, T>(key: K, make: () => T): Partial<Record<K, T>> {
    return this.of(true, false) ? { [key]: make() } as Record<K, T> : {};
  }
  readonly text = () => this.of("", "a", "shop", "ä/ö", "x".repeat(300));
  readonly number = () => this.of(0, 1, 80, 300, 65_535);
  readonly ip = () => this.of(ip("10.0.0.1"), ip("fd00::9"), ip("0.0.0.0"));
  readonly ports = () => new Map(this.some(() => [this.number(), this.number()] as const));
  readonly range = () => this.of(cidr("0.0.0.0/0"), cidr("10.0.0.0/8"), cidr("fd00::/64"));
  readonly gateway = (): GatewayAddress => ({
    destination: this.of(
      { kind: "hostname" as const, namespace: this.text(), hostname: this.text() },
      { kind: "address" as const, network: this.text(), ip: this.ip() },
    ),
    hboneMtlsPort: this.number(),
  });
  readonly match = (): StringMatch =>
    this.of(
      { kind: "Exact", value: this.text() },
      { kind: "Prefix", value: this.text() },
      { kind: "Suffix", value: this.text() },
      { kind: "Presence" },
    );
  readonly account = () => ({ namespace: this.text(), serviceAccount: this.text() });
}

function someWorkload(chance: Chance): Workload {
  return workload(chance.text(), {
    name: chance.text(),
    namespace: chance.text(),
    serviceAccount: chance.text(),
    trustDomain: chance.text(),
    workloadIps: chance.some(chance.ip),
    network: chance.text(),
    hostname: chance.text(),
    node: chance.text(),
    protocol: chance.of("TCP", "HBONE"),
    networkMode: chance.of("Standard", "HostNetwork"),
    nativeTunnel: chance.of(true, false),
    workloadName: chance.text(),
    workloadType: chance.of("deployment", "job", "of our own", ""),
    canonicalName: chance.text(),
    canonicalRevision: chance.text(),
    clusterId: chance.text(),
    locality: { region: chance.text(), zone: chance.text(), subzone: chance.text() },
    authorizationPolicies: chance.some(chance.text),
    status: chance.of("Healthy", "Unhealthy"),
    capacity: chance.number(),
    services: new Map(chance.some(() => [`ns/${chance.text()}` as never, chance.ports()])),
    ...chance.maybe("waypoint", chance.gateway),
    ...chance.maybe("networkGateway", chance.gateway),
    ...chance.maybe("applicationTunnel", () => ({
      protocol: chance.of("NONE" as const, "PROXY" as const),
      ...chance.maybe("port", chance.number),
    })),
  });
}

function someService(chance: Chance): Service {
  return service(chance.text(), {
    name: chance.text(),
    namespace: chance.text(),
    vips: chance.some(() => ({ network: chance.text(), ip: chance.ip() })),
    cidrVips: chance.some(() => ({ network: chance.text(), cidr: chance.range() })),
    ports: chance.ports(),
    subjectAltNames: chance.some(chance.text),
    weightedWaypoints: chance.some(() => ({
      destination: chance.gateway(),
      weight: chance.number(),
    })),
    canonical: chance.of(true, false),
    visibility: chance.of("Public", "Namespace"),
    ...chance.maybe("waypoint", chance.gateway),
    ...chance.maybe(
      "ipFamilies",
      () => chance.of("IPv4" as const, "IPv6" as const, "Dual" as const),
    ),
    ...chance.maybe("loadBalancer", () => ({
      mode: chance.of(
        "Standard" as const,
        "Strict" as const,
        "Failover" as const,
        "Passthrough" as const,
      ),
      routingPreferences: chance.some(() =>
        chance.of("Region" as const, "Node" as const, "Network" as const)
      ),
      healthPolicy: chance.of("AllowAll" as const, "OnlyHealthy" as const),
    })),
  });
}

function somePolicy(chance: Chance): Policy {
  const match = (): PolicyMatch => ({
    namespaces: chance.some(chance.match),
    notNamespaces: chance.some(chance.match),
    principals: chance.some(chance.match),
    notPrincipals: chance.some(chance.match),
    serviceAccounts: chance.some(chance.account),
    notServiceAccounts: chance.some(chance.account),
    sourceIps: chance.some(chance.range),
    notSourceIps: chance.some(chance.range),
    destinationIps: chance.some(chance.range),
    notDestinationIps: chance.some(chance.range),
    destinationPorts: chance.some(chance.number),
    notDestinationPorts: chance.some(chance.number),
  });
  return {
    key: "ns/name",
    name: chance.text(),
    namespace: chance.text(),
    scope: chance.of("Global", "Namespace", "WorkloadSelector"),
    action: chance.of("Allow", "Deny"),
    dryRun: chance.of(true, false),
    rules: chance.some(() => chance.some(() => chance.some(match))),
  };
}

Deno.test("records of typed values are what the generated code writes of them", () => {
  const seed = Number(Deno.env.get("SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0]);
  const chance = new Chance(seededRng(seed));
  for (let each = 0; each < VALUES_COUNT; each++) {
    const values = { w: someWorkload(chance), s: someService(chance), p: somePolicy(chance) };
    const told = `SEED=${seed} value ${each}`;
    deepStrictEqual([...encodeWorkload(values.w)], [...oracle.encodeWorkload(values.w)], told);
    deepStrictEqual([...encodeService(values.s)], [...oracle.encodeService(values.s)], told);
    deepStrictEqual([...encodePolicy(values.p)], [...oracle.encodePolicy(values.p)], told);
  }
});
