/** Pushes that a broken or hostile control plane could send: refused by name, applied otherwise, bounded always. */
import { deepStrictEqual, match, ok, rejects, strictEqual } from "node:assert/strict";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { planOutbound } from "#route";
import { seededRng } from "#system";
import { SocketAddress } from "#values";
import { TYPE_URLS } from "#xds";
import { policy, type ResourceInit, service, workload } from "./messages.ts";
import { NOW, opened, readerOf, talk } from "./session_support.ts";
import { RESPONSE_LIMITS } from "../../../lib/xds/wire_response.ts";

const LONG = "x".repeat(65_536);
const ip = (...bytes: number[]) => Uint8Array.from(bytes);
const KEEPS_BYTES = 8 << 20;

/** `count` workloads that all belong to one service. */
function endpoints(count: number, from = 0): ResourceInit[] {
  return Array.from({ length: count }, (_, index) => {
    const at = from + index;
    return workload(`w-${at}`, {
      addresses: [ip(10, at >> 16, at >> 8 & 255, at & 255)],
      services: { "shop/big.shop": { ports: [{ servicePort: 80, targetPort: 8080 }] } },
    });
  });
}

Deno.test("3.4: a service with more endpoints than there is room for: the rest is refused by name, the mesh stays within its limit", async () => {
  const { session, hear, view, use } = talk(false, { bytesMax: KEEPS_BYTES });
  session.open();
  await hear("address", {
    resources: [service("big.shop", { ports: [{ servicePort: 80, targetPort: 8080 }] })],
  });
  const perPush = 5_000;
  let refused = 0;
  let pushes = 0;
  // A million of them are this loop going on: once it is full nothing grows any more.
  for (; refused < 2 * perPush; pushes++) {
    ok(pushes < 40, "it never filled");
    const { reply, rejectedCount } = await hear("address", {
      resources: endpoints(perPush, pushes * perPush),
    });
    refused += rejectedCount;
    if (rejectedCount > 0) {
      const { message } = reply.errorDetail!;
      match(message, /^w-\d+: the mesh is full/);
      ok(message.length < 16_500, `a refusal of ${message.length} characters`);
    }
    ok(use().pageBytes <= KEEPS_BYTES, `${use().pageBytes} bytes`);
  }
  const taken = [...view.endpointsOf(view.service("shop/big.shop")!)].length;
  strictEqual(taken, pushes * perPush - refused);
  ok(taken > 10_000, `${taken} taken`);
  // What is removed makes room again.
  const gone = Array.from({ length: taken }, (_, index) => `w-${index}`);
  await hear("address", { removed: gone });
  strictEqual((await hear("address", { resources: endpoints(perPush) })).rejectedCount, 0);
});

Deno.test("3.4: names of 64 KB are kept as any other, or refused in a message of bounded length", async () => {
  const { session, hear, view, use } = talk(false, { bytesMax: KEEPS_BYTES });
  session.open();
  const good = [
    workload(LONG, { name: LONG, namespace: LONG, serviceAccount: LONG, hostname: LONG }),
    service(`${LONG}.shop`, { name: LONG }),
    workload("short"),
  ];
  strictEqual((await hear("address", { resources: good })).rejectedCount, 0);
  strictEqual(view.workload(LONG)?.name.length, 65_536);
  const bad = Array.from({ length: 50 }, (_, i) => workload(`${i}${LONG}`, { status: 9 as never }));
  const { reply, rejectedCount } = await hear("address", { resources: bad });
  strictEqual(rejectedCount, 50);
  ok(reply.errorDetail!.message.length < 16_500);
  match(reply.errorDetail!.message, /^0x+.*; and 49 more$/);
  strictEqual(
    (await hear("authorization", { resources: [policy(`${LONG}/${LONG}`)] })).rejectedCount,
    0,
  );
  ok(use().pageBytes <= KEEPS_BYTES);
  await hear("address", { removed: [LONG] });
  deepStrictEqual(view.workloads().map(({ uid }) => uid), ["short"]);
});

Deno.test("3.5: one uid many times in one response, and again and again: the last one counts, and nothing grows", async () => {
  const { session, hear, view, use } = talk();
  session.open();
  const push = (round: number) =>
    hear("address", {
      resources: Array.from({ length: 200 }, (_, i) =>
        workload("same", {
          name: `n-${round}-${i}`,
          addresses: [ip(10, 0, round & 255, i)],
          services: { "shop/a.shop": {} },
        })),
    });
  await push(0);
  const before = use().pageBytes;
  for (let round = 1; round <= 50; round++) await push(round);
  deepStrictEqual(view.workloads().map(({ name }) => name), ["n-50-199"]);
  strictEqual(view.workloadAt("", SocketAddress.parse("10.0.50.199:1")!.ip)?.uid, "same");
  strictEqual(view.workloadAt("", SocketAddress.parse("10.0.50.198:1")!.ip), undefined);
  ok(use().pageBytes <= before + 262_144, `${before} bytes became ${use().pageBytes}`);
  deepStrictEqual(opened(session)[0]!.initialResourceVersions, { same: "v1" });
});

Deno.test("3.5: services that claim one VIP are told apart as always, and none takes the others with it when it goes", async () => {
  const { session, hear, view } = talk();
  session.open();
  const vip = { addresses: [{ network: "", address: ip(10, 96, 0, 1) }] };
  const names = ["a.shop", "b.shop", "c.shop"];
  await hear("address", { resources: names.map((name) => service(name, vip)) });
  const { ip: address } = SocketAddress.parse("10.96.0.1:80")!;
  const claimants = [view.serviceAt("", address, "shop")?.hostname];
  for (const name of names) {
    await hear("address", { removed: [`shop/${name}`] });
    claimants.push(view.serviceAt("", address, "shop")?.hostname);
  }
  ok(claimants.slice(0, 3).every((each) => each !== undefined), String(claimants));
  strictEqual(claimants[3], undefined);
});

Deno.test("waypoints that stand before each other in a circle end in a decision, not in a loop", async () => {
  const { session, hear, view } = talk();
  session.open();
  const before = (host: string) => ({
    waypoint: {
      destination: {
        case: "hostname" as const,
        value: { namespace: "shop", hostname: host },
      },
      hboneMtlsPort: 15_008,
    },
  });
  const vip = (last: number) => ({ addresses: [{ network: "", address: ip(10, 96, 0, last) }] });
  await hear("address", {
    resources: [
      workload("web", { addresses: [ip(10, 1, 0, 5)], ...before("a.shop") }),
      workload("self", { addresses: [ip(10, 1, 0, 6)], ...before("self.shop") }),
      service("a.shop", { ...vip(1), ...before("b.shop") }),
      service("b.shop", { ...vip(2), ...before("a.shop") }),
      service("self.shop", { ...vip(3), ...before("self.shop") }),
    ],
  });
  const at = (text: string) => SocketAddress.parse(text)!;
  for (
    const target of ["10.96.0.1:80", "10.96.0.2:80", "10.96.0.3:80", "10.1.0.5:80", "10.1.0.6:80"]
  ) {
    const plan = planOutbound(view, {
      source: view.workload("web")!,
      client: at("10.1.0.5:1"),
      target: at(target),
      network: "",
      illegalPorts: new Set(),
    }, seededRng(1));
    strictEqual(plan.kind, "refuse", target);
  }
});

Deno.test("3.4: resources of two bytes, as many as a message has room for: counted, told in a message of bounded length", async () => {
  const { session } = talk();
  session.open();
  // Field 2, length 0, over and over.
  const bytes = new Uint8Array(400_000);
  for (let at = 0; at < bytes.length; at += 2) bytes[at] = 0x12;
  const reader = readerOf(Uint8Array.from([...typeUrlBytes(), ...bytes]));
  await reader.begin();
  const push = session.receive(reader);
  for (let each = reader.take(); each !== undefined; each = reader.take()) push.take(each);
  strictEqual([...push.removals()].length, 0);
  const { rejectedCount, reply } = push.finish(NOW);
  strictEqual(rejectedCount, 200_000);
  match(reply.errorDetail!.message, /^: no payload; .*; and \d+ more$/);
  ok(reply.errorDetail!.message.length < 16_500);
});

Deno.test("3.4: names of what is gone, more than any mesh has, end the response", async () => {
  const bytes = new Uint8Array(2 * RESPONSE_LIMITS.removedMax + 2);
  for (let at = 0; at < bytes.length; at += 2) bytes[at] = 0x32;
  const reader = readerOf(bytes);
  await rejects(reader.begin(), /more than 1000000 removed resources/);
});

/** `count` fields of that number, as what `inner` writes. */
function repeated(field: number, count: number, inner: (writer: BinaryWriter, at: number) => void) {
  const writer = new BinaryWriter();
  for (let at = 0; at < count; at++) {
    writer.tag(field, WireType.LengthDelimited).fork();
    inner(writer, at);
    writer.join();
  }
  return writer.finish();
}

const within = (field: number, bytes: Uint8Array) =>
  new BinaryWriter().tag(field, WireType.LengthDelimited).bytes(bytes).finish();

Deno.test("3.4: a resource of a few megabytes that would be a gigabyte of objects is refused by name", async () => {
  const { session, hear, view } = talk();
  session.open();
  const nothing = () => {};
  const text = (field: number, value: string) => (writer: BinaryWriter) =>
    writer.tag(field, WireType.LengthDelimited).string(value);
  const entry = (writer: BinaryWriter, at: number) => text(1, `a/${at}`)(writer);
  const address = (writer: BinaryWriter) =>
    writer.tag(2, WireType.LengthDelimited).bytes(ip(10, 0, 0, 1));
  const waypoint = (writer: BinaryWriter) => {
    writer.tag(1, WireType.LengthDelimited).fork().tag(1, WireType.LengthDelimited).fork();
    text(2, "h")(writer);
    writer.join().join();
  };
  const many = (count: number) =>
    [
      ["matches", within(5, within(1, repeated(2, count, nothing)))],
      ["clauses", within(5, repeated(1, count, nothing))],
      ["rules", repeated(5, count, nothing)],
      ["services", within(1, repeated(22, count, entry))],
      ["addresses", within(1, repeated(3, count, (writer) => writer.raw(ip(10, 0, 0, 1))))],
      ["addresses", within(2, repeated(4, count, address))],
      ["weighted_waypoints", within(2, repeated(13, count, waypoint))],
    ] as const;
  for (const [count, isRefused] of [[65_536, false], [65_537, true]] as const) {
    for (const [index, [what, value]] of many(count).entries()) {
      const type = index < 3 ? "authorization" : "address";
      const resource = { name: "large", resource: { typeUrl: TYPE_URLS[type], value } };
      const { rejection } = await hear(type, { resources: [resource as ResourceInit] });
      strictEqual(rejection, isRefused ? `large: more than 65536 ${what}` : undefined);
    }
  }
  strictEqual(view.policies().length, 1);
});

/** Field 4. */
function typeUrlBytes(): Uint8Array {
  const text = new TextEncoder().encode("type.googleapis.com/istio.workload.Address");
  return Uint8Array.from([0x22, text.length, ...text]);
}
