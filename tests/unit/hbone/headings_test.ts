import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { type Baggage, Headings } from "#hbone";
import { realRng } from "#system";

const WEB: Baggage = {
  clusterId: "cluster-a",
  namespace: "shop",
  workloadName: "web",
  workloadType: "deployment",
  serviceName: "web",
  revision: "v1",
  region: "eu",
  zone: "eu-1",
};
const of = (name: string, ...lines: string[]) => new Map([[name, lines]]);

const WRITTEN: readonly (readonly [string, Baggage, string])[] = [
  [
    "everything, in order (behaviour.md C.1)",
    WEB,
    "k8s.cluster.name=cluster-a,k8s.namespace.name=shop,k8s.deployment.name=web,service.name=web," +
    "service.version=v1,cloud.region=eu,cloud.availability_zone=eu-1",
  ],
  ["nothing", {}, ""],
  ["no empty item", { namespace: "shop", region: "" }, "k8s.namespace.name=shop"],
  ["a job", { workloadName: "j", workloadType: "job" }, "k8s.job.name=j"],
  ["no type that would smuggle an item", {
    workloadName: "w",
    workloadType: "x=1,cloud.region",
  }, "k8s.deployment.name=w"],
  ["no type that no header may carry", {
    workloadName: "w",
    workloadType: "a\r\nb",
  }, "k8s.deployment.name=w"],
  [
    "no item that would smuggle another",
    { serviceName: "a,cloud.region=x", zone: "z" },
    "cloud.availability_zone=z",
  ],
  [
    "no item that no header may carry",
    { serviceName: "naïve", namespace: "a\nb", zone: "z" },
    "cloud.availability_zone=z",
  ],
];
for (const [what, baggage, text] of WRITTEN) {
  Deno.test(`Headings.baggage() writes ${what}`, () => {
    assertEquals(Headings.baggage(baggage), text);
  });
}

const READ: readonly (readonly [string, readonly string[], Baggage])[] = [
  ["its own writing", [Headings.baggage(WEB)], WEB],
  [
    "a job, and an empty value as absent (C.8)",
    ["k8s.namespace.name=shop,k8s.job.name=j,service.name="],
    { namespace: "shop", workloadName: "j", workloadType: "job" },
  ],
  ["two lines, later keys override (C.8)", ["service.name=a,cloud.region=r", "service.name=b"], {
    serviceName: "b",
    region: "r",
  }],
  ["a word without value as nothing (C.8)", ["novalue,service.name=a"], { serviceName: "a" }],
  ["unknown keys as nothing", ["x=y,constructor=z,__proto__=q"], {}],
  ["spaces around items", [" service.name = a , cloud.zone=x"], { serviceName: "a" }],
  ["only the first two parts of an item", ["service.name=a=b"], { serviceName: "a" }],
  ["nothing from a line that is not ASCII", ["service.name=a,cloud.region=é"], {}],
  ["nothing from nothing", [], {}],
  ["nothing from commas", [",,=,=="], {}],
];
for (const [what, lines, baggage] of READ) {
  Deno.test(`Headings.parseBaggage() reads ${what}`, () => {
    assertEquals(Headings.parseBaggage(of("baggage", ...lines)), baggage);
  });
}

const FORWARDED: readonly (readonly [string, string | undefined])[] = [
  ['for="1.2.3.4:5";host=a.b', "a.b"],
  ['host="a.b"', "a.b"],
  ["host=", undefined],
  ['host=""', undefined],
  ["for=x", undefined],
  [" host=a ; for=b", "a"],
  ["host=naïve", undefined],
  ["", undefined],
  [";;;", undefined],
  ["HOST=a", undefined],
];
for (const [line, host] of FORWARDED) {
  Deno.test(`Headings.parseForwardedHost() finds ${host} in ${JSON.stringify(line)}`, () => {
    assertEquals(Headings.parseForwardedHost(of("forwarded", line)), host);
  });
}

Deno.test("Headings.forwarded() writes the client quoted and the service's host bare", () => {
  assertEquals(
    Headings.forwarded("10.1.0.5:40000", "cart.shop.svc.cluster.local"),
    'for="10.1.0.5:40000";host=cart.shop.svc.cluster.local',
  );
  assertEquals(Headings.forwarded("[::1]:80"), 'for="[::1]:80"');
});

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const TRACEPARENTS: readonly (readonly [string, string | undefined])[] = [
  [`00-${TRACE}-00f067aa0ba902b7-00`, TRACE],
  [`00-${TRACE}-00f067aa0ba902b7-01`, TRACE],
  [`00-${TRACE}-00f067aa0ba902b7-0`, undefined],
  [`00-${TRACE}-00f067aa0ba902b7-000`, undefined],
  [`00-${TRACE}-00f067aa0ba902bg-00`, undefined],
  [`00-${TRACE}_00f067aa0ba902b7-00`, undefined],
  ["", undefined],
];
for (const [line, id] of TRACEPARENTS) {
  Deno.test(`Headings.parseTraceId() finds ${id === undefined ? "none" : "it"} in "${line}"`, () => {
    assertEquals(Headings.parseTraceId(of("traceparent", line)), id);
  });
}

Deno.test("Headings.traceparent() writes what parseTraceId() reads", () => {
  const line = Headings.traceparent(TRACE, "00f067aa0ba902b7");
  assertEquals(line, `00-${TRACE}-00f067aa0ba902b7-00`);
  assertEquals(Headings.parseTraceId(of("traceparent", line)), TRACE);
});

Deno.test("Headings reads any text without throwing", () => {
  for (let round = 0; round < 2_000; round++) {
    const text = String.fromCharCode(...realRng.bytes(realRng.below(80)));
    const pieces = ["host=", "service.name=", '"', ",", ";", "=", text];
    const line = Array.from({ length: 6 }, () => pieces[realRng.below(pieces.length)]).join("");
    for (const value of Object.values(Headings.parseBaggage(of("baggage", line)))) {
      assertEquals(value === "", false);
    }
    assertEquals(Headings.parseForwardedHost(of("forwarded", line)) === "", false);
    assertEquals(Headings.parseTraceId(of("traceparent", line)), undefined);
  }
});
