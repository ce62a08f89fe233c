import { deepStrictEqual } from "node:assert/strict";
import type { Mesh, Policy, Service, Workload } from "#mesh";
import { createMesh } from "#mesh";
import { seededRng } from "#system";
import { cidr, ip, meshOf, policy, service, workload } from "./builders.ts";

/** Everything that a view tells, without what depends on the order of arrival. */
function told({ view }: Mesh): unknown {
  const sorted = (texts: Iterable<string>) => [...texts].sort();
  return {
    workloads: view.workloads(),
    services: view.services().map((each) => [
      each,
      sorted([...view.endpointsOf(each)].map((endpoint) => JSON.stringify(endpoint))),
      each.vips.map((vip) => view.serviceAt(vip.network, vip.ip)?.vips.length),
      each.cidrVips.map((vip) => view.serviceAt(vip.network, vip.cidr.base) !== undefined),
    ]),
    policies: view.policies(),
    applied: view.workloads().map((each) => sorted(view.policiesFor(each).map(({ key }) => key))),
    missing: view.workloads().map((each) => view.missingPoliciesOf(each)),
    found: Array.from(
      { length: 8 },
      (_, i) => [
        view.workloadAt("", ip(`10.1.0.${i}`)) !== undefined,
        view.serviceAt("", ip(`10.96.0.${i}`)) !== undefined,
        view.serviceAt("", ip(`10.97.${i}.1`)) !== undefined,
      ],
    ),
    staged: sorted(
      [...view.stagedEndpoints()].map(([key, waiting]) => `${key}: ${sorted(waiting.keys())}`),
    ),
  };
}

Deno.test("a mesh with any history tells the same as one that was filled with its end", () => {
  const seed = Number(Deno.env.get("SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0]);
  const rng = seededRng(seed);
  const pick = <T>(values: readonly T[]): T => values[rng.below(values.length)]!;
  const randomWorkload = (): Workload =>
    workload(`w${rng.below(6)}`, {
      workloadIps: [ip(`10.1.0.${rng.below(8)}`)],
      status: pick(["Healthy", "Unhealthy"]),
      networkMode: pick(["Standard", "Standard", "HostNetwork"]),
      namespace: pick(["shop", "vault"]),
      authorizationPolicies: rng.below(2) === 0 ? [] : [`shop/p${rng.below(4)}`],
      services: rng.below(3) === 0
        ? new Map()
        : new Map([[`shop/s${rng.below(4)}`, new Map([[80, rng.below(3)]])]]),
    });
  const randomService = (): Service =>
    service(`s${rng.below(4)}`, {
      vips: [{ network: "", ip: ip(`10.96.0.${rng.below(8)}`) }],
      cidrVips: [{ network: "", cidr: cidr(`10.97.${rng.below(8)}.0/${pick([24, 23, 22])}`) }],
      loadBalancer: {
        mode: "Standard",
        routingPreferences: [],
        healthPolicy: pick(["AllowAll", "OnlyHealthy"]),
      },
    });
  const randomPolicy = (): Policy =>
    policy(`shop/p${rng.below(4)}`, {
      scope: pick(["Global", "Namespace", "WorkloadSelector"]),
      action: pick(["Allow", "Deny"]),
    });

  const mesh = createMesh({});
  for (let batch = 0; batch < 300; batch++) {
    for (let writes = rng.below(5); writes > 0; writes--) {
      const act = rng.below(20);
      if (act < 7) mesh.writer.upsertWorkload(randomWorkload());
      else if (act < 11) mesh.writer.upsertService(randomService());
      else if (act < 14) mesh.writer.upsertPolicy(randomPolicy());
      else if (act < 16) mesh.writer.removeAddress(`w${rng.below(6)}`);
      else if (act < 17) mesh.writer.removeAddress(`shop/s${rng.below(4)}`);
      else if (act < 19) mesh.writer.removePolicy(`shop/p${rng.below(4)}`);
      else if (rng.below(5) === 0) mesh.writer.clear();
    }
    mesh.writer.commit();
    const { view } = mesh;
    const fresh = meshOf({
      workloads: view.workloads(),
      services: view.services(),
      policies: view.policies(),
    });
    deepStrictEqual(told(mesh), told(fresh), `SEED=${seed}, batch ${batch}`);
  }
});
