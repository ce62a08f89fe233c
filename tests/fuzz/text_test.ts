import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { parseConfig } from "#config";
import { Headings } from "#hbone";
import { createLogHub, InvalidFilter } from "#log";
import { Cidr, Ip, SocketAddress, SpiffeId } from "#values";
import { run } from "../support/fuzz.ts";

const TEXTS = [
  "10.1.0.9:8080",
  "[fd00::1:0:0:ffff]:65535",
  "::ffff:10.0.0.1",
  "fe80::/10",
  "spiffe://cluster.local/ns/shop/sa/web",
  "k8s.cluster.name=c,k8s.pod.name=web-1,service.name=web,cloud.region=r",
  'for="10.0.0.1:1";host="web.shop.svc.cluster.local"',
  "00-0123456789abcdef0123456789abcdef-0123456789abcdef-00",
  "info,access=debug,ztunnel::proxy=off",
  "1m30s*2+5ms",
  "nameserver 10.0.0.10\nsearch a.b c.d\noptions ndots:5 timeout:2\n",
  "proxyMetadata: { A: b }\nconcurrency: 4\n",
  '{"discoveryAddress": "istiod:15012"}',
];

/** Each is total: a value or a word for none, and nothing thrown but the error that it names. */
const PARSERS: readonly (readonly [string, (text: string) => unknown])[] = [
  ["ip", (text) => {
    const ip = Ip.parse(text);
    if (ip !== undefined) strictEqual(Ip.parse(ip), ip, "not canonical");
    return ip !== undefined;
  }],
  ["cidr", (text) => {
    const cidr = Cidr.parse(text);
    if (cidr !== undefined) deepStrictEqual(Cidr.parse(Cidr.format(cidr)), cidr);
    return cidr !== undefined;
  }],
  ["address", (text) => {
    const address = SocketAddress.parse(text);
    if (address === undefined) return false;
    deepStrictEqual(SocketAddress.parse(SocketAddress.format(address)), address);
    return true;
  }],
  ["spiffe", (text) => {
    const id = SpiffeId.parse(text);
    if (id !== undefined) {
      const { trustDomain, namespace, serviceAccount } = SpiffeId.parts(id);
      strictEqual(SpiffeId.of(trustDomain, namespace, serviceAccount), id);
    }
    return id !== undefined;
  }],
  ["headings", (text) => {
    const headers = new Map(["baggage", "forwarded", "traceparent"].map((name) => [name, [text]]));
    const baggage = Headings.parseBaggage(headers);
    // What is written of it is read as the same.
    const again = new Map([["baggage", [Headings.baggage(baggage)]]]);
    const { workloadName, clusterId } = Headings.parseBaggage(again);
    if (workloadName !== undefined) strictEqual(workloadName, baggage.workloadName);
    if (clusterId !== undefined) strictEqual(clusterId, baggage.clusterId);
    const host = Headings.parseForwardedHost(headers);
    return [
      Object.keys(baggage).length,
      host !== undefined,
      Headings.parseTraceId(headers) !== undefined,
    ];
  }],
  ["log filter", (text) => {
    try {
      createLogHub({ write: () => {}, nowMs: () => 0, filter: text, format: "plain" });
      return true;
    } catch (error) {
      if (!(error instanceof InvalidFilter)) throw error;
      return false;
    }
  }],
  ["config", (text) => {
    const names = ["KEEPALIVE_TIME", "PACKET_MARK", "PROXY_CONFIG", "ZTUNNEL_BIND_ADDRESS"];
    const env = Object.fromEntries(names.map((name) => [name, text]));
    const { problems } = parseConfig({ env, readFile: () => text, cpuCount: 2, args: [] });
    for (const { variable, reason } of problems) ok(variable !== "" && reason !== "");
    return Math.min(problems.length, 8);
  }],
];

Deno.test("what reads text has a value or a reason for any text", async () => {
  const report = await run({
    name: "text",
    corpus: TEXTS.map((text) => Uint8Array.from(Buffer.from(text, "latin1"))),
    inputBytesMax: 512,
    try(input, rng) {
      // Half of them as UTF-8, so that characters beyond ASCII come, too.
      const text = rng.below(2) === 0
        ? Buffer.from(input).toString("latin1")
        : new TextDecoder().decode(input);
      const [name, parse] = PARSERS[rng.below(PARSERS.length)]!;
      return `${name} ${parse(text)}`;
    },
  });
  ok(report.inputs > 100, `only ${report.inputs} inputs`);
  ok(report.outcomes.size > 12, [...report.outcomes.keys()].join());
});
