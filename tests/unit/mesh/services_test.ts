import { deepStrictEqual, strictEqual } from "node:assert/strict";
import type { Service } from "#mesh";
import { cidr, ip, meshOf, service, workload } from "./builders.ts";

const VIP = ip("10.96.0.20");
const vips = [{ network: "", ip: VIP }];
const range = (text: string, network = "") => ({ cidrVips: [{ network, cidr: cidr(text) }] });
const named = (namespace: string, fields: Partial<Service> = {}) =>
  service(`${namespace}.example.org`, { namespace, ...fields });
const hidden = { visibility: "Namespace" } as const;

for (
  const [name, services, asker, expected] of [
    ["the first without any preference", [["a", {}], ["b", {}]], "x", "a"],
    ["the first without an asker", [["a", {}], ["b", {}]], undefined, "a"],
    ["the asker's own", [["a", { canonical: true }], ["b", {}]], "b", "b"],
    ["a canonical one", [["a", {}], ["b", { canonical: true }]], "x", "b"],
    ["the last canonical one", [["a", { canonical: true }], ["b", { canonical: true }]], "x", "b"],
    ["a visible one", [["a", hidden], ["b", {}]], "x", "b"],
    ["a hidden one in its namespace", [["a", hidden], ["b", {}]], "a", "a"],
    ["everything without an asker", [["a", hidden], ["b", {}]], undefined, "a"],
    ["nothing hidden", [["a", hidden], ["b", hidden]], "x", undefined],
    ["nothing hidden, alone", [["a", hidden]], "x", undefined],
  ] as const
) {
  Deno.test(`serviceAt() chooses ${name} among those of one VIP`, () => {
    const { view } = meshOf({
      services: services.map(([namespace, fields]) => named(namespace, { vips, ...fields })),
    });
    strictEqual(view.serviceAt("", VIP, asker)?.namespace, expected);
  });
  Deno.test(`serviceNamed() chooses ${name} among those of one hostname`, () => {
    const { view } = meshOf({
      services: services.map(([namespace, fields]) =>
        service("api.example.org", { namespace, ...fields })
      ),
    });
    strictEqual(view.serviceNamed("api.example.org", asker)?.namespace, expected);
  });
}

for (
  const [name, services, asked, asker, expected] of [
    ["the range that contains it", [["a", range("10.97.0.0/24")]], "10.97.0.7", "x", "a"],
    ["a range with host bits", [["a", range("10.97.0.9/24")]], "10.97.0.7", "x", "a"],
    ["no range beside it", [["a", range("10.97.0.0/24")]], "10.97.1.7", "x", undefined],
    [
      "the longest prefix",
      [["a", range("10.0.0.0/8")], ["b", range("10.97.0.0/24")], ["c", range("10.97.0.0/16")]],
      "10.97.0.7",
      "x",
      "b",
    ],
    ["an IPv6 range", [["a", range("fd00:1::/33")]], "fd00:1:7fff::1", "x", "a"],
    ["no IPv6 range beside it", [["a", range("fd00:1::/33")]], "fd00:1:8000::1", "x", undefined],
    ["no range of the other family", [["a", range("::/0")]], "10.97.0.7", "x", undefined],
    ["0.0.0.0/0", [["a", range("0.0.0.0/0")]], "10.97.0.7", "x", "a"],
    ["a /32 range", [["a", range("10.97.0.7/32")]], "10.97.0.7", "x", "a"],
    ["no range of another network", [["a", range("10.0.0.0/8", "e")]], "10.1.0.1", "x", undefined],
    [
      "the asker's namespace before a longer prefix",
      [["a", range("10.97.0.0/24")], ["b", range("10.0.0.0/8")]],
      "10.97.0.7",
      "b",
      "b",
    ],
    [
      "a longer prefix before a canonical one",
      [["a", { ...range("10.0.0.0/8"), canonical: true }], ["b", range("10.97.0.0/24")]],
      "10.97.0.7",
      "x",
      "b",
    ],
    [
      "a canonical one of equal prefixes",
      [["a", range("10.97.0.0/24")], ["b", { ...range("10.97.0.0/24"), canonical: true }]],
      "10.97.0.7",
      "x",
      "b",
    ],
    [
      "the first of equals",
      [["a", range("10.97.0.0/24")], ["b", range("10.97.0.0/24")]],
      "10.97.0.7",
      "x",
      "a",
    ],
    [
      "a visible one although shorter",
      [["a", { ...range("10.97.0.0/24"), ...hidden }], ["b", range("10.0.0.0/8")]],
      "10.97.0.7",
      "x",
      "b",
    ],
    [
      "an exact VIP before a range of the asker's namespace",
      [["a", { vips }], ["b", range("10.96.0.20/32")]],
      VIP,
      "b",
      "a",
    ],
    [
      "a range when the exact VIP is hidden",
      [["a", { vips, ...hidden }], ["b", range("10.96.0.0/16")]],
      VIP,
      "x",
      "b",
    ],
  ] as const
) {
  Deno.test(`serviceAt() takes ${name}`, () => {
    const { view } = meshOf({
      services: services.map(([namespace, fields]) => named(namespace, fields)),
    });
    strictEqual(view.serviceAt("", ip(asked), asker)?.namespace, expected);
  });
}

Deno.test("serviceAt() finds both families of a dual-stack service, in its network", () => {
  const both = [{ network: "east", ip: VIP }, { network: "east", ip: ip("fd00:96::20") }];
  const { view } = meshOf({ services: [named("a", { vips: both })] });
  for (const vip of both) strictEqual(view.serviceAt("east", vip.ip)?.namespace, "a");
  strictEqual(view.serviceAt("", VIP), undefined);
});

Deno.test("serviceAt() has the later service of a namespace, and the earlier again without it", () => {
  const mesh = meshOf({
    services: [
      service("one.example.org", { vips }),
      named("other", { vips }),
      service("two.example.org", { vips }),
    ],
  });
  strictEqual(mesh.view.serviceAt("", VIP, "shop")?.hostname, "two.example.org");
  mesh.writer.removeAddress("shop/two.example.org");
  mesh.writer.commit();
  strictEqual(mesh.view.serviceAt("", VIP, "shop")?.hostname, "one.example.org");
  strictEqual(mesh.view.serviceAt("", VIP, "x")?.hostname, "one.example.org");
});

Deno.test("upsertService() leaves nothing of the previous VIPs and ranges, and keeps its place", () => {
  const old = service("a.example.org", {
    vips: [{ network: "", ip: VIP }, { network: "", ip: ip("10.96.0.21") }],
    cidrVips: [{ network: "", cidr: cidr("10.97.0.0/24") }, {
      network: "",
      cidr: cidr("10.98.0.0/24"),
    }],
  });
  const mesh = meshOf({ services: [old, named("b", { vips, ...range("10.98.0.0/24") })] });
  const renewed = service("a.example.org", {
    vips: [{ network: "", ip: VIP }, { network: "", ip: ip("10.96.0.22") }],
    cidrVips: [{ network: "", cidr: cidr("10.98.0.0/24") }, {
      network: "",
      cidr: cidr("10.99.0.0/24"),
    }],
    subjectAltNames: ["new"],
  });
  mesh.writer.upsertService(renewed);
  mesh.writer.commit();
  const found = (text: string) => mesh.view.serviceAt("", ip(text), "x");
  deepStrictEqual(found("10.96.0.20"), renewed);
  strictEqual(found("10.96.0.21"), undefined);
  deepStrictEqual(found("10.96.0.22"), renewed);
  strictEqual(found("10.97.0.1"), undefined);
  deepStrictEqual(found("10.98.0.1"), renewed);
  deepStrictEqual(found("10.99.0.1"), renewed);
  mesh.writer.removeAddress("shop/a.example.org");
  mesh.writer.commit();
  strictEqual(found("10.96.0.20")?.namespace, "b");
  strictEqual(found("10.98.0.1")?.namespace, "b");
  strictEqual(found("10.99.0.1"), undefined);
  strictEqual(mesh.view.serviceNamed("a.example.org"), undefined);
});

Deno.test("servicesNamed() shows all in insertion order, an update in its old place", () => {
  const host = (namespace: string, canonical = false) =>
    service("api.example.org", { namespace, canonical });
  const mesh = meshOf({ services: [host("c"), host("a"), host("b")] });
  mesh.writer.upsertService(host("a", true));
  mesh.writer.commit();
  deepStrictEqual(
    mesh.view.servicesNamed("api.example.org").map((each) => [each.namespace, each.canonical]),
    [["c", false], ["a", true], ["b", false]],
  );
  deepStrictEqual(mesh.view.servicesNamed("none.example.org"), []);
});

Deno.test("services() are in the order of hostnames, then of insertion", () => {
  const { view } = meshOf({
    services: [
      service("b.org"),
      service("a.org", { namespace: "z" }),
      service("a.org", { namespace: "y" }),
    ],
  });
  deepStrictEqual(view.services().map((each) => `${each.namespace}/${each.hostname}`), [
    "z/a.org",
    "y/a.org",
    "shop/b.org",
  ]);
});

Deno.test("named() is the service, else the workload of hostname and namespace", () => {
  const api = service("api.example.org");
  const { view } = meshOf({
    services: [api],
    workloads: [
      workload("u1", { hostname: "api.example.org" }),
      workload("u2", { hostname: "vm.example.org" }),
    ],
  });
  deepStrictEqual(view.named("shop", "api.example.org"), { service: api });
  deepStrictEqual(view.named("shop", "vm.example.org"), { workload: view.workload("u2") });
  strictEqual(view.named("other", "vm.example.org"), undefined);
  strictEqual(view.named("other", "api.example.org"), undefined);
  strictEqual(view.named("shop", ""), undefined);
});
