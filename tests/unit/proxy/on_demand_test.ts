/** Connections that wait for the control plane to say who their destination is (behaviour.md 3.8). */
import { deepStrictEqual, match, rejects, strictEqual } from "node:assert/strict";
import type { ToControl } from "#link";
import { at, ports, workload } from "../route/world.ts";
import { deny, onDemand, readText, World } from "./world.ts";

const questions = (told: readonly ToControl[]) =>
  told.filter((word) => word.tell === "want_address").map(({ name }) => name);

Deno.test("3.8: connections to an unknown address wait for one answer, and are decided by what it brought", async () => {
  const world = await new World(onDemand).start();
  const apps = [1, 2].map((port) =>
    world.kernel.connect(15001, at(`10.1.0.5:4000${port}`), at("10.1.0.7:80"))
  );
  await world.clock.advance(5_000);
  deepStrictEqual(questions(world.told), ["/10.1.0.7"], "asked once for both");
  strictEqual(world.kernel.dialled.length, 0);
  world.mesh.writer.upsertWorkload(
    workload("late", { ips: ["10.1.0.7"], protocol: "TCP", services: {} }),
  );
  world.commit();
  world.port.post({ tell: "address_answered", name: "/10.1.0.7", isAnswered: true });
  await world.clock.advance(0);
  deepStrictEqual(world.kernel.dialled.map(({ to }) => to), [at("10.1.0.7:80"), at("10.1.0.7:80")]);
  for (const app of apps) await app.closeWrite();
  for (const { stream } of world.kernel.dialled) await stream.closeWrite();
  for (const app of apps) strictEqual(await readText(app), "");
  await world.clock.advance(0);
  strictEqual(world.lines.length, 2);
  match(world.lines[0]!, /dst\.workload="late"/);
});

Deno.test("3.8: an address that nobody has is passed through, and is asked for again by the next connection", async () => {
  const world = await new World(onDemand).start();
  for (const round of [1, 2]) {
    const app = world.kernel.connect(15001, at(`10.1.0.5:4000${round}`), at("8.8.8.8:53"));
    await world.clock.advance(0);
    strictEqual(questions(world.told).length, round);
    world.port.post({ tell: "address_answered", name: "/8.8.8.8", isAnswered: true });
    await world.clock.advance(0);
    strictEqual(world.kernel.dialled.length, round);
    app.abort();
  }
});

Deno.test("3.8: without an answer in time nothing is dialled, and the line says whose silence it was", async () => {
  const world = await new World(onDemand).start();
  const app = world.kernel.connect(15001, at("10.1.0.5:40000"), at("10.1.0.7:80"));
  await world.clock.advance(0);
  world.port.post({ tell: "address_answered", name: "/10.1.0.7", isAnswered: false });
  await rejects(readText(app), { kind: "reset" });
  await world.clock.advance(0);
  strictEqual(world.kernel.dialled.length, 0);
  match(world.lines[0]!, /the control plane did not say in time who has \/10\.1\.0\.7/);
});

Deno.test("3.8: a peer's address is asked for, but its connection waits a second for that at most", async () => {
  const world = await new World(onDemand).start();
  const first = world.kernel.connect(15006, at("10.7.0.1:5000"), at("10.1.0.5:8080"));
  await world.clock.advance(900);
  deepStrictEqual(questions(world.told), ["/10.7.0.1"]);
  strictEqual(world.kernel.dialled.length, 0);
  await world.clock.advance(200);
  strictEqual(world.kernel.dialled.length, 1);
  const { writer } = world.mesh;
  writer.upsertWorkload(workload("caller", { ips: ["10.7.0.1"], services: { "a/b": ports() } }));
  world.commit();
  world.port.post({ tell: "address_answered", name: "/10.7.0.1", isAnswered: true });
  const second = world.kernel.connect(15006, at("10.7.0.1:5001"), at("10.1.0.5:8080"));
  await world.clock.advance(0);
  strictEqual(world.kernel.dialled.length, 2, "known now, so nobody waits");
  strictEqual(questions(world.told).length, 1);
  first.abort();
  await second.closeWrite();
  await world.kernel.dialled[1]!.stream.closeWrite();
  strictEqual(await readText(second), "");
  await world.clock.advance(0);
  strictEqual(world.lines.filter((line) => line.includes('src.workload="caller"')).length, 1);
});

Deno.test("where everything is sent anyway nobody waits for an address", async () => {
  const world = await new World().start();
  world.kernel.connect(15001, at("10.1.0.5:40000"), at("8.8.8.8:53"));
  world.kernel.connect(15006, at("10.7.0.1:5000"), at("10.1.0.5:8080"));
  await world.clock.advance(0);
  strictEqual(world.kernel.dialled.length, 2);
  deepStrictEqual(questions(world.told), []);
});

Deno.test("a policy that our workload got while a peer's name was asked for holds for that peer", async () => {
  const world = await new World(onDemand).start();
  const peer = world.kernel.connect(15006, at("10.7.0.1:5000"), at("10.1.0.5:8080"));
  await world.clock.advance(0);
  const { writer } = world.mesh;
  writer.upsertPolicy({ ...deny, scope: "WorkloadSelector" });
  writer.upsertWorkload(
    workload("web", { ips: ["10.1.0.5"], authorizationPolicies: [deny.key] }),
  );
  world.commit();
  await world.clock.advance(0);
  world.port.post({ tell: "address_answered", name: "/10.7.0.1", isAnswered: true });
  await rejects(readText(peer), { kind: "reset" });
  strictEqual(world.kernel.dialled.length, 0);
});
