import { strictEqual } from "node:assert/strict";
import { FakeClock } from "../../support/fake_clock.ts";
import {
  Tidy,
  TIDY_QUIET_MS,
  TIDY_RESOURCES_MIN,
  TIDY_RESOURCES_STEP,
} from "../../../lib/app/tidy.ts";

Deno.test("memory is given back once after a large push, when it is quiet, and never for small ones", async () => {
  const clock = new FakeClock();
  let [releasedCount, restedCount] = [0, 0];
  using tidy = new Tidy(clock, () => releasedCount++, () => restedCount++);
  for (let update = 0; update < 10; update++) tidy.note(TIDY_RESOURCES_MIN / 20);
  await clock.advance(10 * TIDY_QUIET_MS);
  strictEqual(releasedCount, 0);
  for (let slice = 0; slice < 10; slice++) {
    tidy.note(TIDY_RESOURCES_MIN / 5);
    await clock.advance(TIDY_QUIET_MS / 2);
  }
  strictEqual(releasedCount, 0, "in the middle of the push");
  await clock.advance(TIDY_QUIET_MS);
  strictEqual(releasedCount, 1);
  strictEqual(restedCount, 1);
  tidy.note(TIDY_RESOURCES_MIN / 2);
  await clock.advance(10 * TIDY_QUIET_MS);
  strictEqual(releasedCount, 1);
});

Deno.test("what the start left behind is given back once, and not by who is gone", async () => {
  const clock = new FakeClock();
  let [releasedCount, restedCount] = [0, 0];
  const tidy = new Tidy(clock, () => releasedCount++, () => restedCount++);
  tidy.noteStart();
  strictEqual(releasedCount, 0, "while the first connections come");
  await clock.advance(10 * TIDY_QUIET_MS);
  strictEqual(releasedCount, 1);
  strictEqual(restedCount, 1);
  tidy[Symbol.dispose]();
  tidy.noteStart();
  await clock.advance(10 * TIDY_QUIET_MS);
  strictEqual(releasedCount, 1);
});

Deno.test("during a push that goes on and on, memory is given back every so many resources", async () => {
  const clock = new FakeClock();
  let [releasedCount, restedCount] = [0, 0];
  using tidy = new Tidy(clock, () => releasedCount++, () => restedCount++);
  for (let slice = 1; slice <= 12; slice++) {
    tidy.note(TIDY_RESOURCES_STEP / 4);
    strictEqual(releasedCount, Math.floor(slice / 4));
  }
  strictEqual(restedCount, 0, "the push still needs them");
  await clock.advance(TIDY_QUIET_MS);
  strictEqual(releasedCount, 4);
  strictEqual(restedCount, 1);
});
