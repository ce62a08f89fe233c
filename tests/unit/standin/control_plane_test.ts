/** The whole stand-in over TLS, seen from the proxy's own clients. */
import { deepStrictEqual, match, ok, rejects, strictEqual } from "node:assert/strict";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { createCaAuthority } from "#certs";
import { connectChannel, type Endpoint } from "#grpc";
import { realNetwork, realTurn } from "../../support/network.ts";
import { createMesh } from "#mesh";
import { Metrics } from "#metrics";
import { silentLog } from "#log";
import { realClock, realRng, seededRng } from "#system";
import { SpiffeId } from "#values";
import { watchXds, type XdsWatch } from "#xds";
import { ControlPlane, type ControlPlaneOptions, wireMeshOf } from "#standin";
import {
  IstioCertificateRequestSchema,
  IstioCertificateResponseSchema,
} from "../../../proto/gen/ca_pb.ts";
import type { ServerFault } from "../../../lib/standin/faults.ts";
import { until } from "../../support/netns.ts";
import { localMesh, SHOP, shop } from "./example.ts";

const IP = "127.56.0.1";
const CA_PATH = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
const NODE_PROXY = { namespace: "istio-system", serviceAccount: "ztunnel", node: "n1" };
const web = SpiffeId.of("cluster.local", "shop", "web");

const test = (name: string, fn: () => Promise<void>) =>
  Deno.test({ name, fn, sanitizeOps: false, sanitizeResources: false });

const start = (options: Partial<ControlPlaneOptions> = {}) =>
  ControlPlane.start({ clock: realClock, rng: realRng, ip: IP, mesh: shop(), ...options });

function endpointOf(plane: ControlPlane): Endpoint {
  return {
    url: plane.url,
    roots: { kind: "inline", pem: plane.authority.rootsPem },
    token: { kind: "literal", value: plane.tokens.issue(NODE_PROXY) },
    clusterId: "Kubernetes",
    headers: [],
  };
}

function follow(plane: ControlPlane, onDemand = false, more: Partial<Endpoint> = {}) {
  const mesh = createMesh({});
  const watch = watchXds({
    endpoint: { ...endpointOf(plane), ...more },
    node: { podName: "zt", podNamespace: "istio-system", metadata: {}, metadataJson: {} },
    onDemand,
    writer: mesh.writer,
    ...realNetwork,
    turn: realTurn,
    rng: seededRng(1),
    log: silentLog,
    metrics: new Metrics({ nowMs: () => 0 }),
    onCommit: () => {},
  });
  return { watch, view: mesh.view };
}

const errorOf = (watch: XdsWatch) => watch.status().lastError ?? "";

async function certify(plane: ControlPlane, more: Partial<Endpoint> = {}, timeoutMs = 30_000) {
  using channel = await connectChannel({ ...endpointOf(plane), ...more }, realNetwork);
  const authority = createCaAuthority({
    clock: realClock,
    log: silentLog,
    impersonates: true,
    client: {
      async createCertificate({ csrPem, validitySeconds, impersonatedIdentity }) {
        const request = create(IstioCertificateRequestSchema, {
          csr: csrPem,
          validityDuration: BigInt(validitySeconds),
          metadata: { ImpersonatedIdentity: impersonatedIdentity! },
        });
        const bytes = toBinary(IstioCertificateRequestSchema, request);
        const answer = await channel.unary(CA_PATH, bytes, { timeoutMs });
        return fromBinary(IstioCertificateResponseSchema, answer).certChain;
      },
    },
  });
  return await authority.sign(web, 3_600_000);
}

test("a mesh arrives, an edit is a push of the difference, and every word is on record", async () => {
  await using plane = await start();
  const { watch, view } = follow(plane);
  await using _watch = watch;
  await watch.ready;
  strictEqual(view.workloads().length, 2);
  strictEqual(view.policies().length, 2);
  await until("both are acknowledged", () => plane.records.heard("ack").length === 2);
  plane.records.clear();
  const edited = SHOP.replace("10.0.0.1", "10.0.0.9").replace(/- \{ name: p2.*\n/, "");
  strictEqual(plane.setMesh(wireMeshOf(localMesh(edited))), 1);
  await until("the edit is there", () => view.policies().length === 1);
  deepStrictEqual(view.workload("c//Pod/shop/web")?.workloadIps, ["10.0.0.9"]);
  await until("it was acknowledged", () => plane.records.heard("ack").length === 2);
  deepStrictEqual(
    plane.records.of("sent").map(({ type, resources, removed }) => [type, resources, removed]),
    [["address", 1, 0], ["authorization", 0, 1]],
  );
  strictEqual(plane.setMesh(plane.mesh), 0, "nothing changed");
});

test("the stream's caller, token and cluster are on record, and who has no token is refused", async () => {
  await using plane = await start();
  const token = plane.tokens.issue(NODE_PROXY);
  const { watch } = follow(plane, false, { token: { kind: "literal", value: token } });
  await using _watch = watch;
  await watch.ready;
  const [opened] = plane.records.of("stream_opened");
  deepStrictEqual([opened?.caller, opened?.token, opened?.clusterId], [
    NODE_PROXY,
    token,
    "Kubernetes",
  ]);
  const stranger = follow(plane, false, { token: { kind: "literal", value: "junk" } }).watch;
  await using _stranger = stranger;
  await until("it is refused", () => /UNAUTHENTICATED.*not one of ours/.test(errorOf(stranger)));
});

test("a poisoned resource is refused by name, the rest applies, and the good one comes back", async () => {
  await using plane = await start();
  plane.poison("c//Pod/shop/web", "short_address");
  plane.poison("c//Pod/x/y", "garbage");
  const { watch, view } = follow(plane);
  await using _watch = watch;
  await until("it is refused", () => plane.records.heard("nack").length > 0);
  const [nack] = plane.records.heard("nack");
  match(nack?.reason ?? "", /c\/\/Pod\/shop\/web: .*; c\/\/Pod\/x\/y: decode/);
  deepStrictEqual(view.workloads().map(({ uid }) => uid), ["c//Pod/shop/cart"]);
  plane.unpoison();
  await until("all is well", () => view.workloads().length === 2);
  await watch.ready;
});

test("suspended, it is gone; resumed, it sends what differs", async () => {
  await using plane = await start();
  const { watch, view } = follow(plane);
  await using _watch = watch;
  await watch.ready;
  await plane.suspend();
  await until("the cut is seen", () => watch.status().state !== "connected");
  strictEqual(plane.streamsOpen, 0);
  plane.setMesh(wireMeshOf(localMesh(SHOP.replace(/- \{ uid: c\/\/Pod\/shop\/cart.*\n/, ""))));
  strictEqual(view.workloads().length, 2);
  plane.records.clear();
  await plane.resume();
  await until("it is back", () => view.workloads().length === 1);
  const [sent] = plane.records.of("sent");
  deepStrictEqual([sent?.resources, sent?.removed], [0, 1]);
  strictEqual(plane.records.heard("subscribed")[0]?.known, 3);
});

test("on demand, an address is answered under its workload's name", async () => {
  await using plane = await start();
  const { watch, view } = follow(plane, true);
  await using _watch = watch;
  await watch.ready;
  strictEqual(view.workloads().length, 0);
  strictEqual(await watch.demand("east/10.0.0.2"), true);
  deepStrictEqual(view.workloads().map(({ uid }) => uid), ["c//Pod/shop/cart"]);
  strictEqual(await watch.demand("east/10.9.9.9"), true);
  deepStrictEqual(plane.records.heard("asked").flatMap(({ names }) => names), [
    "east/10.0.0.2",
    "east/10.9.9.9",
  ]);
});

const SERVER_FAULTS: readonly { readonly fault: ServerFault; readonly told: RegExp }[] = [
  { fault: "other_root", told: /UNAVAILABLE/ },
  { fault: "other_name", told: /certificate is for somebody\.else\.example, expected 127/ },
  { fault: "expired", told: /UNAVAILABLE.*certificate .* expired at/ },
];
for (const { fault, told } of SERVER_FAULTS) {
  test(`with a certificate that is wrong (${fault}) nobody talks to it, until it is right`, async () => {
    await using plane = await start();
    plane.faults.ofServer = fault;
    await plane.restart();
    const { watch } = follow(plane);
    await using _watch = watch;
    await until("it is told", () => told.test(errorOf(watch)));
    strictEqual(plane.records.all.length, 0);
    plane.faults.ofServer = undefined;
    await plane.restart();
    await watch.ready;
  });
}

test("slow and reordered it is still understood", async () => {
  await using plane = await start();
  plane.faults.reorder = true;
  plane.faults.answerDelayMs = 50;
  const { watch, view } = follow(plane);
  await using _watch = watch;
  await watch.ready;
  deepStrictEqual(plane.records.of("sent").map(({ type }) => type), ["authorization", "address"]);
  strictEqual(view.workloads().length, 2);
  const cart = view.serviceNamed("cart.shop.svc.cluster.local")!;
  strictEqual([...view.endpointsOf(cart)].length, 1);
});

test("a list that is too long is RESOURCE_EXHAUSTED, and without it all is sent again", async () => {
  await using plane = await start();
  const { watch, view } = follow(plane);
  await using _watch = watch;
  await watch.ready;
  plane.faults.requestBytesMax = 200;
  plane.setMesh(wireMeshOf(localMesh(SHOP.replace(/- \{ uid: c\/\/Pod\/shop\/cart.*\n/, ""))));
  await until("the push is there", () => view.workloads().length === 1);
  // An answer that is on its way when its stream ends is none.
  await until("it is acknowledged", () => plane.records.heard("ack").length === 3);
  plane.endStreams(0, "");
  await until("it was too long", () => plane.records.of("refused").length > 0);
  match(
    plane.records.of("refused")[0]!.reason,
    /received message larger than max \(\d+ vs\. 200\)/,
  );
  plane.faults.requestBytesMax = 1_000;
  await until("a stream stays", () => plane.records.heard("ack").length >= 5);
  strictEqual(view.workloads().length, 1);
});

test("streams end with the status that a test wants, at their beginning too", async () => {
  await using plane = await start();
  const { watch } = follow(plane);
  await using _watch = watch;
  await watch.ready;
  plane.faults.refuseStreams = { code: 14, details: "try later" };
  plane.endStreams(13, "broken");
  await until("the refusal is told", () => /try later/.test(errorOf(watch)));
  strictEqual(plane.records.of("stream_closed")[0]?.reason, "13 broken");
  plane.faults.refuseStreams = undefined;
  await until("it is back", () => watch.status().state === "connected");
});

test("a message above the client's limit ends the stream, and what was known stays", async () => {
  await using plane = await start();
  const { watch, view } = follow(plane);
  await using _watch = watch;
  await watch.ready;
  plane.faults.paddingBytes = 201 * 1024 * 1024;
  plane.setMesh(wireMeshOf(localMesh(SHOP.replace("10.0.0.1", "10.0.0.9"))));
  await until("it is refused", () => /RESOURCE_EXHAUSTED/.test(errorOf(watch)));
  match(errorOf(watch), /the server's message has \d+ bytes, at most 209715200$/);
  strictEqual(view.workloads().length, 2);
  plane.faults.paddingBytes = 0;
  await until(
    "the change comes",
    () => view.workload("c//Pod/shop/web")?.workloadIps[0] === "10.0.0.9",
  );
});

test("the CA certifies a pod of the caller's node, and puts it on record", async () => {
  await using plane = await start();
  const { identity, rootsPem } = await certify(plane);
  strictEqual(identity, web);
  strictEqual(rootsPem, plane.authority.rootsPem);
  const [certificate] = plane.records.of("certificate");
  deepStrictEqual(
    [certificate?.caller, certificate?.requestedUri, certificate?.isImpersonated],
    [NODE_PROXY, web, true],
  );
  strictEqual(certificate?.validitySeconds, 3_600);
  match(certificate?.csr ?? "", /CERTIFICATE REQUEST/);
});

const CA_FAULTS = [
  ["down", /UNAVAILABLE.*not ready/],
  ["empty", /answer is empty/],
  ["no_root", /sent none/],
  ["garbage", /./],
  ["expired", /expired/],
  ["foreign", /./],
  ["other_key", /another key than ours/],
  ["other_name", /did not find expected SAN/],
] as const;
for (const [fault, why] of CA_FAULTS) {
  test(`what the CA answers wrongly (${fault}) is refused by the proxy's client`, async () => {
    await using plane = await start();
    plane.faults.ca = fault;
    await rejects(certify(plane), why);
    plane.faults.ca = undefined;
    await certify(plane);
  });
}

test("a slow CA, an expired token and somebody else's pod are refused with their reasons", async () => {
  await using plane = await start();
  plane.faults.caDelayMs = 300;
  await rejects(certify(plane, {}, 50), /DEADLINE_EXCEEDED/);
  plane.faults.caDelayMs = 0;
  plane.faults.tokensExpired = true;
  await rejects(certify(plane), /UNAUTHENTICATED.*expired/);
  plane.faults.tokensExpired = false;
  const elsewhere = plane.tokens.issue({ ...NODE_PROXY, node: "n2" });
  await rejects(
    certify(plane, { token: { kind: "literal", value: elsewhere } }),
    /no pod of .* runs on node "n2"/,
  );
  ok(plane.records.of("refused").length >= 2);
});

test("a second one takes over with the first one's authority, tokens and port", async () => {
  const first = await start();
  const { watch, view } = follow(first);
  await using _watch = watch;
  await watch.ready;
  const { authority, tokens, port } = first;
  await first[Symbol.asyncDispose]();
  await using second = await start({
    authority,
    tokens,
    port,
    mesh: wireMeshOf(localMesh(SHOP.replace(/- \{ name: p1.*\n/, ""))),
  });
  await until("it is followed", () => view.policies().length === 1);
  strictEqual(second.records.of("sent")[0]?.resources, 0, "addresses are known by their versions");
});

test("a port that is taken is told", async () => {
  await using plane = await start();
  await rejects(
    start({ port: plane.port }),
    /cannot listen on 127\.56\.0\.1, port \d+: Address already in use/,
  );
});
