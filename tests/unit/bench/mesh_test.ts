/** What the benchmark of a large mesh computes: a wrong turn, line or percentile would be believed. */
import { deepStrictEqual, strictEqual, throws } from "node:assert/strict";
import { optionsOf, UsageError } from "../../../bench/support/mesh_options.ts";
import { lineThrough } from "../../../bench/support/mesh_rounds.ts";
import { dueIn, paceOf } from "../../../bench/support/mesh_traffic.ts";
import { turnsOf } from "../../../bench/support/mesh_turns.ts";

const TRACE = `# tracer: nop
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
        worker-1-21   [001] ..... 10.000000: sys_epoll_wait(epfd: 0x17, events: 0x7f, maxevents: 0x400, timeout: 0x2c)
        worker-1-21   [001] d..2. 10.000005: sched_switch: prev_comm=worker-1 prev_pid=21 prev_prio=120 prev_state=S ==> next_comm=a next_pid=7 next_prio=120
          <idle>-0    [001] d..2. 10.001000: sched_switch: prev_comm=swapper/1 prev_pid=0 prev_prio=120 prev_state=R ==> next_comm=worker-1 next_pid=21 next_prio=120
        worker-1-21   [001] ..... 10.001000: sys_epoll_wait -> 0x1
        worker-1-21   [001] d..2. 10.003000: sched_switch: prev_comm=worker-1 prev_pid=21 prev_prio=120 prev_state=R ==> next_comm=a next_pid=7 next_prio=120
               a-7    [001] ..... 10.003500: sys_epoll_wait -> 0x1
               a-7    [000] d..2. 10.013000: sched_switch: prev_comm=a prev_pid=7 prev_prio=120 prev_state=S ==> next_comm=worker-1 next_pid=21 next_prio=120
        worker-1-21   [000] ..... 10.013500: sys_epoll_wait(epfd: 0x17, events: 0x7f, maxevents: 0x400, timeout: 0x0)
        worker-1-21   [000] ..... 10.013510: sys_epoll_wait -> 0x0
        worker-1-21   [000] ..... 10.014510: sys_epoll_wait(epfd: 0x17, events: 0x7f, maxevents: 0x400, timeout: 0x2c)
`.split("\n");

Deno.test("turnsOf() counts what lies between two waits of the thread, less the time in which others ran", () => {
  const { count, longest, totalMs } = turnsOf(21, TRACE);
  strictEqual(count, 2);
  strictEqual(longest.toFixed(3), "2.500");
  strictEqual(totalMs.toFixed(3), "3.500");
  strictEqual(turnsOf(22, TRACE).count, 0);
});

Deno.test("lineThrough() finds how much is added by a step, and how sure that is", () => {
  const sure = lineThrough([10, 12, 14, 16]);
  strictEqual(sure.slope, 2);
  strictEqual(sure.error, 0);
  const flat = lineThrough([5, 7, 5, 7, 5]);
  strictEqual(flat.slope, 0);
  strictEqual(flat.error.toFixed(3), "0.400");
});

Deno.test("paceOf() takes the requests that were due in a window, and an unanswered one is a failed one", () => {
  const requests = Array.from(
    { length: 2_000 },
    (_, at) => [at, at % 10 / 10, at === 5 ? -1 : at, 0] as const,
  );
  const inside = dueIn(requests, [{ startMs: 0, endMs: 1_000 }, { startMs: 1_999, endMs: 3_000 }]);
  const { count, failedCount, p50, p99, p999, longest } = paceOf(inside);
  deepStrictEqual([count, failedCount], [1_001, 1]);
  deepStrictEqual([p50, p99, p999, longest], [501, 991, 1_999, 1_999]);
});

Deno.test("optionsOf() names what it cannot take", () => {
  const options = optionsOf(["--only", "rounds,first", "--env", "A=b=c", "--data-threads", "2"]);
  if (options === "help") throw new Error("no help was asked for");
  deepStrictEqual(options.sections, ["first", "rounds"]);
  deepStrictEqual(options.env, { A: "b=c" });
  strictEqual(options.threadsCount, 2);
  strictEqual(optionsOf(["--help"]), "help");
  for (
    const args of [
      ["--rate", "1e9"],
      ["--rate", "1.5"],
      ["--runs", "0"],
      ["--write", "--only", "first"],
      ["more"],
    ]
  ) {
    throws(() => optionsOf(args), UsageError, args.join(" "));
  }
});
