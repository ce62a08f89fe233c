import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { TYPE_URLS } from "#xds";
import { nodeOf } from "../../../lib/xds/node.ts";
import { garbage, policy, service, workload } from "./messages.ts";
import { NOW, opened, talk } from "./session_support.ts";

const { address, authorization } = TYPE_URLS;

Deno.test("3.2: the node has the id and the metadata that istiod looks for, later entries winning", () => {
  deepStrictEqual(nodeOf({ metadata: {}, metadataJson: {} }), {
    id: "ztunnel~1.1.1.1~.~.svc.cluster.local",
    metadata: { NAME: "", NAMESPACE: "", INSTANCE_IPS: "1.1.1.1", NODE_NAME: "" },
  });
  const facts = {
    instanceIp: "10.0.0.1",
    podName: "zt",
    podNamespace: "istio-system",
    nodeName: "n1",
    metadata: { A: "1", NAME: "other" },
    metadataJson: { A: { b: [1, true, null] } },
  };
  deepStrictEqual(nodeOf(facts), {
    id: "ztunnel~10.0.0.1~zt.istio-system~istio-system.svc.cluster.local",
    metadata: {
      NAME: "other",
      NAMESPACE: "istio-system",
      INSTANCE_IPS: "10.0.0.1",
      NODE_NAME: "n1",
      A: { b: [1, true, null] },
    },
  });
});

Deno.test("3.3: both types are subscribed in order, addresses first, with the node in each and empty lists", () => {
  const requests = opened(talk().session);
  deepStrictEqual(requests.map(({ typeUrl }) => typeUrl), [address, authorization]);
  for (const request of requests) {
    strictEqual(request.node?.id, "ztunnel~x");
    deepStrictEqual(request.resourceNamesSubscribe, []);
    deepStrictEqual(request.resourceNamesUnsubscribe, []);
    deepStrictEqual(request.initialResourceVersions, {});
    strictEqual(request.responseNonce, "");
  }
});

Deno.test("3.3: on demand, addresses are subscribed and unsubscribed as *, policies are still a wildcard", () => {
  const [first, second] = opened(talk(true).session);
  deepStrictEqual(first?.resourceNamesSubscribe, ["*"]);
  deepStrictEqual(first?.resourceNamesUnsubscribe, ["*"]);
  deepStrictEqual(second?.resourceNamesSubscribe, []);
  deepStrictEqual(second?.resourceNamesUnsubscribe, []);
});

Deno.test("3.4: an accepted response is acknowledged by type and nonce, without node or error", async () => {
  const { session, hear, view } = talk();
  session.open();
  const resources = [workload("w1"), service("s.shop")];
  const { reply, rejection } = await hear("address", { nonce: "n1", resources });
  strictEqual(rejection, undefined);
  strictEqual(reply.typeUrl, address);
  strictEqual(reply.responseNonce, "n1");
  strictEqual(reply.errorDetail, undefined);
  strictEqual(reply.node, undefined);
  strictEqual(view.workload("w1")?.name, "w1");
  strictEqual(view.serviceNamed("s.shop")?.namespace, "shop");
});

Deno.test("3.4: each unusable resource is refused by name with its reason, what it says before how it reads, and the rest applies", async () => {
  const { session, hear, view } = talk();
  session.open();
  const outcome = await hear("address", {
    resources: [
      garbage("g"),
      { name: "none" },
      workload("w1"),
      workload("w2", { tunnelProtocol: 2 }),
      { name: "empty", resource: { typeUrl: address, value: new Uint8Array() } },
    ],
  });
  const message = outcome.reply.errorDetail?.message ?? "";
  match(message, /^w2: .*tunnel_protocol.*2; empty: .*neither a workload/);
  match(message, /; g: decode: .+; none: no payload$/);
  strictEqual(outcome.reply.errorDetail?.code, 0);
  strictEqual(outcome.rejectedCount, 4);
  deepStrictEqual(view.workloads().map(({ uid }) => uid), ["w1"]);
});

Deno.test("3.4: a refusal of everything stays small enough to be read", async () => {
  const { session, hear } = talk();
  session.open();
  const resources = Array.from({ length: 2_000 }, (_, i) => garbage(`cluster//Pod/shop/bad-${i}`));
  const { reply } = await hear("address", { resources });
  const message = reply.errorDetail!.message;
  ok(message.length < 17_000, `${message.length} characters`);
  match(message, /; and \d+ more$/);
});

Deno.test("3.4: a response of an unknown type is acknowledged and changes nothing", async () => {
  const { session, hear, commits } = talk();
  session.open();
  const resource = { typeUrl: "type/unknown", value: Uint8Array.of(1) } as never;
  const resources = [{ name: "w1", resource }];
  const { reply } = await hear("type/unknown", { nonce: "n9", resources });
  strictEqual(reply.typeUrl, "type/unknown");
  strictEqual(reply.responseNonce, "n9");
  strictEqual(reply.errorDetail, undefined);
  deepStrictEqual(commits, []);
});

Deno.test("3.4: removals come after what was sent, in one response", async () => {
  const { session, hear, view } = talk();
  session.open();
  await hear("address", { resources: [workload("w1")] });
  await hear("address", { resources: [workload("w2")], removed: ["w1", "w2", "never/known"] });
  deepStrictEqual(view.workloads(), []);
  deepStrictEqual(opened(session)[0]?.initialResourceVersions, {});
});

Deno.test("3.4: the policies of a response are one commit, which says that they changed", async () => {
  const { session, hear, commits, view } = talk();
  session.open();
  await hear("authorization", { resources: [policy("shop/a"), policy("shop/b")] });
  deepStrictEqual(commits.map(({ policiesChanged }) => policiesChanged), [true]);
  await hear("authorization", { resources: [policy("shop/bad", { scope: 9 as never })] });
  strictEqual(commits.length, 1);
  deepStrictEqual(view.policies().map(({ key }) => key), ["shop/a", "shop/b"]);
});

Deno.test("3.5: a policy is known by its resource's name", async () => {
  const { session, hear, view } = talk();
  session.open();
  await hear("authorization", { resources: [policy("shop/a", { name: "other" })] });
  deepStrictEqual(view.policies().map(({ key, name }) => [key, name]), [["shop/a", "other"]]);
});

Deno.test("3.6: a removed name is a workload's uid, else a service; unknown ones do no harm", async () => {
  const { session, hear, view } = talk();
  session.open();
  await hear("address", { resources: [workload("c//Pod/shop/w"), service("s.shop")] });
  await hear("address", { removed: ["c//Pod/shop/w"] });
  deepStrictEqual([view.workloads().length, view.services().length], [0, 1]);
  const { reply } = await hear("address", { removed: ["shop/s.shop", "a", "a//Pod/b/c"] });
  strictEqual(reply.errorDetail, undefined);
  strictEqual(view.services().length, 0);
});

Deno.test("status() tells what was received, accepted and refused, and when", async () => {
  const { session, hear } = talk();
  session.open();
  await hear("address", { resources: [workload("w1"), garbage("g")] });
  const [addresses, policies] = session.status();
  strictEqual(addresses?.lastNack, new Date(NOW.wallMs).toISOString().replace(".000", ""));
  match(addresses?.lastNackReason ?? "", /^g: decode/);
  strictEqual(addresses?.lastAck, undefined);
  deepStrictEqual(
    [addresses?.resources, addresses?.resourcesReceived, addresses?.resourcesRejected],
    [1, 2, 1],
  );
  ok((addresses?.bytesReceived ?? 0) > 5);
  strictEqual(policies?.messagesReceived, 0);
});
