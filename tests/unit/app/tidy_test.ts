import { strictEqual } from "node:assert/strict";
import { FakeClock } from "../../support/fake_clock.ts";
import {
  Tidy,
  TIDY_BUSY_MS_MIN,
  TIDY_GARBAGE_BYTES_MAX,
  TIDY_GARBAGE_BYTES_MIN,
  TIDY_RESOURCES_STEP,
  TIDY_TICK_MS,
  TIDY_WORTH_MS_MIN,
} from "../../../lib/app/tidy.ts";

/** A thread whose work is what the test says. */
class Thread implements Disposable {
  readonly clock = new FakeClock();
  usedMs = 0;
  releasedCount = 0;
  restedCount = 0;
  /** What it did last. */
  last = "";
  readonly tidy = new Tidy(this.clock, {
    processorMs: () => this.usedMs,
    release: () => {
      this.releasedCount++;
      this.last = "release";
      // What tidying itself costs.
      this.usedMs += 2 * TIDY_WORTH_MS_MIN;
    },
    rest: () => {
      this.restedCount++;
      this.last = "rest";
    },
  });

  /** So many ticks, in each of which it uses so much. */
  async works(usedMs: number, ticksCount = 1): Promise<void> {
    for (let tick = 0; tick < ticksCount; tick++) {
      this.usedMs += usedMs;
      await this.clock.advance(TIDY_TICK_MS);
    }
  }

  [Symbol.dispose](): void {
    this.tidy[Symbol.dispose]();
  }
}

Deno.test("memory is given back once after much work, as soon as a thread is quiet", async () => {
  using thread = new Thread();
  await thread.works(TIDY_WORTH_MS_MIN, 10);
  strictEqual(thread.restedCount, 0, "in the middle of the work");
  await thread.works(TIDY_BUSY_MS_MIN - 1);
  strictEqual(thread.releasedCount, 1);
  strictEqual(thread.restedCount, 1);
  strictEqual(thread.last, "release", "resting leaves garbage too");
  await thread.works(TIDY_BUSY_MS_MIN - 1, 100);
  strictEqual(thread.restedCount, 1, "tidying itself, and a little all the time, are no work");
  await thread.works(TIDY_WORTH_MS_MIN);
  await thread.works(0);
  strictEqual(thread.restedCount, 2);
});

Deno.test("little work adds up, if it is in busy ticks", async () => {
  using thread = new Thread();
  await thread.works(TIDY_BUSY_MS_MIN);
  await thread.works(0);
  strictEqual(thread.restedCount, 0);
  for (let work = TIDY_BUSY_MS_MIN; work < TIDY_WORTH_MS_MIN; work += TIDY_BUSY_MS_MIN) {
    await thread.works(TIDY_BUSY_MS_MIN);
    await thread.works(0);
  }
  strictEqual(thread.restedCount, 1);
});

Deno.test("what the start left behind is given back as soon as it is quiet", async () => {
  using thread = new Thread();
  thread.usedMs = 300;
  await thread.works(0);
  strictEqual(thread.restedCount, 0);
  await thread.works(0);
  strictEqual(thread.restedCount, 1);
});

Deno.test("who is gone tidies no more", async () => {
  const thread = new Thread();
  await thread.works(TIDY_WORTH_MS_MIN);
  thread[Symbol.dispose]();
  await thread.works(0, 3);
  strictEqual(thread.restedCount, 0);
});

Deno.test("during a push that goes on and on, memory is given back every so many resources", () => {
  using thread = new Thread();
  for (let slice = 1; slice <= 12; slice++) {
    thread.tidy.note(TIDY_RESOURCES_STEP / 4);
    strictEqual(thread.releasedCount, Math.floor(slice / 4));
  }
  strictEqual(thread.restedCount, 0, "the push still needs the rest");
});

Deno.test("shared memory that became garbage is collected when the thread is quiet, although it did no work", async () => {
  using thread = new Thread();
  await thread.works(0, 3);
  thread.tidy.noteGarbage(TIDY_GARBAGE_BYTES_MIN - 1);
  await thread.works(0, 3);
  strictEqual(thread.releasedCount, 0, "little is not worth it");
  thread.tidy.noteGarbage(1);
  await thread.works(TIDY_BUSY_MS_MIN);
  strictEqual(thread.releasedCount, 0, "in the middle of work");
  await thread.works(0, 3);
  strictEqual(thread.releasedCount, 1, "once");
});

Deno.test("much shared memory that became garbage is collected in the middle of work too: it may never be quiet", async () => {
  using thread = new Thread();
  thread.tidy.noteGarbage(TIDY_GARBAGE_BYTES_MAX);
  await thread.works(TIDY_BUSY_MS_MIN, 5);
  strictEqual(thread.releasedCount, 1);
  strictEqual(thread.restedCount, 0, "the work still needs the rest");
});
