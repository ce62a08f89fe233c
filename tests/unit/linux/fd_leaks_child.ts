/**
 * Counts of fds concern the whole process, and parallel tests share one: fd_leaks_test.ts runs these in a process of
 * their own.
 */
import { deepStrictEqual as assertEquals, rejects, throws } from "node:assert/strict";
import { OpenFiles } from "#linux";
import { ListenError, relay } from "#stream";
import { realClock } from "#system";
import { bindTo, closeFd, localAddressOf, tcpSocket } from "../../../lib/linux/socket.ts";
import { c } from "../../../lib/linux/libc.ts";
import { until } from "../../support/netns.ts";
import { firstArrival, ip, kernel, listenOptions } from "./support.ts";

const TIMEOUT_MS = 30_000;
const dialer = kernel.dialer({});

/** `work` once to open what stays open, then again under count. */
async function leaksNothing(work: () => Promise<void> | void): Promise<void> {
  await work();
  const before = OpenFiles.count();
  await work();
  // The runtime closes some a turn later.
  const left = () => `${OpenFiles.count()} descriptors, ${before} before`;
  await until("nothing more is open", () => OpenFiles.count() === before, left);
}

Deno.test("OpenFiles.count() follows what is open", () => {
  const before = OpenFiles.count();
  using _file = Deno.openSync("/dev/null");
  assertEquals(OpenFiles.count(), before + 1);
});

Deno.test("300 dials and closes, accepts and aborts leave no fd behind", async () => {
  const acceptor = kernel.listen(listenOptions("127.61.5.1", { redirected: true }));
  const closing: Promise<void>[] = [];
  acceptor.serve(({ stream }) => {
    stream.abort();
    closing.push(stream.closed);
  });
  const cycle = async () => {
    const stream = await dialer.dial(acceptor.address, { timeoutMs: TIMEOUT_MS });
    await rejects(() => stream.read(), { kind: "reset" });
    await stream[Symbol.asyncDispose]();
  };
  await leaksNothing(async () => {
    for (let round = 0; round < 15; round++) await Promise.all(Array.from({ length: 10 }, cycle));
    await Promise.all(closing);
  });
  assertEquals(closing.length, 300);
  acceptor.close();
});

Deno.test("dials that are refused or run out of time leave no fd behind", async () => {
  const full = tcpSocket(4);
  bindTo(full, { ip: ip("127.61.5.2"), port: 0 });
  c.listen(full, 0);
  const address = localAddressOf(full);
  const first = await dialer.dial(address, { timeoutMs: TIMEOUT_MS });
  await leaksNothing(async () => {
    const late = [1, 2, 3].map(() => dialer.dial(address, { timeoutMs: 100 }));
    for (const dial of late) await rejects(dial, { code: "ETIMEDOUT" });
    const refused = { ip: ip("127.61.5.3"), port: address.port };
    await rejects(dialer.dial(refused, { timeoutMs: TIMEOUT_MS }), { code: "ECONNREFUSED" });
    const nowhere = { timeoutMs: TIMEOUT_MS, from: ip("192.0.2.7") };
    await rejects(dialer.dial(address, nowhere), { code: "EADDRNOTAVAIL" });
  });
  first.abort();
  await first.closed;
  closeFd(full);
});

Deno.test("listeners leave no fd behind, whether they failed, served or were closed before", async () => {
  const taken = kernel.listen(listenOptions("127.61.5.4"));
  await leaksNothing(async () => {
    const busy = { ...listenOptions("127.61.5.4"), at: taken.address };
    throws(() => kernel.listen(busy), ListenError);
    kernel.listen(listenOptions("127.61.5.5")).close();
    const serving = kernel.listen(listenOptions("127.61.5.6"));
    serving.serve(() => {});
    serving.close();
    await new Promise((resolve) => setTimeout(resolve, 20));
  });
  taken.close();
});

async function connect(at: string) {
  const acceptor = kernel.listen(listenOptions(at));
  const arriving = firstArrival(acceptor);
  const dialed = await dialer.dial(acceptor.address, { timeoutMs: TIMEOUT_MS });
  const { stream } = await arriving;
  acceptor.close();
  return [dialed, stream] as const;
}

Deno.test("writes that wait for a reader leave no fd behind, whichever side ends them", async () => {
  const one = async (who: "client" | "server") => {
    const [client, server] = await connect("127.61.5.9");
    const writing = (async () => {
      for (;;) await server.write(new Uint8Array(1 << 20));
    })().catch((error: unknown) => error);
    await realClock.sleep(50);
    (who === "client" ? client : server).abort();
    await writing;
    for (const stream of [client, server]) await stream[Symbol.asyncDispose]();
  };
  await leaksNothing(async () => {
    for (let round = 0; round < 5; round++) {
      await one("client");
      await one("server");
    }
  });
});

Deno.test("relays leave no fd behind, whether finished or cut", async () => {
  const one = async (how: "finish" | "cut" | "revoke") => {
    const [client, downstream] = await connect("127.61.5.7");
    const [upstream, server] = await connect("127.61.5.8");
    const revocation = new AbortController();
    const meter = { received: () => {}, sent: () => {} };
    const result = relay({ downstream, upstream, meter, revoked: revocation.signal });
    if (how === "finish") await Promise.all([client.closeWrite(), server.closeWrite()]);
    if (how === "cut") client.abort();
    if (how === "revoke") revocation.abort({ kind: "revoked" });
    await result;
    for (const stream of [downstream, upstream, client, server]) {
      await stream[Symbol.asyncDispose]();
    }
  };
  await leaksNothing(async () => {
    for (let round = 0; round < 10; round++) {
      await Promise.all([one("finish"), one("cut"), one("revoke")]);
    }
  });
});
