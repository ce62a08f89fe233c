import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { attachMesh, createMesh, type MeshView } from "#mesh";
import { AuthorizationSchema } from "#proto/authorization_pb.ts";
import { AddressSchema } from "#proto/workload_pb.ts";
import { seededRng } from "#system";
import { Wire } from "../../support/mesh_oracle/wire.ts";
import { ip } from "./builders.ts";

type AddressInit = MessageInitShape<typeof AddressSchema>;
type AuthorizationInit = MessageInitShape<typeof AuthorizationSchema>;

const bytesOf = (init: AddressInit) => toBinary(AddressSchema, create(AddressSchema, init));
const policyBytes = (init: AuthorizationInit) =>
  toBinary(AuthorizationSchema, create(AuthorizationSchema, init));

/** What the arena says to a resource, through a reader that has only its bytes. */
function arenaSays(bytes: Uint8Array): unknown {
  const mesh = createMesh({});
  const rejected = mesh.writer.upsertAddressBytes(bytes);
  mesh.writer.commit();
  if (rejected !== undefined) return { rejected };
  const view = attachMesh(mesh.lend());
  return { value: view.workloads()[0] ?? view.services()[0] };
}

function wireSays(bytes: Uint8Array): unknown {
  const { type } = fromBinary(AddressSchema, bytes);
  if (type.case === "workload") return Wire.decodeWorkload(type.value);
  if (type.case === "service") return Wire.decodeService(type.value);
  return { rejected: "neither a workload nor a service" };
}

const V4 = Uint8Array.of(10, 1, 0, 9);
const V6 = Uint8Array.of(0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9);
const MAPPED = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 97, 0, 0);
const BY_NAME = { case: "hostname", value: { namespace: "shop", hostname: "w.org" } } as const;
const BY_ADDRESS = { case: "address", value: { network: "east", address: V4 } } as const;

const FULL_WORKLOAD = {
  uid: "cluster//Pod/shop/ä",
  name: "a",
  namespace: "shop",
  addresses: [V4, V6, MAPPED],
  network: "east",
  tunnelProtocol: 1,
  trustDomain: "td",
  serviceAccount: "sa",
  waypoint: { destination: BY_NAME, hboneMtlsPort: 15008 },
  node: "n1",
  canonicalName: "cn",
  canonicalRevision: "v1",
  workloadType: 3,
  workloadName: "wn",
  nativeTunnel: true,
  authorizationPolicies: ["shop/p", "shop/q"],
  status: 1,
  clusterId: "c",
  networkGateway: { destination: BY_ADDRESS, hboneMtlsPort: 65536 + 15008 },
  hostname: "vm.org",
  services: {
    "shop/s.org": { ports: [{ servicePort: 80, targetPort: 8080, appProtocol: 2 }] },
    "shop/t.org": {},
  },
  applicationTunnel: { protocol: 1, port: 15088 },
  locality: { region: "r", zone: "z", subzone: "s" },
  networkMode: 1,
  extensions: [{ name: "other" }],
  capacity: 0,
};

const FULL_SERVICE = {
  name: "s",
  namespace: "shop",
  hostname: "s.org",
  addresses: [
    { network: "east", address: V4 },
    { network: "", address: V6, length: 128 },
    { network: "", address: V4, length: 32 },
    { network: "", address: V4, length: 24 },
    { network: "", address: MAPPED, length: 112 },
  ],
  ports: [{ servicePort: 80, targetPort: 0 }, { servicePort: 443, targetPort: 8443 }],
  subjectAltNames: ["spiffe://x"],
  waypoint: { destination: BY_ADDRESS, hboneMtlsPort: 15008 },
  loadBalancing: { routingPreference: [6, 1, 2], mode: 2, healthPolicy: 1 },
  ipFamilies: 3,
  canonical: true,
  ingressUseWaypoint: true,
  weightedWaypoints: [{ destination: { destination: BY_NAME, hboneMtlsPort: 1 }, weight: 9 }],
  visibility: 1,
};

const workloadOf = (value: object) => ({ type: { case: "workload", value } }) as AddressInit;
const serviceOf = (value: object) => ({ type: { case: "service", value } }) as AddressInit;

const ADDRESSES: readonly (readonly [string, AddressInit])[] = [
  ["a workload with every field", workloadOf(FULL_WORKLOAD)],
  ["a workload without any field", workloadOf({})],
  ["an address of 5 bytes", workloadOf({ addresses: [new Uint8Array(5)] })],
  ["a legacy tunnel", workloadOf({ tunnelProtocol: 2 })],
  ["an unknown status", workloadOf({ status: 7 })],
  ["a negative network mode", workloadOf({ networkMode: -1 })],
  ["an unknown workload type", workloadOf({ workloadType: 9 })],
  ["a service key without a slash", workloadOf({ services: { nowhere: {} } })],
  ["a namespace with a slash", workloadOf({ namespace: "a/b" })],
  ["a service account with a slash", workloadOf({ serviceAccount: "a/b" })],
  ["a waypoint without a destination", workloadOf({ waypoint: {} })],
  ["a gateway without a destination", workloadOf({ networkGateway: { hboneMtlsPort: 1 } })],
  [
    "a gateway without an address",
    workloadOf({
      networkGateway: { destination: { case: "address", value: {} } },
    }),
  ],
  ["a tunnel without a port", workloadOf({ applicationTunnel: {} })],
  ["an unknown tunnel", workloadOf({ applicationTunnel: { protocol: 4 } })],
  ["a service with every field", serviceOf(FULL_SERVICE)],
  ["a service without any field", serviceOf({})],
  ["an impossible range", serviceOf({ addresses: [{ address: V4, length: 33 }] })],
  ["an impossible mapped range", serviceOf({ addresses: [{ address: MAPPED, length: 90 }] })],
  ["a vip of no bytes", serviceOf({ addresses: [{}] })],
  ["a scope of 0", serviceOf({ loadBalancing: { routingPreference: [0] } })],
  ["an unknown mode", serviceOf({ loadBalancing: { mode: 9 } })],
  ["an unknown health policy", serviceOf({ loadBalancing: { healthPolicy: 9 } })],
  ["unknown families", serviceOf({ ipFamilies: 9 })],
  ["an unknown visibility", serviceOf({ visibility: 9 })],
  ["a weighted waypoint without a destination", serviceOf({ weightedWaypoints: [{ weight: 1 }] })],
  ["nothing", {}],
];

for (const [name, init] of ADDRESSES) {
  Deno.test(`upsertAddressBytes() says the same as Wire to ${name}`, () => {
    deepStrictEqual(arenaSays(bytesOf(init)), wireSays(bytesOf(init)));
  });
}

const MATCH = {
  namespaces: [{ matchType: { case: "exact", value: "a" } }],
  notNamespaces: [{ matchType: { case: "prefix", value: "a" } }],
  principals: [{ matchType: { case: "suffix", value: "" } }],
  notPrincipals: [{ matchType: { case: "presence", value: {} } }],
  sourceIps: [{ address: V4, length: 24 }],
  notSourceIps: [{ address: V6, length: 0 }],
  destinationIps: [{ address: MAPPED, length: 112 }],
  notDestinationIps: [{ address: V4, length: 32 }],
  destinationPorts: [80, 443],
  notDestinationPorts: [8080],
  serviceAccounts: [{ namespace: "shop", serviceAccount: "web" }],
  notServiceAccounts: [{ namespace: "shop", serviceAccount: "cart" }],
};

const withMatch = (found: object) => ({
  name: "p",
  namespace: "shop",
  rules: [{ clauses: [{ matches: [found] }] }],
});

for (
  const [name, init] of [
    ["a policy with every field", {
      ...withMatch(MATCH),
      scope: 2,
      action: 1,
      dryRun: true,
    }],
    ["a policy without any field", {}],
    ["rules without clauses", { rules: [{}, { clauses: [{}, { matches: [{}] }] }] }],
    ["an unknown scope", { scope: 3 }],
    ["an unknown action", { action: 2 }],
    ["a match of no kind", withMatch({ principals: [{}] })],
    ["a range of 5 bytes", withMatch({ sourceIps: [{ address: new Uint8Array(5) }] })],
    ["an impossible length", withMatch({ notSourceIps: [{ address: V4, length: 33 }] })],
    ["an impossible port", withMatch({ destinationPorts: [65_536] })],
  ] as const
) {
  Deno.test(`upsertAuthorizationBytes() says the same as Wire to ${name}`, () => {
    const bytes = policyBytes(init as AuthorizationInit);
    const mesh = createMesh({});
    const rejected = mesh.writer.upsertAuthorizationBytes("some/name", bytes);
    mesh.writer.commit();
    const said = rejected === undefined
      ? { value: attachMesh(mesh.lend()).policies()[0] }
      : { rejected };
    deepStrictEqual(
      said,
      Wire.decodeAuthorization(fromBinary(AuthorizationSchema, bytes), "some/name"),
    );
  });
}

/** The bytes with something changed, cut, doubled or put in. */
function damaged(bytes: Uint8Array, below: (bound: number) => number): Uint8Array {
  if (bytes.length === 0) return Uint8Array.of(below(256));
  const at = below(bytes.length);
  const byte = below(256);
  switch (below(4)) {
    case 0:
      return bytes.with(at, byte);
    case 1:
      return bytes.slice(0, at);
    case 2:
      return Uint8Array.from([...bytes.slice(0, at), byte, ...bytes.slice(at)]);
    default:
      return Uint8Array.from([...bytes.slice(0, at), ...bytes.slice(below(bytes.length))]);
  }
}

Deno.test("upsertAddressBytes() gives a reason for every damage that it does not understand", () => {
  const seed = Number(Deno.env.get("SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0]);
  const rng = seededRng(seed);
  const below = (bound: number) => rng.below(bound);
  const whole = [bytesOf(workloadOf(FULL_WORKLOAD)), bytesOf(serviceOf(FULL_SERVICE))];
  const mesh = createMesh({});
  const view = attachMesh(mesh.lend());
  let accepted = 0;
  for (let round = 0; round < 4_000; round++) {
    let bytes: Uint8Array = whole[below(2)]!;
    for (let damages = 1 + below(3); damages > 0; damages--) bytes = damaged(bytes, below);
    const what = `SEED=${seed}, round ${round}`;
    const reason = mesh.writer.upsertAddressBytes(bytes);
    if (reason !== undefined) {
      ok(reason.length > 0 && reason.length < 300, `${what}: ${reason}`);
      continue;
    }
    accepted++;
    mesh.writer.commit();
    // What was accepted can be read, by whoever has only the bytes.
    deepStrictEqual(told(view), told(mesh.view), what);
    mesh.writer.clear();
    mesh.writer.commit();
  }
  ok(accepted > 100, `SEED=${seed}: only ${accepted} accepted`);
});

function told(view: MeshView): readonly unknown[] {
  return [...view.workloads(), ...view.services()];
}

for (
  const [name, bytes, reason] of [
    ["nothing at all", [], /neither a workload nor a service/],
    ["a field that ends early", [0x0a, 0x05, 0x01], /ends in the middle/],
    ["a number that never ends", [0x08, ...Array(11).fill(0x80)], /more than 64 bits/],
    ["field number 0", [0x00, 0x00], /field number 0/],
    ["an impossible wire type", [0x0f], /wire type 7/],
    ["the end of a group that never began", [0x0c], /wire type 4/],
    ["groups without end", Array(100).fill(0x0b), /nested too deeply/],
    ["a field beyond its message", [0x0a, 0x03, 0x0a, 0x04, 0x61, 0x61, 0x61], /beyond|middle/],
    ["text that is not UTF-8", [0x0a, 0x03, 0x0a, 0x01, 0xff], /not UTF-8/],
  ] as const
) {
  Deno.test(`upsertAddressBytes() refuses ${name}`, () => {
    match(createMesh({}).writer.upsertAddressBytes(Uint8Array.from(bytes)) ?? "", reason);
  });
}

Deno.test("upsertAddressBytes() takes a replacement character for the text that it is", () => {
  const mesh = createMesh({});
  strictEqual(mesh.writer.upsertAddressBytes(bytesOf(workloadOf({ uid: "a\ufffdb" }))), undefined);
  mesh.writer.commit();
  strictEqual(attachMesh(mesh.lend()).workload("a\ufffdb")?.uid, "a\ufffdb");
});

Deno.test("upsertAddressBytes() skips unknown fields and groups", () => {
  const known = bytesOf(workloadOf({ uid: "a" }));
  // Field 100 as a varint, as eight bytes, as four bytes, and as a group with a field inside.
  const unknown = [0xa0, 0x06, 0x01, 0xa1, 0x06, 1, 2, 3, 4, 5, 6, 7, 8, 0xa5, 0x06, 1, 2, 3, 4];
  const group = [0xa3, 0x06, 0x08, 0x01, 0xa4, 0x06];
  const mesh = createMesh({});
  const bytes = Uint8Array.from([...unknown, ...known, ...group]);
  strictEqual(mesh.writer.upsertAddressBytes(bytes), undefined);
  mesh.writer.commit();
  strictEqual(mesh.view.workload("a")?.uid, "a");
});

Deno.test("a workload sent twice in the same bytes is not touched, nor is one that is told typed", () => {
  const mesh = createMesh({});
  const bytes = bytesOf(workloadOf(FULL_WORKLOAD));
  mesh.writer.upsertAddressBytes(bytes);
  deepStrictEqual(mesh.writer.commit().touched, [FULL_WORKLOAD.uid]);
  const before = mesh.view.workload(FULL_WORKLOAD.uid)!;
  mesh.writer.upsertAddressBytes(bytes.slice());
  deepStrictEqual(mesh.writer.commit().touched, []);
  mesh.writer.upsertWorkload({ ...before });
  deepStrictEqual(mesh.writer.commit().touched, []);
  strictEqual(mesh.view.workload(FULL_WORKLOAD.uid), before);
  strictEqual(mesh.view.workloadAt("east", ip("10.1.0.9")), undefined);
});

Deno.test("a record larger than what is copied out by habit is read whole", () => {
  const mesh = createMesh({});
  const name = "n".repeat(64 << 10);
  mesh.writer.upsertAddressBytes(bytesOf(workloadOf({ uid: "long", name })));
  mesh.writer.commit();
  strictEqual(attachMesh(mesh.lend()).workload("long")?.name, name);
});
