/** Descriptors are numbers that the kernel gives out again: a pod that is gone must not dial in another's namespace. */
import { ok, rejects, strictEqual } from "node:assert/strict";
import { realClock } from "#system";
import { Ip } from "#values";
import { groundOf } from "../../lib/app/data_side.ts";
import { agentSide } from "../../lib/linux/agent_side.ts";
import { C, c, cString } from "../../lib/linux/libc.ts";
import { configOf } from "../unit/config/support.ts";
import { testAsRoot } from "../support/needs.ts";

/** Other tests of this process open files too, from below. */
const NUMBER_MIN = 900;
const INFO = { name: "a", namespace: "x", serviceAccount: "a" };
const HOW = { timeoutMs: 30_000 };

async function sh(command: string): Promise<void> {
  const { success, stderr } = await new Deno.Command("sh", { args: ["-ec", command] }).output();
  ok(success, new TextDecoder().decode(stderr));
}

/** The namespace by the lowest free number from NUMBER_MIN on. */
function open(name: string): number {
  const low = c.open(cString(`/run/netns/${name}`), C.O_CLOEXEC);
  const fd = c.fcntl(low, C.F_DUPFD_CLOEXEC, NUMBER_MIN);
  c.close(low);
  return fd;
}

testAsRoot(
  "who dials for a pod that is gone does not do so in the pod that has its number now",
  ["ip"],
  async () => {
    const [old, young] = [`zl${Deno.pid}-old`, `zl${Deno.pid}-new`];
    await sh(`for n in ${old} ${young}; do ip netns add $n; ip -n $n link set lo up; done`);
    try {
      using listener = agentSide.within(
        `/run/netns/${young}`,
        () => Deno.listen({ hostname: "127.0.0.1", port: 0 }),
      );
      const to = { ip: Ip.parse("127.0.0.1")!, port: (listener.addr as Deno.NetAddr).port };
      const netnsFd = open(old);
      const ground = groundOf(
        configOf({ env: {} }),
        { kind: "pod", info: INFO, netnsFd },
        realClock,
        () => {},
      );
      const dialer = ground.kernel.dialer({});
      await rejects(dialer.dial(to, HOW), { code: "ECONNREFUSED" }, "it is in its own");
      ground[Symbol.dispose]();

      const again = open(young);
      strictEqual(again, netnsFd, "the number is another pod's");
      await rejects(dialer.dial(to, HOW), { code: "ENETDOWN", message: /its proxy has ended/ });
      ground[Symbol.dispose]();
      strictEqual(c.close(again), 0, "the old one is closed once only");
    } finally {
      await sh(`ip netns del ${old}; ip netns del ${young}`);
    }
  },
);
