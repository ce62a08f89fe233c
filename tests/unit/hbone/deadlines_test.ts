import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { FakeClock } from "../../support/fake_clock.ts";
import { Deadlines } from "../../../lib/hbone/deadlines.ts";

Deno.test("Deadlines calls each in its time, and none that was cancelled", async () => {
  const clock = new FakeClock();
  const deadlines = new Deadlines(clock, 1_000);
  const rung: string[] = [];
  const start = (name: string) => deadlines.start(() => void rung.push(name));
  start("one");
  await clock.advance(400);
  const two = start("two");
  start("three");
  await clock.advance(599);
  assertEquals(rung, []);
  await clock.advance(1);
  assertEquals(rung, ["one"]);
  two.cancel();
  await clock.advance(400);
  assertEquals(rung, ["one", "three"]);
  start("four").cancel();
  start("five");
  await clock.advance(999);
  assertEquals(rung.length, 2);
  await clock.advance(1);
  assertEquals(rung, ["one", "three", "five"]);
});

Deno.test("Deadlines lets one start another one", async () => {
  const clock = new FakeClock();
  const deadlines = new Deadlines(clock, 1_000);
  let count = 0;
  const again = (): void => {
    if (++count < 3) deadlines.start(again);
  };
  deadlines.start(again);
  for (let round = 1; round <= 3; round++) {
    await clock.advance(1_000);
    assertEquals(count, round);
  }
});
