/** The judge alone, against a clock that the test moves. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import {
  DRIBBLE_COST,
  FLOOD_LIMITS,
  FloodGuard,
  type FloodKind,
  settingsCost,
  STALL_TICK_MS,
} from "../../../lib/http2/flood.ts";
import { FakeClock } from "../../support/fake_clock.ts";

const KINDS = Object.keys(FLOOD_LIMITS) as FloodKind[];
/** Twice the burst is what gets through at worst, see FloodGuard.hit. */
const BURSTS_MAX = 2;

for (const kind of KINDS) {
  Deno.test(`FloodGuard.hit() cuts a flood of ${kind} within two bursts, and counts it`, () => {
    const guard = new FloodGuard(new FakeClock());
    const { burst } = FLOOD_LIMITS[kind];
    let hits = 0;
    while (!guard.hit(kind)) hits++;
    assert(hits >= burst, `cut after ${hits}, within the burst of ${burst}`);
    assert(hits <= BURSTS_MAX * burst, `cut only after ${hits}`);
    assertEquals([...guard.counts()], [[kind, 1]]);
    assertEquals(guard.hit(kind), true, "a flood that goes on is still one");
    assertEquals(guard.counts().get(kind), 2);
  });
}

Deno.test("FloodGuard.hit() forgives with time: no limit is a lifetime total", async () => {
  for (const kind of KINDS.filter((kind) => FLOOD_LIMITS[kind].perSecond > 0)) {
    const clock = new FakeClock();
    const guard = new FloodGuard(clock);
    const { burst, perSecond } = FLOOD_LIMITS[kind];
    // Nine tenths of the rate, until ten bursts have gone through.
    for (let passed = 0; passed < 10 * burst; passed += 0.9 * perSecond) {
      await clock.advance(1_000);
      assert(!guard.hit(kind, Math.min(0.9 * perSecond, FLOOD_LIMITS[kind].amountMax ?? Infinity)));
    }
    assertEquals([...guard.counts()], []);
  }
});

Deno.test("FloodGuard.hit() cuts what stays above the rate, in the end", async () => {
  for (const kind of KINDS.filter((kind) => FLOOD_LIMITS[kind].perSecond > 0)) {
    const clock = new FakeClock();
    const guard = new FloodGuard(clock);
    const { burst, perSecond, amountMax = Infinity } = FLOOD_LIMITS[kind];
    let seconds = 0;
    for (let isCut = false; !isCut; seconds++) {
      assert(seconds < 3 * burst / perSecond + 3, `${kind} at twice its rate goes on`);
      await clock.advance(1_000);
      for (let left = 2 * perSecond; left > 0 && !isCut; left -= amountMax) {
        isCut = guard.hit(kind, Math.min(left, amountMax));
      }
    }
  }
});

Deno.test("FloodGuard.hit() cuts one header block of too many frames, one SETTINGS of too many entries", () => {
  const guard = new FloodGuard(new FakeClock());
  for (const index of [1, 2, 3, 4]) assertEquals(guard.hit("continuation", index), false);
  assertEquals(guard.hit("continuation", 5), true);
  assertEquals(guard.hit("settings", settingsCost(0)), false);
  assertEquals(guard.hit("settings", settingsCost(8)), false);
  // A frame of 1 MiB full of them.
  assertEquals(guard.hit("settings", settingsCost(174_762)), true);
});

interface Load {
  readonly what: string;
  readonly seconds: number;
  /** One second of it; true if something was cut. */
  readonly second: (guard: FloodGuard) => boolean;
}

function times(count: number, act: () => boolean): boolean {
  let isCut = false;
  for (let at = 0; at < count; at++) isCut = act() || isCut;
  return isCut;
}

/** Loads that are honest, however odd they look in one counter alone. */
const HONEST: readonly Load[] = [
  {
    what: "40,000 tiny requests per second, each answered, with two WINDOW_UPDATEs per answer",
    seconds: 20,
    second: (guard) =>
      times(40_000, () => {
        guard.received(50);
        const cut = guard.hit("tiny_data");
        guard.sent(120);
        return guard.hit("window_update") || guard.hit("window_update") || cut;
      }),
  },
  {
    what: "100,000 Redis pings per second, one byte of WINDOW_UPDATE at a time",
    seconds: 10,
    second: (guard) =>
      times(100_000, () => {
        guard.received(14);
        const cut = guard.hit("tiny_data");
        guard.sent(7);
        return guard.hit("window_update") || guard.hit("window_update") || cut;
      }),
  },
  {
    what: "one-way lines of 40 bytes, 200,000 per second",
    seconds: 10,
    second: (guard) =>
      times(200_000, () => {
        guard.received(40);
        return guard.hit("tiny_data");
      }),
  },
  {
    what: "keys pressed in 200 terminals, a byte at a time",
    seconds: 3_600,
    second: (guard) =>
      times(2_000, () => {
        guard.received(1);
        return guard.hit("tiny_data");
      }),
  },
  {
    what: "4,000 new connections per second that their clients reset once answered, PING by PING",
    seconds: 60,
    second: (guard) =>
      times(4_000, () => {
        guard.answered();
        return guard.hit("ping") || guard.hit("window_update");
      }),
  },
  {
    what: "an application that is down, 200 clients that give up after a second each",
    seconds: 3_600,
    second: (guard) => times(200, () => guard.hit("rapid_reset")),
  },
  {
    what: "half of 2,000 requests per second cancelled before the answer",
    seconds: 600,
    second: (guard) =>
      times(1_000, () => {
        guard.answered();
        return guard.hit("rapid_reset");
      }),
  },
  {
    what: "4 Gbit/s that the peer takes a KiB at a time",
    seconds: 5,
    second: (guard) =>
      times(10_000, () => {
        guard.sent(49_143);
        return times(48, () => guard.hit("window_update"));
      }),
  },
  {
    what: "a window of 64 KiB whose last bytes are a crumb",
    seconds: 60,
    second: (guard) =>
      times(5_000, () => {
        guard.sent(65_535);
        return guard.hit("zero_window", DRIBBLE_COST);
      }),
  },
  {
    what: "a peer that measures bandwidth by PING, per round trip of 100 µs under load",
    seconds: 60,
    second: (guard) =>
      times(10_000, () => {
        guard.received(16_384);
        return guard.hit("ping");
      }),
  },
];
for (const { what, seconds, second } of HONEST) {
  Deno.test(`FloodGuard lets ${what} pass`, async () => {
    const clock = new FakeClock();
    const guard = new FloodGuard(clock);
    for (let at = 0; at < seconds; at++) {
      assertEquals(second(guard), false, `cut in second ${at}: ${[...guard.counts()]}`);
      await clock.advance(1_000);
    }
  });
}

Deno.test("FloodGuard lets sixteen tunnels stand still for a week, and cuts 200 full ones after about ten minutes", async () => {
  const stalled = async (kib: number, ticksMax: number) => {
    const clock = new FakeClock();
    const guard = new FloodGuard(clock);
    for (let at = 1; at <= ticksMax; at++) {
      await clock.advance(STALL_TICK_MS);
      if (guard.hit("zero_window", kib)) return at * STALL_TICK_MS / 60_000;
    }
    return Infinity;
  };
  assertEquals(await stalled(16 * 64, 7 * 24 * 360), Infinity);
  const minutes = await stalled(200 * 64, 1_000);
  assert(minutes > 9 && minutes < 25, `cut after ${minutes} minutes`);
});
