/** What control hears of a thread's connections, part by part. */
import { deepStrictEqual } from "node:assert/strict";
import { DataThreads } from "#app";
import { type InstanceReport, loopback, type Port, type ToControl, type ToData } from "#link";
import { createLogHub } from "#log";
import { createMesh } from "#mesh";
import { Metrics } from "#metrics";
import { realRng } from "#system";
import { THREAD_LIMITS } from "../../../lib/app/limits.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { configOf } from "../config/support.ts";

const { reportTimeoutMs } = THREAD_LIMITS;
const report = (instance: number): InstanceReport => ({
  instance,
  connections: { inbound: [], outbound: [] },
  tunnels: [],
  floods: [],
});

/** One thread that says what the test says. */
function world() {
  const clock = new FakeClock();
  const hub = createLogHub({ write: () => {}, nowMs: () => 0, filter: "off", format: "plain" });
  let thread: Port<ToControl, ToData> | undefined;
  let lastId = 0;
  const threads = new DataThreads({
    config: configOf({}),
    count: 1,
    spawn: () => {
      const [near, far] = loopback<ToData, ToControl>();
      thread = far;
      far.onWord = (word) => {
        if (word.tell === "list_connections") lastId = word.id;
      };
      return { port: near, onDeath: undefined, isInline: true, kill: () => {} };
    },
    clock,
    rng: realRng,
    hub,
    log: hub.scope("ztunnel::app"),
    mesh: createMesh({}),
    metrics: new Metrics({ nowMs: () => 0 }),
    onWish: () => {},
    greeting: () => [],
    pods: { podOpened: () => {}, podClosed: () => {} },
  });
  const tell = async (isLast: boolean, ...instances: number[]) => {
    thread!.post({ tell: "connections", id: lastId, instances: instances.map(report), isLast });
    await clock.advance(0);
  };
  return { clock, threads, tell };
}

Deno.test("a thread that is slow to tell of its connections is heard as long as it goes on", async () => {
  const { clock, threads, tell } = world();
  const asked = threads.report();
  await clock.advance(0);
  for (let part = 1; part <= 3; part++) {
    await clock.advance(reportTimeoutMs - 1);
    await tell(part === 3, part);
  }
  deepStrictEqual((await asked).map(({ instance }) => instance), [1, 2, 3]);
});

Deno.test("a thread that stops in the middle of telling is left out, and what comes later is nobody's", async () => {
  const { clock, threads, tell } = world();
  const asked = threads.report();
  await clock.advance(0);
  await tell(false, 1);
  await clock.advance(reportTimeoutMs);
  deepStrictEqual(await asked, []);
  await tell(true, 2);
  const again = threads.report();
  await clock.advance(0);
  await tell(true, 3);
  deepStrictEqual((await again).map(({ instance }) => instance), [3]);
});
