/** The control side alone, with a control plane and a CA, as shared mode has it (behaviour.md 9.1, 9.6, 9.9). */
import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { createLogHub } from "#log";
import type { ToData } from "#link";
import { Metrics } from "#metrics";
import { realClock, realRng } from "#system";
import { SpiffeId } from "#values";
import { Control } from "../../../lib/app/control.ts";
import { CaServer, leafFor } from "../../support/ca_server.ts";
import { until } from "../../support/netns.ts";
import { mintCrl, mintLeaf, mintRoot } from "../../support/pki.ts";
import { configOf } from "../config/support.ts";
import { ControlPlane } from "../xds/control_plane.ts";
import { workload } from "../xds/messages.ts";

const HOST = "127.58.1.1";
const root = mintRoot();
const leaf = mintLeaf(root, { ips: [Uint8Array.of(127, 58, 1, 1)] });
const id = (account: string) => SpiffeId.of("cluster.local", "shop", account);

const test = (name: string, fn: () => Promise<void>) =>
  Deno.test({ name, fn, sanitizeOps: false, sanitizeResources: false });

const pod = (name: string, node: string, tunnelProtocol = 1) =>
  workload(`c//Pod/shop/${name}`, { name, serviceAccount: name, node, tunnelProtocol });

async function controlOf(
  plane: ControlPlane,
  ca: CaServer,
  env: Readonly<Record<string, string>> = {},
) {
  const config = configOf({
    env: {
      PROXY_MODE: "shared",
      PROXY_WORKLOAD_INFO: undefined,
      LOCAL_XDS: undefined,
      FAKE_CA: undefined,
      NODE_NAME: "n1",
      XDS_ADDRESS: plane.url,
      CA_ADDRESS: ca.url,
      XDS_ROOT_CA: root.pem,
      CA_ROOT_CA: root.pem,
      ...env,
    },
  });
  const hub = createLogHub({ write: () => {}, nowMs: () => 0, filter: "", format: "plain" });
  const control = await Control.create(config, {
    clock: realClock,
    rng: realRng,
    metrics: new Metrics({ nowMs: () => 0 }),
    scope: (name) => hub.scope(name),
  });
  const told: ToData[] = [];
  control.onTell = (word) => void told.push(word);
  return { control, told };
}

const states = (control: Control) =>
  ([...control.certificates()] as { readonly identity: string; readonly state: string }[])
    .map(({ identity, state }) => `${identity.split("/").at(-1)} ${state}`);

test("9.6, 9.1, 9.9: a node's workloads get certificates by name before anybody asks, and lose them with their last user", async () => {
  using plane = await ControlPlane.start(HOST, [leaf]);
  using ca = await CaServer.start(HOST, [leaf], root);
  const { control, told } = await controlOf(plane, ca);
  await using _control = control;
  await control.loadMesh();
  const stream = await plane.stream();
  await stream.greet({
    resources: [pod("web", "n1"), pod("cart", "n1"), pod("far", "n2"), pod("plain", "n1", 0)],
  });
  await control.meshKnown;
  await until(
    "both have one",
    () => states(control).filter((state) => state.endsWith("Available")).length === 2,
  );
  deepStrictEqual(states(control), ["cart Available", "web Available"], "by identity");
  const names = ca.asked.map(({ request }) => request.metadata?.["ImpersonatedIdentity"]);
  deepStrictEqual(names.toSorted(), [id("cart"), id("web")]);

  control.podOpened({ namespace: "shop", serviceAccount: "web" });
  stream.say("address", { removed: ["c//Pod/shop/web", "c//Pod/shop/cart"] });
  await stream.request();
  deepStrictEqual(states(control), ["web Available"], "a pod still runs");
  control.podClosed({ namespace: "shop", serviceAccount: "web" });
  deepStrictEqual(states(control), []);
  const gone = told.filter((word) => word.tell === "cert_gone").map(({ identity }) => identity);
  deepStrictEqual(gone, [id("cart"), id("web")]);
});

test("9.1: in shared mode a certificate for another name than was asked for is refused", async () => {
  using plane = await ControlPlane.start(HOST, [leaf]);
  using ca = await CaServer.start(HOST, [leaf], root);
  ca.answer = ({ request }) => [leafFor(request.csr, root, { uris: [id("other")] }).pem, root.pem];
  const { control, told } = await controlOf(plane, ca);
  await using _control = control;
  control.hear({ tell: "want_cert", identity: id("web") });
  await until("it is told", () => told.some((word) => word.tell === "cert_failed"));
  ok(states(control)[0]!.startsWith("web Unavailable: did not find expected SAN"));
});

test("a new data thread is told of the revocation lists, and whether the control plane is there", async () => {
  using plane = await ControlPlane.start(HOST, [leaf]);
  using ca = await CaServer.start(HOST, [leaf], root);
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(path, mintCrl(root, [1]));
    const { control } = await controlOf(plane, ca, { CRL_PATH: path });
    await using _control = control;
    deepStrictEqual(control.greeting().map(({ tell }) => tell), ["revocations"]);
    await control.loadMesh();
    const connected = () =>
      control.greeting().find((word) => word.tell === "control_plane")?.isConnected;
    strictEqual(connected(), false);
    await (await plane.stream()).greet();
    strictEqual(connected(), true);
  } finally {
    await Deno.remove(path);
  }
});

test("3.8: without a control plane every address has been answered: what is here is all there is", async () => {
  using plane = await ControlPlane.start(HOST, [leaf]);
  using ca = await CaServer.start(HOST, [leaf], root);
  const local = { XDS_ADDRESS: "", LOCAL_XDS: "workloads: []", XDS_ON_DEMAND: "true" };
  const { control, told } = await controlOf(plane, ca, local);
  await using _control = control;
  await control.loadMesh();
  control.hear({ tell: "want_address", name: "/8.8.8.8" });
  await until("it is answered", () => told.some(({ tell }) => tell === "address_answered"));
  deepStrictEqual(told.filter(({ tell }) => tell === "address_answered"), [
    { tell: "address_answered", name: "/8.8.8.8", isAnswered: true },
  ]);
});
