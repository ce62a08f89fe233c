/** Reads an arena as fast as it can, and tells what was wrong, or how much it has read. */
/// <reference lib="deno.worker" />
import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { attachMesh, type MeshHandles, type MeshView } from "#mesh";
import {
  ipOf,
  LOOSE_COUNT,
  PINNED_COUNT,
  pinnedService,
  POLICIES_COUNT,
  revised,
  SERVICE_KEY,
  TWINS,
  TWINS_COUNT,
  uidOf,
} from "./arena_mesh.ts";
import { ip } from "./builders.ts";

/** Between two looks at the inbox. */
const TURN_READS_COUNT = 200;

let reads = 0;
let stopped = false;

function check(view: MeshView): void {
  const index = Math.floor(Math.random() * (PINNED_COUNT + LOOSE_COUNT));
  const isPinned = index < PINNED_COUNT;
  const byUid = view.workload(uidOf(index));
  if (byUid !== undefined) deepStrictEqual(byUid, revised(index, Number(byUid.canonicalRevision)));
  else ok(!isPinned, `${uidOf(index)} was always there`);
  const address = ipOf(index, Math.floor(Math.random() * 3));
  const found = view.workloadAt("", address);
  if (found !== undefined) {
    deepStrictEqual(found, revised(index, Number(found.canonicalRevision)));
    strictEqual(found.workloadIps[0], address);
  } else ok(!isPinned, `${address} was always there`);
  const named = view.named("shop", `host-${index}.org`);
  if (named !== undefined) ok("workload" in named && named.workload.uid === uidOf(index));
  else ok(!isPinned, `host-${index}.org was always there`);

  const services = [
    view.service(SERVICE_KEY),
    view.serviceAt("", ip("10.96.0.1"), "shop"),
    view.serviceAt("", ip("10.97.3.4")),
    view.serviceNamed("pinned.org"),
  ];
  for (const service of services) {
    ok(service !== undefined, "the service was always there");
    deepStrictEqual(service, pinnedService(Number(service.subjectAltNames[0])));
  }
  const applied = view.policiesFor(revised(0, 0));
  strictEqual(applied.length, POLICIES_COUNT);
  strictEqual(new Set(applied.map((policy) => policy.name)).size, 1, "policies of two pushes");
  if (reads % 50 === 0) {
    const uids = new Set([...view.endpointsOf(services[0]!)].map((each) => each.workloadUid));
    for (let pinned = 0; pinned < PINNED_COUNT; pinned++) ok(uids.has(uidOf(pinned)));
    strictEqual(view.policies().length, POLICIES_COUNT);
  }
  if (reads % 10 === 0) {
    const ports = [...view.endpointsOf(TWINS)].map((each) => each.ports.get(80));
    strictEqual(ports.length, TWINS_COUNT);
    strictEqual(new Set(ports).size, 1, "a reload is seen at once");
  }
  reads++;
}

async function read(handles: MeshHandles): Promise<void> {
  const view = attachMesh(handles);
  const turns = new MessageChannel();
  let next = () => {};
  turns.port1.onmessage = () => next();
  postMessage("reading");
  while (!stopped) {
    for (let turn = 0; turn < TURN_READS_COUNT; turn++) check(view);
    await new Promise<void>((resolve) => {
      next = resolve;
      turns.port2.postMessage(undefined);
    });
  }
  turns.port1.close();
  postMessage({ reads, epoch: view.epoch });
}

onmessage = ({ data }: MessageEvent<MeshHandles | "stop">) => {
  if (data === "stop") {
    stopped = true;
    return;
  }
  read(data).catch((error) => postMessage({ wrong: String(error?.stack ?? error) }));
};
