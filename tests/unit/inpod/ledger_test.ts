/**
 * The ledger by conversations: what the agent says and what happens on the left, what is done about it on the right
 * (behaviour.md 10.4, 10.5, C.11). A namespace is written `n1`; the same word twice is the same namespace.
 * @module
 */
import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { INPOD_LIMITS } from "#inpod";
import { type Effect, Ledger, type LedgerEvent } from "../../../lib/inpod/ledger.ts";

/** Every add brings an fd of its own, so that each must be let go of once. */
class TestNetns {
  constructor(readonly id: string, readonly serial: number) {}
}

class Story {
  readonly ledger = new Ledger<TestNetns>();
  nowMs = 0;
  #serial = 0;
  /** Fds that were given and not let go of. */
  readonly held = new Set<TestNetns>();
  readonly #instances = new Map<number, TestNetns>();

  tell(step: string): string {
    const [word, ...args] = step.split(" ");
    if (word === "wait") {
      this.nowMs += Number(args[0]);
      return this.#handle({ on: "tick" });
    }
    return this.#handle(this.#eventOf(word!, args));
  }

  #handle(event: LedgerEvent<TestNetns>): string {
    return this.ledger.handle(event, this.nowMs).map((effect) => this.#perform(effect)).join(", ");
  }

  #eventOf(word: string, args: readonly string[]): LedgerEvent<TestNetns> {
    const [first = "", second = "", ...rest] = args;
    switch (word) {
      case "connected":
      case "disconnected":
      case "ended":
        return { on: word };
      case "add": {
        const netns = new TestNetns(second, ++this.#serial);
        this.held.add(netns);
        const info = { name: first, namespace: "shop", serviceAccount: "sa" };
        return {
          on: "message",
          message: { kind: "add", uid: first, info: rest[0] === "without-info" ? undefined : info },
          netns,
        };
      }
      case "keep":
      case "del":
        return { on: "message", message: { kind: word, uid: first } };
      case "snapshot":
        return { on: "message", message: { kind: "snapshot_sent" } };
      case "up":
        return { on: "started", start: Number(first) };
      case "fails":
      case "dies":
        return { on: "failed", start: Number(first), reason: "busy", abandoned: word === "dies" };
      default:
        throw new Error(`no such step: ${word}`);
    }
  }

  #perform(effect: Effect<TestNetns>): string {
    switch (effect.act) {
      case "answer":
        return effect.error === "" ? "ack" : `nack ${effect.error}`;
      case "start":
        this.#instances.set(effect.start, effect.netns);
        return `start ${effect.start} ${effect.uid} ${effect.netns.id}`;
      case "stop":
        assertEquals(this.#instances.get(effect.start), effect.netns);
        this.#letGo(effect.netns);
        return `stop ${effect.start}`;
      case "release":
        this.#letGo(effect.netns);
        return `release ${effect.netns.id}`;
      case "give_up":
        return "give up";
    }
  }

  #letGo(netns: TestNetns): void {
    if (!this.held.delete(netns)) throw new Error(`${netns.id}/${netns.serial} is let go of twice`);
  }
}

const BUSY = "nack failure to start proxy: busy";

/** Steps with what they must cause; after the last one everything must be let go of when the process ends. */
function story(name: string, steps: readonly (readonly [step: string, effects: string])[]): void {
  Deno.test(`ledger: ${name}`, () => {
    const told = new Story();
    const seen = steps.map(([step]) => [step, told.tell(step)] as const);
    assertEquals(seen, steps);
    // Nobody starts anything after the end, so that a failed start has let go already.
    told.tell("ended");
    assertEquals([...told.held], []);
    assertEquals(told.ledger.pods(), []);
    assertEquals(told.ledger.nextDueMs() === undefined || told.ledger.owesAnswer, true);
  });
}

story("an add is answered when the listeners are bound", [
  ["connected", ""],
  ["add u1 n1", "start 1 u1 n1"],
  ["up 1", "ack"],
  ["snapshot", "ack"],
  ["add u2 n2", "start 2 u2 n2"],
  ["up 2", "ack"],
  ["del u1", "stop 1, ack"],
]);

story("the session of behaviour.md C.11", [
  ["connected", ""],
  ["add p1 n1", "start 1 p1 n1"],
  ["up 1", "ack"],
  ["add p2 n2", "start 2 p2 n2"],
  ["fails 2", BUSY],
  ["snapshot", "ack"],
  ["wait 1000", "start 3 p2 n2"],
  ["up 3", ""],
  ["add p1 n1", "release n1, ack"],
  ["add p1 n9", "stop 1, start 4 p1 n9"],
  ["up 4", "ack"],
  ["del p1", "stop 4, ack"],
  ["disconnected", ""],
  ["connected", ""],
  ["keep p2", "ack"],
  ["snapshot", "ack"],
]);

story("what the snapshot does not name is stopped at its end, and not before", [
  ["connected", ""],
  ["add u1 n1", "start 1 u1 n1"],
  ["up 1", "ack"],
  ["add u2 n2", "start 2 u2 n2"],
  ["up 2", "ack"],
  ["snapshot", "ack"],
  ["disconnected", ""],
  ["connected", ""],
  ["add u2 n2", "release n2, ack"],
  ["snapshot", "stop 1, ack"],
]);

story("a restarted agent that knows other namespaces of the same pods", [
  ["connected", ""],
  ["add u1 n1", "start 1 u1 n1"],
  ["up 1", "ack"],
  ["snapshot", "ack"],
  ["disconnected", ""],
  ["connected", ""],
  ["add u1 n2", "stop 1, start 2 u1 n2"],
  ["up 2", "ack"],
  ["snapshot", "ack"],
]);

story("deletes repeat, and concern unknown pods", [
  ["connected", ""],
  ["del u9", "ack"],
  ["snapshot", "ack"],
  ["add u1 n1", "start 1 u1 n1"],
  ["up 1", "ack"],
  ["del u1", "stop 1, ack"],
  ["del u1", "ack"],
]);

story("a delete before the end of the snapshot leaves a running proxy to it", [
  ["connected", ""],
  ["add u1 n1", "start 1 u1 n1"],
  ["up 1", "ack"],
  ["del u1", "ack"],
  ["snapshot", "stop 1, ack"],
]);

story("a delete before the end of the snapshot drops what has failed", [
  ["connected", ""],
  ["add u1 n1", "start 1 u1 n1"],
  ["fails 1", BUSY],
  ["del u1", "release n1, ack"],
  ["wait 60000", ""],
  ["snapshot", "ack"],
]);

story("failures are tried again, each after a longer wait", [
  ["connected", ""],
  ["snapshot", "ack"],
  ["add u1 n1", "start 1 u1 n1"],
  ["fails 1", BUSY],
  ["wait 999", ""],
  ["wait 1", "start 2 u1 n1"],
  ["fails 2", ""],
  ["wait 1999", ""],
  ["wait 1", "start 3 u1 n1"],
  ["fails 3", ""],
  ["wait 4000", "start 4 u1 n1"],
  ["fails 4", ""],
  ["wait 8000", "start 5 u1 n1"],
  ["fails 5", ""],
  ["wait 14999", ""],
  ["wait 1", "start 6 u1 n1"],
  ["up 6", ""],
]);

story("a failed pod that is deleted is given up", [
  ["connected", ""],
  ["snapshot", "ack"],
  ["add u1 n1", "start 1 u1 n1"],
  ["fails 1", BUSY],
  ["del u1", "release n1, ack"],
  ["wait 60000", ""],
]);

story("a pod that is deleted in the middle of a new attempt", [
  ["connected", ""],
  ["snapshot", "ack"],
  ["add u1 n1", "start 1 u1 n1"],
  ["fails 1", BUSY],
  ["wait 1000", "start 2 u1 n1"],
  ["del u1", "stop 2, ack"],
  ["up 2", ""],
]);

story("add, delete, add of one pod in one namespace", [
  ["connected", ""],
  ["snapshot", "ack"],
  ["add u1 n1", "start 1 u1 n1"],
  ["up 1", "ack"],
  ["del u1", "stop 1, ack"],
  ["add u1 n1", "start 2 u1 n1"],
  ["up 2", "ack"],
]);

story("a failed pod that the agent adds again is tried at once", [
  ["connected", ""],
  ["snapshot", "ack"],
  ["add u1 n1", "start 1 u1 n1"],
  ["fails 1", BUSY],
  ["add u1 n1", "release n1, start 2 u1 n1"],
  ["up 2", "ack"],
]);

story("a failed pod that comes back in another namespace", [
  ["connected", ""],
  ["snapshot", "ack"],
  ["add u1 n1", "start 1 u1 n1"],
  ["fails 1", BUSY],
  ["add u1 n2", "release n1, start 2 u1 n2"],
  ["up 2", "ack"],
  ["wait 60000", ""],
]);

story("no answer waits longer than the agent does", [
  ["connected", ""],
  ["snapshot", "ack"],
  ["add u1 n1", "start 1 u1 n1"],
  ["wait 2999", ""],
  ["wait 1", "nack failure to start proxy: not up after 3000 ms, and still starting"],
  ["add u2 n2", "start 2 u2 n2"],
  ["up 2", "ack"],
  ["up 1", ""],
  ["add u1 n1", "release n1, ack"],
]);

story("an add of what is still starting waits for the same start", [
  ["connected", ""],
  ["add u1 n1", "start 1 u1 n1"],
  ["disconnected", ""],
  ["connected", ""],
  ["add u1 n1", "release n1"],
  ["up 1", "ack"],
  ["snapshot", "ack"],
]);

story("an answer is not given on another connection than its question's", [
  ["connected", ""],
  ["add u1 n1", "start 1 u1 n1"],
  ["disconnected", ""],
  ["connected", ""],
  ["up 1", ""],
  ["snapshot", "stop 1, ack"],
]);

story("failed pods live through a restart of the agent, and are tried meanwhile", [
  ["connected", ""],
  ["add u1 n1", "start 1 u1 n1"],
  ["fails 1", BUSY],
  ["snapshot", "ack"],
  ["disconnected", ""],
  ["wait 1000", "start 2 u1 n1"],
  ["fails 2", ""],
  ["connected", ""],
  ["keep u1", "ack"],
  ["snapshot", "ack"],
  ["wait 2000", "start 3 u1 n1"],
  ["up 3", ""],
]);

for (
  const [what, step] of [
    ["a keep", "keep u1"],
    ["a second end of the snapshot", "snapshot"],
  ] as const
) {
  Deno.test(`ledger: ${what} after the snapshot is another protocol`, () => {
    const told = new Story();
    told.tell("connected");
    told.tell("snapshot");
    const effects = told.tell(step);
    assertEquals(/^nack failure to process message: .+, give up$/.test(effects), true, effects);
  });
}

Deno.test("ledger: an add that does not say who it is is another protocol", () => {
  const told = new Story();
  told.tell("connected");
  assertEquals(
    told.tell("add u1 n1 without-info"),
    "release n1, nack failure to process message: no workload info for u1, give up",
  );
  assertEquals([...told.held], []);
});

Deno.test("ledger: pods past the limit are refused, with their namespaces let go of", () => {
  const told = new Story();
  told.tell("connected");
  for (let index = 1; index <= INPOD_LIMITS.podsMax; index++) {
    told.tell(`add u${index} n${index}`);
    told.tell(`up ${index}`);
  }
  assertEquals(
    told.tell("add one-more n"),
    `release n, nack failure to start proxy: more than ${INPOD_LIMITS.podsMax} pods`,
  );
  // One that replaces another takes no room.
  assertEquals(
    told.tell("add u1 other"),
    `stop 1, start ${INPOD_LIMITS.podsMax + 1} u1 other`,
  );
});

Deno.test("readiness waits for the agent, its snapshot, and pods by name", () => {
  const told = new Story();
  const waits = () => told.ledger.waitsFor(told.nowMs);
  assertEquals(waits(), ["the CNI agent"]);
  told.tell("connected");
  assertEquals(waits(), ["the CNI agent's list of pods"]);
  told.tell("add u1 n1");
  told.tell("fails 1");
  told.tell("add u2 n2");
  told.tell("up 2");
  assertEquals(waits(), ["the CNI agent's list of pods"]);
  told.tell("snapshot");
  assertEquals(waits(), ["pod shop/u1: busy"]);
  told.tell("wait 1000");
  assertEquals(waits(), ["pod shop/u1: busy"], "a new attempt is no success yet");
  told.tell("up 3");
  assertEquals(waits(), []);
  told.tell("disconnected");
  assertEquals(waits(), ["the CNI agent"]);
});

Deno.test("readiness does not wait for a pod that is still on its first attempt", () => {
  const told = new Story();
  told.tell("connected");
  told.tell("snapshot");
  told.tell("add u1 n1");
  assertEquals(told.ledger.waitsFor(told.nowMs), []);
  told.tell(`wait ${INPOD_LIMITS.answerMs}`);
  assertEquals(told.ledger.waitsFor(told.nowMs), [
    "pod shop/u1: not up after 3000 ms, and still starting",
  ]);
});

Deno.test("a pod that is dead or hopeless does not keep the node from being ready for ever", () => {
  const told = new Story();
  const waits = () => told.ledger.waitsFor(told.nowMs);
  told.tell("connected");
  told.tell("snapshot");
  told.tell("add u1 n1");
  told.tell("dies 1");
  assertEquals(waits(), [], "its network is gone");
  told.tell("add u2 n2");
  told.tell("fails 2");
  assertEquals(waits(), ["pod shop/u2: busy"]);
  told.nowMs += INPOD_LIMITS.readinessHoldMs;
  assertEquals(waits(), []);
  assertEquals(told.ledger.pods().map(({ uid, state }) => [uid, state]), [
    ["u1", "Pending"],
    ["u2", "Pending"],
  ]);
});
