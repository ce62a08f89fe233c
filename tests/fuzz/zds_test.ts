import { ok } from "node:assert/strict";
import { INPOD_LIMITS } from "#inpod";
import { decodeMessage, encodeAnswer, UnreadableMessage } from "../../lib/inpod/messages.ts";
import { Ledger } from "../../lib/inpod/ledger.ts";
import { run } from "../support/fuzz.ts";
import { Zds } from "../support/zds_agent.ts";

/** A namespace that knows whether somebody has let go of it. */
class Held {
  isHeld = true;
  constructor(readonly id: string, private readonly all: Set<Held>) {
    all.add(this);
  }

  letGo(): void {
    ok(this.isHeld, "let go of twice");
    this.isHeld = false;
    this.all.delete(this);
  }
}

Deno.test("what an agent says is read or refused, in any order, and no namespace is lost or let go of twice", async () => {
  const held = new Set<Held>();
  let ledger = new Ledger<Held>();
  /** Under way, with what the starts hold. */
  const starts = new Map<number, Held>();
  let nowMs = 0;
  const handle = (event: Parameters<typeof ledger.handle>[0]): string[] =>
    ledger.handle(event, nowMs).map((effect) => {
      if (effect.act === "start") starts.set(effect.start, effect.netns);
      if (effect.act === "stop") starts.delete(effect.start);
      if (effect.act === "stop" || effect.act === "release") effect.netns.letGo();
      if (effect.act === "answer") {
        ok(encodeAnswer(effect.error).length <= INPOD_LIMITS.packetBytesMax);
      }
      return effect.act;
    });
  const report = await run({
    name: "zds",
    corpus: [
      Zds.snapshotSent,
      Zds.add("u1", "a", "b", "c"),
      Zds.add("u2", "a", "b", "c"),
      Zds.addWithoutInfo("u1"),
      Zds.del("u1"),
      Zds.keep("u1"),
    ].map((hex) => Uint8Array.fromHex(hex)),
    inputBytesMax: INPOD_LIMITS.packetBytesMax,
    try(input, rng) {
      nowMs += rng.below(2_000);
      if (rng.below(20) === 0) handle({ on: "disconnected" });
      if (rng.below(20) === 0) handle({ on: "connected" });
      // Sometimes what was started comes up, fails, or takes its time.
      for (const start of [...starts.keys()]) {
        const fate = rng.below(4);
        if (fate === 0) handle({ on: "started", start });
        if (fate === 1) {
          handle({ on: "failed", start, reason: "busy", abandoned: rng.below(2) === 0 });
        }
        if (fate < 2) starts.delete(start);
      }
      handle({ on: "tick" });
      let done: string;
      try {
        const message = decodeMessage(input);
        const needs = message.kind === "add";
        const netns = needs ? { netns: new Held(`n${rng.below(3)}`, held) } : {};
        done = ledger.owesAnswer && netns.netns !== undefined
          ? (netns.netns.letGo(), "busy")
          : `${message.kind}: ${handle({ on: "message", message, ...netns }).join()}`;
      } catch (error) {
        if (!(error instanceof UnreadableMessage)) throw error;
        done = "unreadable";
      }
      if (rng.below(200) === 0) {
        handle({ on: "ended" });
        ok(held.size === 0, `${held.size} namespaces are left`);
        starts.clear();
        ledger = new Ledger();
      }
      return done;
    },
  });
  ok(report.inputs > 100, `only ${report.inputs} inputs`);
  ok(report.outcomes.size > 8, [...report.outcomes.keys()].join());
});
