import { deepStrictEqual as assertEquals, rejects } from "node:assert/strict";
import { createMesh } from "#mesh";
import { Refusal } from "#values";
import { FakeClock } from "../../support/fake_clock.ts";
import { LocalWorkload } from "../../../lib/proxy/local_workload.ts";
import { ip, workload } from "../route/world.ts";

const WAIT_MS = 800;
const INFO = { name: "web", namespace: "shop", serviceAccount: "web" };
const POD_IP = ip("10.1.0.5");

function scene(isConnected = true) {
  const clock = new FakeClock();
  const mesh = createMesh({});
  const local = new LocalWorkload({
    view: mesh.view,
    info: INFO,
    network: "",
    clock,
    waitMs: WAIT_MS,
    isControlPlaneConnected: () => isConnected,
  });
  return { clock, mesh, local };
}

/** Who asks is refused after exactly the wait, with this text. */
async function refusal({ clock, local }: ReturnType<typeof scene>): Promise<string> {
  let text = "";
  const asking = local.get(POD_IP).catch((error) => text = error.message);
  await clock.advance(WAIT_MS - 1);
  assertEquals(text, "");
  await clock.advance(1);
  await asking;
  assertEquals(clock.timersCount, 0);
  return text;
}

Deno.test("a connection gets its workload at once, or when the mesh is told of it", async () => {
  const { clock, mesh, local } = scene();
  const asking = [local.get(POD_IP), local.get(POD_IP)];
  await clock.advance(WAIT_MS - 1);
  mesh.writer.upsertWorkload(workload("web", { uid: "c//Pod/shop/web", ips: [POD_IP] }));
  mesh.writer.commit();
  local.recheck();
  assertEquals((await Promise.all(asking)).map(({ uid }) => uid), Array(2).fill("c//Pod/shop/web"));
  assertEquals((await local.get(POD_IP)).uid, "c//Pod/shop/web");
  assertEquals(clock.timersCount, 0);
});

Deno.test("a workload that nobody told of is refused with whose fault it may be", async () => {
  const unknown = scene();
  assertEquals(
    await refusal(unknown),
    "unknown source workload: web.shop (web): not told by the control plane within 800 ms; it knows nobody at 10.1.0.5",
  );
  const other = scene();
  other.mesh.writer.upsertWorkload(
    workload("web", { serviceAccount: "default", ips: [POD_IP], node: "n2" }),
  );
  other.mesh.writer.commit();
  assertEquals(
    await refusal(other),
    "unknown source workload: web.shop (web): not told by the control plane within 800 ms; " +
      'it knows 10.1.0.5 as default.shop (web) on node "n2"',
  );
  assertEquals(
    await refusal(scene(false)),
    "unknown source workload: web.shop (web): the control plane is not connected, and from before it knows nobody at 10.1.0.5",
  );
  await rejects(
    async () => {
      const { clock, local } = scene();
      const asking = local.get(POD_IP);
      await Promise.all([asking, clock.advance(WAIT_MS)]);
    },
    (error: unknown) => error instanceof Refusal && error.failure.kind === "unknown_workload",
  );
});
