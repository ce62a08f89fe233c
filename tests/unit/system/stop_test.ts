import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { Stop, type StopSignal } from "#system";

Deno.test("Stop and AbortController tell the same to those who have to stop", () => {
  for (const stop of [new Stop(), new AbortController()]) {
    const signal: StopSignal = stop.signal;
    const calls: string[] = [];
    const twice = () => void calls.push("twice");
    signal.addEventListener("abort", twice);
    signal.addEventListener("abort", twice);
    const removed = () => void calls.push("removed");
    signal.addEventListener("abort", removed);
    signal.addEventListener("abort", () => void calls.push("last"));
    signal.removeEventListener("abort", removed);
    signal.removeEventListener("abort", () => {});
    assertEquals([signal.aborted, calls], [false, []]);
    stop.abort("why");
    stop.abort("again");
    assertEquals([signal.aborted, signal.reason, calls], [true, "why", ["twice", "last"]]);
    signal.addEventListener("abort", () => void calls.push("late"));
    assertEquals(calls.length, 2);
  }
});

Deno.test("Stop may be listened to and left while it tells", () => {
  const stop = new Stop();
  const calls: string[] = [];
  const second = () => void calls.push("second");
  stop.addEventListener("abort", () => {
    calls.push("first");
    stop.removeEventListener("abort", second);
    stop.addEventListener("abort", () => void calls.push("never"));
  });
  stop.addEventListener("abort", second);
  stop.abort();
  assertEquals(calls, ["first", "second"]);
});
