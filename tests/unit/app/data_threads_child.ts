/**
 * Data threads of the real kind, on real sockets. Their file descriptors are counted, and parallel tests share a process, so
 * data_threads_test.ts runs these in one of their own.
 */
import { match, ok, rejects, strictEqual, throws } from "node:assert/strict";
import { workerSpawner } from "#app";
import { createKernel } from "#linux";
import { realClock } from "#system";
import { doublingServer } from "../../support/proxy_process.ts";
import { until } from "../../support/netns.ts";
import {
  APP,
  ask,
  closeAll,
  connectAll,
  INFO,
  MORTAL,
  openFds,
  untilFdsAre,
  World,
} from "./threads_world.ts";

function test(name: string, body: () => Promise<void>): void {
  Deno.test({ name, sanitizeOps: false, sanitizeResources: false }, body);
}

test("a thread that dies takes its own connections along and nothing else", async () => {
  await using _app = doublingServer(APP.ip, APP.port);
  await using world = new World();
  await world.threads.open({ kind: "dedicated", info: INFO });
  world.threads.start();
  // Once round, so that what stays open for good is open.
  closeAll(await connectAll(4));
  await until("nothing is live", async () => (await world.spread()).join() === "0,0");
  const fdsCount = openFds().length;

  const connections = await connectAll(40);
  const [first, second] = await world.spread();
  strictEqual(first! + second!, 40);
  ok(first! > 0 && second! > 0, `one thread got all of ${first} and ${second}`);
  await world.dies(0);
  match(
    world.log,
    /error\tapp\tbug: a data thread has died\tthread=0 error="Error: the test wants/,
  );
  match(world.log, /mortal_worker\.ts:\d+/, "with its place");

  const outcomes = await Promise.allSettled(connections.map(ask));
  strictEqual(outcomes.filter(({ status }) => status === "fulfilled").length, second);
  // While there is one thread, and when there are two again.
  closeAll(await connectAll(20));
  await until("it is replaced", () => world.isReplaced(1), () => world.log);
  closeAll(connections);
  closeAll(await connectAll(20));
  strictEqual(await world.sum("istio_tcp_connections_opened_total"), 84);
  // One byte each, and one more on those that lived on.
  strictEqual(await world.sum("istio_tcp_received_bytes_total"), 84 + second!);
  await until("nothing is live", async () => (await world.spread()).join() === "0,0");
  strictEqual(await world.sum("istio_tcp_sockets_open"), 0, "what a dead thread had open is not");
  strictEqual(await world.sum("istio_tcp_connections_closed_total"), 84 - first!);
  await untilFdsAre(fdsCount);
});

test("a dead thread's dial under way, its epoll and what it was lent are closed", async () => {
  await using world = new World({ count: 1 });
  const idle = openFds().length;
  const instance = await world.threads.open({ kind: "dedicated", info: INFO });
  world.threads.start();
  // A listener whose queue is full answers no SYN: the dial hangs.
  const full = await hangingPort();
  const stuck = await Promise.all([1, 2, 3].map(async () => {
    const connection = await Deno.connect({ hostname: "127.71.1.1", port: 15080 });
    await connection.write(
      Uint8Array.of(5, 1, 0, 5, 1, 0, 1, 127, 71, 1, 9, full.port >> 8, full.port & 255),
    );
    return connection;
  }));
  await until("dials hang", async () => (await world.spread())[0] === 3);
  const pollers = () => openFds().filter((each) => /eventpoll|eventfd/.test(each));
  const before = pollers().length;
  await world.dies(0);
  await until("it is replaced", () => world.isReplaced(1), () => world.log);
  closeAll(stuck);
  full.close();
  // The runtime has some of its own on every thread.
  await until("epoll and bell are closed", () => pollers().length === before - 2);
  await instance.close(0);
  await world.threads[Symbol.asyncDispose]();
  await untilFdsAre(idle);
});

/** A port on the application's address from which no answer comes. */
async function hangingPort(): Promise<{ readonly port: number; close(): void }> {
  const { tcpSocket, bindTo, localAddressOf, closeFd } = await import(
    "../../../lib/linux/socket.ts"
  );
  const { c } = await import("../../../lib/linux/libc.ts");
  const fd = tcpSocket(4);
  bindTo(fd, { ip: APP.ip as never, port: 0 });
  c.listen(fd, 0);
  const { port } = localAddressOf(fd);
  const filler = await Deno.connect({ hostname: APP.ip, port });
  return {
    port,
    close: () => {
      filler.close();
      closeFd(fd);
    },
  };
}

test("listeners of their own: a dead thread's swallows nobody, and closing frees the ports", async () => {
  await using _app = doublingServer(APP.ip, APP.port);
  await using world = new World();
  const instance = await world.threads.open({ kind: "pod", info: INFO });
  world.threads.start();
  const connections = await connectAll(40);
  const [first, second] = await world.spread();
  ok(first! > 0 && second! > 0, `one thread got all of ${first} and ${second}`);
  await world.dies(1);
  closeAll(await connectAll(30));
  await until("it is replaced", () => world.isReplaced(1), () => world.log);
  const later = await connectAll(40);
  const [, replaced] = await world.spread();
  ok(replaced! > 0, "the replacement accepts too");
  closeAll(connections);
  await instance.close(0);
  for (const connection of later) await rejects(ask(connection));
  closeAll(later);
  for (const port of [15001, 15006, 15008, 15080]) {
    Deno.listen({ hostname: "127.71.1.1", port }).close();
  }
});

test("a busy port fails the opening on all threads, and leaves nothing behind", async () => {
  for (
    const [kind, env] of [
      ["dedicated", {}],
      ["pod", {}],
      ["pod", { INPOD_PORT_REUSE: "false" }],
    ] as const
  ) {
    await using world = new World({ env });
    const taken = Deno.listen({ hostname: "127.71.1.1", port: 15001 });
    await rejects(world.threads.open({ kind, info: INFO }), {
      name: "ListenError",
      code: "EADDRINUSE",
      message: /127\.71\.1\.1:15001/,
    });
    taken.close();
    for (const port of [15001, 15006, 15008, 15080]) {
      Deno.listen({ hostname: "127.71.1.1", port }).close();
    }
    await world.threads.open({ kind, info: INFO });
  }
});

test("what a thread is lent to work in a namespace is closed with the instance, and when it dies", async () => {
  await using world = new World();
  using file = await Deno.open("/proc/self/ns/net");
  const mine = openFds().find((each) => each.includes("net:["))!;
  const netnsFd = Number(mine.split(" ")[0]);
  const lent = () => openFds().filter((each) => each.includes("net:[")).length;
  strictEqual(lent(), 1);
  const instance = await world.threads.open({ kind: "pod", info: INFO }, { netnsFd });
  ok(lent() >= 3, "one for each thread");
  await world.dies(0);
  await until("it is replaced", () => world.isReplaced(1), () => world.log);
  await instance.close(0);
  // Each thread remembers its own namespace once it has been in another.
  await until("all are closed", () => lent() <= 3, () => openFds().join("\n"));
  await world.threads[Symbol.asyncDispose]();
  ok(file !== undefined);
});

test("INPOD_PORT_REUSE=false: pods' ports are ours alone, all threads serve them, also after a death", async () => {
  await using _app = doublingServer(APP.ip, APP.port);
  await using world = new World({ env: { INPOD_PORT_REUSE: "false" } });
  const instance = await world.threads.open({ kind: "pod", info: INFO });
  world.threads.start();
  // SO_REUSEPORT on the other side does not help either.
  const at = { ip: "127.71.1.1" as never, port: 15080 };
  const options = { at, transparent: "off", redirected: false, reusePort: true } as const;
  throws(() => createKernel({ clock: realClock }).listen(options), { code: "EADDRINUSE" });
  await world.dies(0);
  await until("it is replaced", () => world.isReplaced(1), () => world.log);
  const connections = await connectAll(40);
  const [first, second] = await world.spread();
  ok(first! > 0 && second! > 0, `one thread got all of ${first} and ${second}`);
  closeAll(connections);
  await instance.close(1_000);
  Deno.listen({ hostname: "127.71.1.1", port: 15080 }).close();
});

test("five deaths in a minute are told, and no sixth thread is tried", async () => {
  let spawnedCount = 0;
  const spawn = workerSpawner(MORTAL);
  await using world = new World({
    count: 1,
    spawn: (boot) => {
      spawnedCount++;
      return spawn(boot);
    },
  });
  await world.threads.open({ kind: "dedicated", info: INFO });
  const lost = rejects(world.threads.lost, {
    name: "ThreadsLost",
    message: /5 data threads have died in 60 s; .*wants this thread dead/,
  });
  for (let death = 1; death <= 5; death++) {
    await world.dies(0);
    if (death < 5) {
      await until("it is replaced", () => world.isReplaced(death), () => world.log);
    }
  }
  await lost;
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  strictEqual(spawnedCount, 5);
});

test("a thread whose program cannot be loaded counts as dead, and says why", async () => {
  await using world = new World({
    count: 1,
    spawn: workerSpawner(new URL("./no_such_worker.ts", import.meta.url)),
  });
  const opening = world.threads.open({ kind: "dedicated", info: INFO });
  opening.catch(() => {});
  await rejects(world.threads.lost, { message: /no_such_worker/ });
});

test("all threads drain at once, and one that hangs is not waited for", async () => {
  await using _app = doublingServer(APP.ip, APP.port);
  await using world = new World();
  const instance = await world.threads.open({ kind: "dedicated", info: INFO });
  world.threads.start();
  const connections = await connectAll(40);
  let startMs = performance.now();
  world.order(0, "hang");
  await world.threads.drain(1_000);
  const tookMs = performance.now() - startMs;
  // The thread hangs until this test is over.
  ok(tookMs > 2_900 && tookMs < 60_000, `took ${tookMs} ms`);
  match(world.log, /a data thread does not end its drain\tthread=0/);
  strictEqual(world.log.split("connection closed due to connection drain").length > 1, true);
  const late = Deno.connect({ hostname: "127.71.1.1", port: 15080 }).then(ask);
  late.catch(() => {});
  startMs = performance.now();
  await instance.close(0);
  await rejects(world.threads.open({ kind: "pod", info: INFO }), /has no successor/);
  ok(performance.now() - startMs < 60_000, "nor when its pods are let go of");
  // The thread that hangs has a listener still, and cannot close it.
  world.goOn();
  await rejects(late, "no thread accepts");
  closeAll(connections);
});

test("a pod that is to start when its thread is lost in a drain keeps nobody waiting", async () => {
  await using world = new World({ count: 1 });
  await world.threads.report();
  world.order(0, "hang");
  await until("it says nothing", async () => {
    const askedMs = performance.now();
    await world.threads.report();
    return performance.now() - askedMs > 1_500;
  });
  const drained = world.threads.drain(200);
  await rejects(world.threads.open({ kind: "pod", info: INFO }), /has no successor/);
  await drained;
  ok(!world.log.includes("another data thread"));
});

test("a thread in a turn without an end is told of, measured, and in the end nothing but a new process helps", async () => {
  await using world = new World({
    watch: { askMs: 200, tellAfterMs: 5_000, loseAfterMs: 8_000 },
  });
  await world.threads.open({ kind: "dedicated", info: INFO });
  world.threads.start();
  const silence = () => world.sum("ztunnel_data_thread_silence_seconds");
  const lost = rejects(world.threads.lost, {
    name: "ThreadsLost",
    message: "data thread 0 has not answered for 8 s",
  });
  // A thread that waits for its processor is silent too, for a moment.
  await until("nobody is silent", async () => await silence() === 0);
  world.order(0, "hang");
  await until("it is told of", () => /does not answer/.test(world.log), () => world.log);
  match(
    world.log,
    /error\tapp\tbug: a data thread does not answer, .*\tthread=0 silent_ms=5000/,
  );
  ok(await silence() >= 5);
  await lost;
});

test("a change of the log's levels reaches every thread, and one that comes later", async () => {
  await using _app = doublingServer(APP.ip, APP.port);
  await using world = new World();
  await world.threads.open({ kind: "dedicated", info: INFO });
  world.threads.start();
  closeAll(await connectAll(20));
  await until(
    "20 lines",
    () => world.log.split("connection complete").length === 21,
    () => world.log,
  );
  ok(!world.log.includes("connection opened"));
  world.hub.change("access=debug", false);
  const openedCount = () => world.log.split("connection opened").length - 1;
  closeAll(await connectAll(20));
  await until("20 more", () => openedCount() === 20, () => world.log);
  await world.dies(0);
  await until("it is replaced", () => world.isReplaced(1), () => world.log);
  const connections = await connectAll(40);
  ok((await world.spread())[0]! > 0);
  await until("40 more", () => openedCount() === 60, () => world.log);
  closeAll(connections);
});
