/** Rules of 3.4 and 3.5 about one response, beside those of session_messages_test.ts. */
import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { create, toBinary } from "@bufbuild/protobuf";
import { AddressSchema } from "../../../proto/gen/workload_pb.ts";
import { SocketAddress } from "#values";
import { garbage, service, workload } from "./messages.ts";
import { opened, talk } from "./session_support.ts";

const ports = { ports: [{ servicePort: 80, targetPort: 8080 }] };
const endpointsOf = (view: ReturnType<typeof talk>["view"], key: `${string}/${string}`) =>
  [...view.endpointsOf(view.service(key)!)].map(({ workloadUid }) => workloadUid);

Deno.test("3.4: bytes are counted as the sum of the resources' own messages, also of those that are refused", async () => {
  const { session, hear } = talk();
  session.open();
  const resources = [workload("w1"), service("s.shop"), garbage("bad")];
  const outcome = await hear("address", { resources });
  const own = resources.reduce((sum, { resource }) => sum + resource!.value!.length, 0);
  strictEqual(outcome.bytesCount, own);
  strictEqual(outcome.resourcesCount, 3);
});

Deno.test("3.4: the type inside a resource is not looked at", async () => {
  const { session, hear, view } = talk();
  session.open();
  const value = workload("w1").resource!.value!;
  const typeUrl = "type.googleapis.com/istio.workload.Workload";
  const odd = { name: "w1", version: "v1", resource: { typeUrl, value } };
  strictEqual((await hear("address", { resources: [odd] })).rejection, undefined);
  strictEqual(view.workloads().length, 1);
});

Deno.test("3.4: of two resources with one name the later one counts", async () => {
  const { session, hear, view } = talk();
  session.open();
  await hear("address", {
    resources: [
      workload("w1", { name: "first" }),
      workload("w1", { name: "second" }, { version: "v2" }),
    ],
  });
  deepStrictEqual(view.workloads().map(({ name }) => name), ["second"]);
  deepStrictEqual(opened(session)[0]?.initialResourceVersions, { w1: "v2" });
});

Deno.test("3.5: a workload replaces its earlier record, its addresses and its endpoints", async () => {
  const { session, hear, view } = talk();
  session.open();
  const at = (last: number) => ({ addresses: [Uint8Array.of(10, 0, 0, last)] });
  await hear("address", {
    resources: [
      service("a.shop", ports),
      service("b.shop", ports),
      workload("w1", { ...at(1), services: { "shop/a.shop": ports } }),
    ],
  });
  deepStrictEqual(endpointsOf(view, "shop/a.shop"), ["w1"]);
  await hear("address", {
    resources: [workload("w1", { ...at(2), services: { "shop/b.shop": ports } })],
  });
  deepStrictEqual(endpointsOf(view, "shop/a.shop"), []);
  deepStrictEqual(endpointsOf(view, "shop/b.shop"), ["w1"]);
  const found = ["10.0.0.1:1", "10.0.0.2:1"].map((text) =>
    view.workloadAt("", SocketAddress.parse(text)!.ip)?.uid
  );
  deepStrictEqual(found, [undefined, "w1"]);
});

Deno.test("3.5: a service that is sent again keeps its endpoints, without those that its health policy refuses now", async () => {
  const { session, hear, view } = talk();
  session.open();
  const all = { ...ports, loadBalancing: { healthPolicy: 1 } };
  await hear("address", {
    resources: [
      service("a.shop", all),
      workload("up", { services: { "shop/a.shop": ports } }),
      workload("down", { services: { "shop/a.shop": ports }, status: 1 }),
    ],
  });
  deepStrictEqual(endpointsOf(view, "shop/a.shop").sort(), ["down", "up"]);
  await hear("address", { resources: [service("a.shop", ports, { version: "v2" })] });
  deepStrictEqual(endpointsOf(view, "shop/a.shop"), ["up"]);
});

Deno.test("3.5: an address that is neither a workload nor a service is refused by name", async () => {
  const { session, hear } = talk();
  session.open();
  const value = toBinary(AddressSchema, create(AddressSchema, {}));
  const resources = [{ name: "void", resource: { typeUrl: "t", value } }];
  const { reply } = await hear("address", { resources });
  match(reply.errorDetail?.message ?? "", /^void: /);
});

Deno.test("3.6: a workload's endpoints go with it, and a service that comes back has those of its workloads", async () => {
  const { session, hear, view } = talk();
  session.open();
  const member = (uid: string) => workload(uid, { services: { "shop/a.shop": ports } });
  await hear("address", { resources: [service("a.shop", ports), member("w1"), member("w2")] });
  await hear("address", { removed: ["w1"] });
  deepStrictEqual(endpointsOf(view, "shop/a.shop"), ["w2"]);
  await hear("address", { removed: ["shop/a.shop"] });
  strictEqual(view.service("shop/a.shop"), undefined);
  await hear("address", { resources: [service("a.shop", ports)] });
  // 18.15 lets us know better than the reference, which would have none until the workload is sent again.
  ok(endpointsOf(view, "shop/a.shop").every((uid) => uid === "w2"));
  await hear("address", { resources: [member("w2")] });
  deepStrictEqual(endpointsOf(view, "shop/a.shop"), ["w2"]);
});
