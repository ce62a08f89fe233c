import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { ThreadWatch } from "../../../lib/app/thread_watch.ts";
import { FakeClock } from "../../support/fake_clock.ts";

const LIMITS = { askMs: 2_000, tellAfterMs: 10_000, loseAfterMs: 60_000 };

interface Watched {
  readonly clock: FakeClock;
  readonly watch: ThreadWatch;
  readonly said: string[];
}

function watched(): Watched {
  const clock = new FakeClock();
  const said: string[] = [];
  const watch = new ThreadWatch(clock, LIMITS, {
    ask: () => said.push("ask"),
    onSilent: (silentMs) => said.push(`silent ${silentMs}`),
    onBack: (silentMs) => said.push(`back ${silentMs}`),
    onLost: (silentMs) => said.push(`lost ${silentMs}`),
  });
  return { clock, watch, said };
}

Deno.test("ThreadWatch asks every two seconds a thread that answers, and says nothing of it", async () => {
  const { clock, watch, said } = watched();
  for (let round = 0; round < 3; round++) {
    watch.answered();
    await clock.advance(2_000);
  }
  deepStrictEqual(said, ["ask", "ask", "ask", "ask"]);
  strictEqual(watch.silentMs, 0);
  watch.stop();
  strictEqual(clock.timersCount, 0);
});

Deno.test("ThreadWatch tells of ten silent seconds once, and of the answer after them", async () => {
  const { clock, watch, said } = watched();
  await clock.advance(9_999);
  deepStrictEqual([said, watch.silentMs], [["ask"], 8_000]);
  await clock.advance(1);
  await clock.advance(20_000);
  deepStrictEqual([said, watch.silentMs], [["ask", "silent 10000"], 30_000]);
  watch.answered();
  strictEqual(watch.silentMs, 0);
  await clock.advance(2_000);
  deepStrictEqual(said, ["ask", "silent 10000", "back 30000", "ask"]);
  // A late answer that was not told of needs no second line.
  await clock.advance(4_000);
  watch.answered();
  strictEqual(said.length, 4);
});

Deno.test("ThreadWatch gives a thread up after a minute, once", async () => {
  const { clock, said } = watched();
  await clock.advance(300_000);
  deepStrictEqual(said, ["ask", "silent 10000", "lost 60000"]);
  strictEqual(clock.timersCount, 0);
});

Deno.test("ThreadWatch counts what it has seen itself, not an hour asleep", async () => {
  const { clock, watch, said } = watched();
  await clock.advance(2_000);
  clock.jump(3_600_000);
  await clock.advance(2_000);
  deepStrictEqual([said, watch.silentMs], [["ask"], 4_000]);
});
