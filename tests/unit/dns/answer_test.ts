import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { answerName, type NameAsk, resolveName } from "#dns";
import type { MeshView } from "#mesh";
import { seededRng } from "#system";
import { cartService, ip, meshOf, ports, service, web, workload } from "../route/world.ts";

const HEADLESS = "hl.shop.svc.cluster.local";

/** The services of behaviour.md C.5, and some that its table does not need. */
const view = meshOf(
  cartService(),
  service("api.web.svc.cluster.local", { vips: ["10.96.0.30"] }),
  service("www.example.com", { vips: ["240.240.0.1"] }),
  service("*.example.org", { vips: ["240.240.0.2"] }),
  service("*.deep.example.org", { vips: ["240.240.0.3"] }),
  service("fixed.example.org", { vips: ["240.240.0.4"] }),
  service(HEADLESS),
  service("db.example.net"),
  service("priv.web.svc.cluster.local", { vips: ["10.96.0.31"], visibility: "Namespace" }),
  service("mine.shop.svc.cluster.local", { vips: ["10.96.0.32"], visibility: "Namespace" }),
  service("dual.shop.svc.cluster.local", { vips: ["10.96.0.33", "fd00::33"] }),
  service("four.shop.svc.cluster.local", {
    vips: ["10.96.0.34", "fd00::34"],
    ipFamilies: "IPv4",
  }),
  service("six.shop.svc.cluster.local", { vips: ["10.96.0.35", "fd00::35"], ipFamilies: "IPv6" }),
  service("only6.shop.svc.cluster.local", { vips: ["fd00::36"] }),
  service("nets.shop.svc.cluster.local", { vips: ["10.96.0.37", "west/10.97.0.37"] }),
  service("far.shop.svc.cluster.local", { vips: ["west/10.97.0.38"] }),
  service("lonely.shop.svc.cluster.local"),
  service("cart.shop.svc.remote.example", { namespace: "shop", vips: ["10.96.0.39"] }),
  workload("hl-1", {
    ips: ["10.1.0.9", "fd00::9"],
    services: { [`shop/${HEADLESS}`]: ports() },
  }),
);

function brief(asked: MeshView, name: string, ask: Partial<NameAsk> = {}): string {
  const answer = answerName(
    asked,
    { name, type: "A", client: web, clusterDomain: "cluster.local", ...ask },
    seededRng(1),
  );
  if (answer.kind === "not_ours") return "forward";
  if (answer.kind === "empty") return answer.reason;
  const cname = answer.cname === undefined ? "" : `CNAME ${answer.cname} `;
  return `${cname}${[...answer.ips].sort().join(" ")}`;
}

const NO_TYPE = "service does not support this record type";

/** [type, name, answer] (behaviour.md C.5, 16.3) */
const LOOKUPS: readonly [string, string, string][] = [
  ["A", "cart", "10.96.0.20"],
  ["A", "cart.shop", "10.96.0.20"],
  ["A", "cart.shop.svc", "10.96.0.20"],
  ["A", "cart.shop.svc.cluster.local", "10.96.0.20"],
  ["A", "cart.shop.svc.cluster.local.", "10.96.0.20"],
  ["A", "CaRt.Shop", "10.96.0.20"],
  ["A", "api", "forward"],
  ["A", "api.web", "10.96.0.30"],
  ["A", "api.web.svc", "10.96.0.30"],
  ["A", "api.web.svc.cluster.local", "10.96.0.30"],
  ["A", "api.web.shop.svc.cluster.local", "CNAME api.web 10.96.0.30"],
  [
    "A",
    "api.web.svc.cluster.local.shop.svc.cluster.local",
    "CNAME api.web.svc.cluster.local 10.96.0.30",
  ],
  ["A", "api.web.cluster.local", "CNAME api.web 10.96.0.30"],
  ["A", "cart.svc.cluster.local", "CNAME cart 10.96.0.20"],
  ["A", "cart.cluster.local", "CNAME cart 10.96.0.20"],
  ["A", "www.example.com", "240.240.0.1"],
  ["A", "www.example.com.", "240.240.0.1"],
  ["A", "www.example.com.shop.svc.cluster.local", "CNAME www.example.com 240.240.0.1"],
  ["A", "www.example.com.svc.cluster.local", "CNAME www.example.com 240.240.0.1"],
  ["A", "www.example.com.cluster.local", "CNAME www.example.com 240.240.0.1"],
  ["A", "www.example.com.web.svc.cluster.local", "forward"],
  ["A", "example.com", "forward"],
  ["A", "x.example.org", "240.240.0.2"],
  ["A", "x.y.example.org", "240.240.0.2"],
  ["A", "x.deep.example.org", "240.240.0.3"],
  ["A", "fixed.example.org", "240.240.0.4"],
  ["A", "x.fixed.example.org", "240.240.0.2"],
  ["A", "*.example.org", "240.240.0.2"],
  ["A", "example.org", "forward"],
  ["A", "xexample.org", "forward"],
  ["A", "x.example.org.shop.svc.cluster.local", "240.240.0.2"],
  ["A", "fixed.example.org.shop.svc.cluster.local", "CNAME fixed.example.org 240.240.0.4"],
  ["AAAA", "cart", "no records"],
  ["AAAA", "x.example.org", "no records"],
  ["A", "hl", "10.1.0.9"],
  ["AAAA", "hl", "fd00::9"],
  ["A", "lonely", "no records"],
  ["A", "db.example.net", "forward"],
  ["A", "priv.web", "forward"],
  ["A", "priv.web.svc.cluster.local", "forward"],
  ["A", "mine", "10.96.0.32"],
  ["A", "dual", "10.96.0.33"],
  ["AAAA", "dual", "fd00::33"],
  ["A", "four", "10.96.0.34"],
  ["AAAA", "four", NO_TYPE],
  ["A", "six", NO_TYPE],
  ["AAAA", "six", "fd00::35"],
  ["A", "only6", "no records"],
  ["AAAA", "only6", "fd00::36"],
  ["A", "nets", "10.96.0.37"],
  ["A", "far", "no records"],
  ["A", "cart.shop.svc.remote.example", "10.96.0.39"],
  ["MX", "cart", "forward"],
  ["TXT", "cart.shop.svc.cluster.local", "forward"],
  ["A", "", "forward"],
  ["A", ".", "forward"],
  ["A", "..", "forward"],
  ["A", ".shop.svc.cluster.local", "forward"],
  ["A", "shop.svc.cluster.local", "forward"],
  ["A", "local", "forward"],
  ["A", "a.".repeat(120) + "example.org", "240.240.0.2"],
  ["A", "a.".repeat(200) + "example.org", "forward"],
];

for (const [type, name, expected] of LOOKUPS) {
  const shown = name.length > 80 ? `${name.slice(0, 20)}… (${name.length} characters)` : name;
  Deno.test(`answerName() for ${type} "${shown}"`, () => {
    strictEqual(brief(view, name, { type }), expected);
  });
}

Deno.test("answerName() says that IPv6 is off only for names that are ours", () => {
  const off = { type: "AAAA", ipv6Enabled: false };
  strictEqual(brief(view, "dual", off), NO_TYPE);
  strictEqual(brief(view, "nobody.example.com", off), "forward");
  strictEqual(brief(view, "dual", { ...off, type: "A" }), "10.96.0.33");
});

Deno.test("answerName() answers by the client's namespace and network", () => {
  const asked = (name: string, client: Parameters<typeof workload>[1]) =>
    brief(view, name, { client: workload("client", client) });
  strictEqual(asked("api", { namespace: "web" }), "10.96.0.30");
  strictEqual(asked("priv", { namespace: "web" }), "10.96.0.31");
  strictEqual(asked("cart", { namespace: "web" }), "forward");
  strictEqual(asked("nets", { network: "west" }), "10.97.0.37");
  strictEqual(asked("far", { network: "west" }), "10.97.0.38");
});

Deno.test("answerName() uses the given search domains instead of the cluster's", () => {
  const ask = { searchDomains: ["Corp.example", "svc.cluster.local"] };
  strictEqual(
    brief(view, "www.example.com.corp.example", ask),
    "CNAME www.example.com 240.240.0.1",
  );
  strictEqual(brief(view, "www.example.com.shop.svc.cluster.local", ask), "forward");
  strictEqual(brief(view, "corp.example", ask), "forward");
});

Deno.test("answerName() expands by the configured cluster domain", () => {
  const remote = { clusterDomain: "remote.example" };
  strictEqual(brief(view, "cart.shop.svc", remote), "10.96.0.39");
  strictEqual(brief(view, "api.web", remote), "forward");
});

/** [services of the same name: namespace, canonical, VIP], preferred namespace, who answers */
const CHOICES: readonly [readonly [string, boolean, string][], string | undefined, string][] = [
  [[["a", false, "1.1.1.1"], ["shop", false, "1.1.1.2"], ["b", true, "1.1.1.3"]], "a", "1.1.1.2"],
  [[["a", true, "1.1.1.1"], ["b", true, "1.1.1.2"], ["c", false, "1.1.1.3"]], "c", "1.1.1.2"],
  [[["a", false, "1.1.1.1"], ["b", false, "1.1.1.2"]], "b", "1.1.1.2"],
  [[["a", false, "1.1.1.1"], ["b", false, "1.1.1.2"]], "other", "1.1.1.1"],
  [[["a", false, "1.1.1.1"], ["b", false, "1.1.1.2"]], undefined, "1.1.1.1"],
];

for (const [candidates, preferredNamespace, expected] of CHOICES) {
  const shown = candidates.map(([namespace, canonical]) => `${namespace}${canonical ? "!" : ""}`);
  Deno.test(`answerName() chooses among ${shown} preferring ${preferredNamespace}`, () => {
    const shared = meshOf(
      ...candidates.map(([namespace, canonical, vip]) =>
        service("shared.example.com", { namespace, canonical, vips: [vip] })
      ),
    );
    const ask = preferredNamespace === undefined ? {} : { preferredNamespace };
    strictEqual(brief(shared, "shared.example.com", ask), expected);
  });
}

Deno.test("answerName() skips a candidate that cannot answer for one that can", () => {
  const shared = meshOf(
    service("shared.example.com", { namespace: "shop" }),
    service("shared.example.com", { namespace: "web", vips: ["1.1.1.1"] }),
  );
  strictEqual(brief(shared, "shared.example.com"), "1.1.1.1");
});

Deno.test("answerName() shuffles, and gives every address a TTL of 30 s", () => {
  const vips = ["10.96.1.1", "10.96.1.2", "10.96.1.3", "10.96.1.4"];
  const many = meshOf(service("many.shop.svc.cluster.local", { vips }));
  const rng = seededRng(3);
  const orders = new Set<string>();
  for (let i = 0; i < 200; i++) {
    const ask = { name: "many", type: "A", client: web, clusterDomain: "cluster.local" };
    const answer = answerName(many, ask, rng);
    if (answer.kind !== "addresses") throw new Error(`Cannot use ${answer.kind}`);
    strictEqual(answer.ttlSeconds, 30);
    strictEqual(answer.service.name, "many");
    deepStrictEqual([...answer.ips].sort(), vips);
    orders.add(answer.ips.join());
  }
  strictEqual(orders.size, 24);
});

Deno.test("resolveName() gives IPv4 first, IPv6 otherwise, undefined for strangers", () => {
  const resolve = (name: string) =>
    resolveName(view, { name, client: web, clusterDomain: "cluster.local" }, seededRng(1));
  strictEqual(resolve("dual"), ip("10.96.0.33"));
  strictEqual(resolve("only6"), ip("fd00::36"));
  strictEqual(resolve("six"), ip("fd00::35"));
  strictEqual(resolve("nobody.example.com"), undefined);
  strictEqual(resolve("lonely"), undefined);
});
