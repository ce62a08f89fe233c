/**
 * HPACK and header validation for a typical CONNECT of HBONE, the part of a tunnel's opening that is ours.
 * Run: deno bench bench/hpack.ts
 * @module
 */
import { type HeaderField, HpackDecoder, HpackEncoder } from "../lib/http2/hpack.ts";
import { validateRequest } from "../lib/http2/headers.ts";

const LIMITS = { tableBytesMax: 4_096, listBytesMax: 65_536, fieldsMax: 64 };
const REQUESTS_COUNT = 64;

/** As behaviour.md 7.5: the trace is new in every request, the client's port in every connection. */
function request(number: number): HeaderField[] {
  const trace = (number * 2_654_435_761 >>> 0).toString(16).padStart(32, "0");
  return [
    [":method", "CONNECT"],
    [":authority", "10.244.12.34:8080"],
    [
      "baggage",
      "k8s.cluster.name=Kubernetes,k8s.namespace.name=shop,k8s.deployment.name=cart-v1," +
      "service.name=cart,service.version=v1,cloud.region=eu-west-1,cloud.availability_zone=eu-west-1a",
    ],
    ["forwarded", `for="10.244.3.17:${40_000 + number}";host=cart.shop.svc.cluster.local`],
    ["traceparent", `00-${trace}-${trace.slice(-16)}-00`],
    ["x-forwarded-network", "network-1"],
  ];
}

const requests = Array.from({ length: REQUESTS_COUNT }, (_, number) => request(number));
const encoder = new HpackEncoder();
/** The first one fills the table, so it is not among those measured. */
const first = encoder.encode(request(REQUESTS_COUNT));
const indexed = requests.map((fields) => encoder.encode(fields));
/** From a peer that keeps no table: every text is spelled out. */
const plain = requests.map((fields) => {
  const stranger = new HpackEncoder();
  stranger.setTableSizeMax(0);
  return stranger.encode(fields);
});
const decoder = new HpackDecoder(LIMITS);
decoder.decode(first);
const plainDecoder = new HpackDecoder(LIMITS);

let turn = 0;
const next = (): number => turn = (turn + 1) % REQUESTS_COUNT;

Deno.bench("encode() a CONNECT", () => void encoder.encode(requests[next()]!));
Deno.bench(`decode() it from ${indexed[0]!.length} bytes, with a table`, () => {
  decoder.decode(indexed[next()]!);
});
Deno.bench(`decode() it from ${plain[0]!.length} bytes, all spelled out`, () => {
  plainDecoder.decode(plain[next()]!);
});
Deno.bench("validateRequest()", () => {
  if (validateRequest(requests[next()]!).head === undefined) throw new Error("refused");
});
