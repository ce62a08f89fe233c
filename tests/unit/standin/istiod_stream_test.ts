/** istiod's half of delta ADS, message by message (behaviour.md 17.1). */
import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { differencesBetween, type WireMesh, wireMeshOf } from "#standin";
import { Directory } from "../../../lib/standin/directory.ts";
import { IstiodStream, type Turn } from "../../../lib/standin/istiod_stream.ts";
import { localMesh, request, SHOP, shop } from "./example.ts";

const WEB = "c//Pod/shop/web";
const CART = "c//Pod/shop/cart";
const CART_SERVICE = "shop/cart.shop.svc.cluster.local";

const stream = (mesh: WireMesh = shop()) => new IstiodStream(new Directory(mesh));
const names = (turn: Turn) =>
  turn.answers.map(({ resources }) => resources.map(({ name }) => name));
const removed = (turn: Turn) => turn.answers.map((answer) => answer.removed);
const onDemand = { resourceNamesSubscribe: ["*"], resourceNamesUnsubscribe: ["*"] };

Deno.test("17.1 a wildcard subscription is answered with everything, once", () => {
  const istiod = stream();
  const first = istiod.hear(request("address"));
  deepStrictEqual(first.heard, {
    kind: "subscribed",
    type: "address",
    isWildcard: true,
    known: 0,
  });
  deepStrictEqual(names(first), [[CART_SERVICE, WEB, CART]]);
  deepStrictEqual(names(istiod.hear(request("authorization"))), [["shop/p1", "shop/p2"]]);
  const nonce = first.answers[0]!.nonce;
  const ack = istiod.hear(request("address", { responseNonce: nonce }));
  deepStrictEqual(ack, { heard: { kind: "ack", type: "address", nonce }, answers: [] });
});

Deno.test("17.1 a client that comes back is sent what differs, and told what is gone", () => {
  const mesh = shop();
  const version = (name: string) => mesh.address.get(name)!.version;
  const turn = stream(mesh).hear(request("address", {
    initialResourceVersions: {
      [WEB]: version(WEB),
      [CART]: "an older one",
      "c//Pod/shop/gone": "v",
    },
  }));
  deepStrictEqual(names(turn), [[CART_SERVICE, CART]]);
  deepStrictEqual(removed(turn), [["c//Pod/shop/gone"]]);
  strictEqual(turn.heard.kind === "subscribed" && turn.heard.known, 3);
});

Deno.test("17.1 policies have no version: all of them are sent again, removed ones are named", () => {
  const turn = stream().hear(request("authorization", {
    initialResourceVersions: { "shop/p1": "", "shop/gone": "" },
  }));
  deepStrictEqual(names(turn), [["shop/p1", "shop/p2"]]);
  deepStrictEqual(removed(turn), [["shop/gone"]]);
  strictEqual(turn.answers[0]!.resources.every(({ version }) => version === ""), true);
});

Deno.test("17.1 a version is a hash of what a resource says, the same in every process", () => {
  const [one, two] = [shop(), shop()];
  const changed = wireMeshOf(localMesh(SHOP.replace("10.0.0.1", "10.0.0.9")));
  for (const { name, version } of one.address.values()) {
    strictEqual(two.address.get(name)!.version, version);
    strictEqual(changed.address.get(name)!.version === version, name !== WEB);
  }
});

const ASKED: readonly {
  readonly key: string;
  readonly found: readonly string[];
  readonly removed: readonly string[];
}[] = [
  { key: WEB, found: [WEB], removed: [] },
  { key: "/10.0.0.1", found: [WEB], removed: [] },
  { key: "east/10.0.0.2", found: [CART], removed: [] },
  { key: "east/fd00::2", found: [CART], removed: [] },
  { key: "east/10.96.0.2", found: [CART_SERVICE, CART], removed: [] },
  { key: CART_SERVICE, found: [CART_SERVICE, CART], removed: [] },
  { key: "/10.0.0.2", found: [], removed: ["/10.0.0.2"] },
  { key: "shop/unknown", found: [], removed: ["shop/unknown"] },
];

for (const { key, found, removed: gone } of ASKED) {
  Deno.test(`17.1 on demand: ${key} is answered under canonical names, or as removed`, () => {
    const istiod = stream();
    const first = istiod.hear(request("address", onDemand));
    deepStrictEqual(first.heard.kind === "subscribed" && first.heard.isWildcard, false);
    deepStrictEqual([names(first), removed(first)], [[[]], [[]]]);
    const nonce = first.answers[0]!.nonce;
    strictEqual(istiod.hear(request("address", { responseNonce: nonce })).heard.kind, "ack");
    const turn = istiod.hear(request("address", { resourceNamesSubscribe: [key] }));
    deepStrictEqual(turn.heard, { kind: "asked", type: "address", names: [key] });
    deepStrictEqual([names(turn), removed(turn)], [[found], [gone]]);
    const aliases = turn.answers[0]!.resources.flatMap((resource) => resource.aliases);
    strictEqual(found.length === 0 || found.includes(key) || aliases.includes(key), true);
  });
}

Deno.test("17.1 on demand: what runs on the client's node comes unasked", () => {
  const turn = stream().hear(request("address", {
    ...onDemand,
    node: { id: "ztunnel~x", metadata: { NODE_NAME: "n1" } },
  }));
  deepStrictEqual(names(turn), [[WEB]]);
});

Deno.test("17.1 on demand: names listed at a new stream are answered, known versions are not sent again", () => {
  const mesh = shop();
  const turn = stream(mesh).hear(request("address", {
    ...onDemand,
    initialResourceVersions: {
      [WEB]: mesh.address.get(WEB)!.version,
      [CART]: "old",
      "/10.9.9.9": "",
    },
  }));
  deepStrictEqual(names(turn), [[CART]]);
  deepStrictEqual(removed(turn), [["/10.9.9.9"]]);
});

const EDITS: readonly {
  readonly what: string;
  readonly edit: (yaml: string) => string;
  readonly all: readonly string[];
  readonly gone: readonly string[];
  /** For a client that asked for the cart's service only. */
  readonly asked: readonly string[];
  readonly askedGone: readonly string[];
}[] = [
  {
    what: "a changed workload",
    edit: (yaml) => yaml.replace("10.0.0.1", "10.0.0.9"),
    all: [WEB],
    gone: [],
    asked: [],
    askedGone: [],
  },
  {
    what: "a removed workload of a service that was asked for",
    edit: (yaml) => yaml.replace(/- \{ uid: c\/\/Pod\/shop\/cart.*\n/, ""),
    all: [],
    gone: [CART],
    asked: [],
    askedGone: [CART],
  },
  {
    what: "a new endpoint of a service that was asked for",
    edit: (yaml) =>
      yaml.replace(
        "protocol: HBONE, node: n1,",
        `protocol: HBONE, services: { ${CART_SERVICE}: {} },`,
      ),
    all: [WEB],
    gone: [],
    asked: [WEB],
    askedGone: [],
  },
];

for (const { what, edit, all, gone, asked, askedGone } of EDITS) {
  Deno.test(`a push is the difference, and on demand what concerns what was asked for: ${what}`, () => {
    const [before, after] = [shop(), wireMeshOf(localMesh(edit(SHOP)))];
    const differences = differencesBetween(before, after);
    const told = (istiod: IstiodStream) => {
      const answers = istiod.push(new Directory(after), differences);
      return [
        answers.flatMap(({ resources }) => resources.map(({ name }) => name)),
        answers.flatMap((answer) => answer.removed),
      ];
    };
    const wildcard = stream(before);
    deepStrictEqual(told(wildcard), [[], []], "nobody has subscribed yet");
    wildcard.hear(request("address"));
    deepStrictEqual(told(wildcard), [all, gone]);
    const careful = stream(before);
    careful.hear(request("address", onDemand));
    careful.hear(request("address", { resourceNamesSubscribe: [CART_SERVICE] }));
    deepStrictEqual(told(careful), [asked, askedGone]);
  });
}

Deno.test("a policy that changes is pushed, one that is the same is not", () => {
  const after = wireMeshOf(localMesh(SHOP.replace("action: Deny", "action: Allow")));
  const [difference, ...rest] = differencesBetween(shop(), after);
  deepStrictEqual(rest, []);
  strictEqual(difference?.type, "authorization");
  deepStrictEqual(difference.changed.map(({ name }) => name), ["shop/p2"]);
  deepStrictEqual(differencesBetween(after, after), []);
});

Deno.test("an answer to a nonce that is not ours, a refusal and an unknown type are told apart", () => {
  const istiod = stream();
  const nonce = istiod.hear(request("address")).answers[0]!.nonce;
  const heard = (init: Parameters<typeof request>[1]) =>
    istiod.hear(request("address", init)).heard;
  deepStrictEqual(heard({ responseNonce: "x" }), { kind: "stale", type: "address", nonce: "x" });
  deepStrictEqual(
    heard({ responseNonce: nonce, errorDetail: { code: 0, message: "w: bad" } }),
    { kind: "nack", type: "address", nonce, code: 0, reason: "w: bad" },
  );
  deepStrictEqual(heard({ responseNonce: nonce }).kind, "stale", "a nonce counts once");
  deepStrictEqual(istiod.hear(request("type.googleapis.com/x")).heard, {
    kind: "unknown_type",
    typeUrl: "type.googleapis.com/x",
  });
});
