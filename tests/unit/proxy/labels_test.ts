import { deepStrictEqual, notStrictEqual, strictEqual } from "node:assert/strict";
import { FAMILIES } from "#metrics";
import { labelsOfPair, type Traffic, trafficLabels, withFlag } from "../../../lib/proxy/labels.ts";
import { identity, ports, service, workload } from "../route/world.ts";

const web = workload("web-6c", {
  workloadName: "web",
  canonicalName: "web",
  serviceAccount: "web",
});
const cart = workload("cart-7d", {
  workloadName: "cart",
  canonicalName: "cart",
  canonicalRevision: "v2",
  serviceAccount: "cart",
  locality: { region: "", zone: "", subzone: "" },
});
const cartService = service("cart.shop.svc.cluster.local", { ports: ports([80, 8080]) });

Deno.test("trafficLabels() gives the sample of behaviour.md C.1, in the family's order", () => {
  const labels = trafficLabels({
    reporter: "source",
    source: { workload: web, principal: identity("web") },
    destination: { workload: cart, principal: identity("cart") },
    service: cartService,
    mutualTls: true,
  });
  const names = FAMILIES.istio_tcp_received_bytes.labels;
  strictEqual(labels.length, names.length);
  deepStrictEqual(Object.fromEntries(names.map((name, index) => [name, labels[index]])), {
    reporter: "source",
    source_workload: "web",
    source_canonical_service: "web",
    source_canonical_revision: "v1",
    source_workload_namespace: "shop",
    source_principal: "spiffe://cluster.local/ns/shop/sa/web",
    source_app: "web",
    source_version: "v1",
    source_cluster: "cluster-a",
    destination_service: "cart.shop.svc.cluster.local",
    destination_service_namespace: "shop",
    destination_service_name: "cart",
    destination_workload: "cart",
    destination_canonical_service: "cart",
    destination_canonical_revision: "v2",
    destination_workload_namespace: "shop",
    destination_principal: "spiffe://cluster.local/ns/shop/sa/cart",
    destination_app: "cart",
    destination_version: "v2",
    destination_cluster: "cluster-a",
    request_protocol: "tcp",
    response_flags: "-",
    connection_security_policy: "mutual_tls",
    source_region: "eu",
    source_zone: "eu-1",
    destination_region: "unknown",
    destination_zone: "unknown",
  });
  strictEqual(withFlag(labels, "DENY")[names.indexOf("response_flags")], "DENY");
});

Deno.test("trafficLabels() takes baggage for an unknown source, its app being the workload's name", () => {
  const names = FAMILIES.istio_tcp_received_bytes.labels;
  const of = (labels: readonly string[], name: string) => labels[names.indexOf(name as never)];
  const baggage = {
    clusterId: "west",
    namespace: "remote",
    workloadName: "job-1",
    serviceName: "jobs",
    revision: "v9",
    region: "us",
    zone: "us-1",
  };
  const traffic = {
    reporter: "destination",
    destination: { workload: cart, principal: identity("cart") },
    service: undefined,
    mutualTls: true,
  } as const;
  const derived = trafficLabels({
    ...traffic,
    source: { workload: undefined, baggage, principal: identity("jobs") },
  });
  strictEqual(of(derived, "source_workload"), "job-1");
  strictEqual(of(derived, "source_canonical_service"), "jobs");
  strictEqual(of(derived, "source_app"), "job-1");
  strictEqual(of(derived, "source_version"), "v9");
  strictEqual(of(derived, "source_cluster"), "west");
  strictEqual(of(derived, "source_region"), "us");
  strictEqual(of(derived, "destination_service"), "unknown");
  const known = trafficLabels({
    ...traffic,
    source: { workload: web, baggage, principal: identity("web") },
  });
  strictEqual(of(known, "source_workload"), "web");
  strictEqual(of(known, "source_cluster"), "cluster-a", "the record wins, whole");
  const nobody = trafficLabels({
    ...traffic,
    source: { workload: undefined, baggage: {}, principal: undefined },
  });
  strictEqual(of(nobody, "source_workload"), "unknown");
  strictEqual(of(nobody, "source_principal"), "unknown");
});

Deno.test("labelsOfPair() gives a pair that talks again the same labels, and no other pair's", () => {
  const traffic: Traffic = {
    reporter: "source",
    source: { workload: web, principal: identity("web") },
    destination: { workload: cart, principal: identity("cart") },
    service: cartService,
    mutualTls: true,
  };
  const first = labelsOfPair(traffic);
  strictEqual(labelsOfPair({ ...traffic, source: { ...traffic.source } }), first);
  const others: Traffic[] = [
    { ...traffic, reporter: "destination" },
    { ...traffic, service: undefined },
    { ...traffic, mutualTls: false },
    { ...traffic, source: { workload: web, principal: undefined } },
    { ...traffic, destination: { workload: cart, principal: undefined } },
    { ...traffic, destination: { workload: web, principal: identity("cart") } },
    // As after an update: another object, whatever it says.
    {
      ...traffic,
      source: { workload: { ...web, clusterId: "moved" }, principal: identity("web") },
    },
    { ...traffic, source: { workload: undefined, principal: identity("web") } },
    traffic,
  ];
  for (const other of others) deepStrictEqual([...labelsOfPair(other)], trafficLabels(other));
  for (let pod = 0; pod < 3_000; pod++) {
    labelsOfPair({ ...traffic, source: { workload: { ...web }, principal: identity("web") } });
  }
  notStrictEqual(labelsOfPair(traffic), first, "what is remembered is bounded");
  deepStrictEqual([...labelsOfPair(traffic)], trafficLabels(traffic));
});
