import { deepStrictEqual as assertEquals, ok as assert, rejects, throws } from "node:assert/strict";
import net from "node:net";
import { createKernel } from "#linux";
import { type Arrival, DialError, ListenError, StreamError } from "#stream";
import { realClock } from "#system";
import { SocketAddress } from "#values";
import { C, c } from "../../../lib/linux/libc.ts";
import { duplicateFdOf } from "../../../lib/linux/runtime_handles.ts";
import {
  bindTo,
  closeFd,
  encodeSockaddr,
  getOption,
  isReady,
  localAddressOf,
  tcpSocket,
} from "../../../lib/linux/socket.ts";
import type { NativeTcp } from "#linux";
import { bytes, firstArrival, ip, kernel, listenOptions, readText } from "./support.ts";

const TIMEOUT_MS = 30_000;
const dialer = kernel.dialer({});

function optionsOf(native: unknown): (level: number, option: number) => number {
  return (level, option) => {
    const fd = duplicateFdOf((native as NativeTcp).socket);
    try {
      return getOption(fd, level, option);
    } finally {
      closeFd(fd);
    }
  };
}

Deno.test("dial() and serve() agree about who talks to whom", async () => {
  const acceptor = kernel.listen(listenOptions("127.61.2.1"));
  const arriving = firstArrival(acceptor);
  const dialed = await dialer.dial(acceptor.address, { timeoutMs: TIMEOUT_MS });
  const arrival = await arriving;
  assertEquals(arrival.source, dialed.local);
  assertEquals(arrival.local, acceptor.address);
  assertEquals(arrival.destination, acceptor.address);
  assertEquals(acceptor.transparent, false);
  await dialed.write(bytes("hello"));
  await dialed.closeWrite();
  assertEquals(await readText(arrival.stream), "hello");
  await arrival.stream.write(bytes("bye"));
  await arrival.stream.closeWrite();
  assertEquals(await readText(dialed), "bye");
  await Promise.all([dialed.closed, arrival.stream.closed]);
  acceptor.close();
});

Deno.test("listen() on :: serves both families and names IPv4 peers as IPv4", async () => {
  const acceptor = kernel.listen(listenOptions("::"));
  const arriving = firstArrival(acceptor);
  const to = { ip: ip("127.61.2.2"), port: acceptor.address.port };
  const dialed = await dialer.dial(to, { timeoutMs: TIMEOUT_MS });
  const arrival = await arriving;
  assertEquals(arrival.local, to);
  assertEquals(arrival.source, dialed.local);
  acceptor.close();
  dialed.abort();
  arrival.stream.abort();
  await Promise.all([dialed.closed, arrival.stream.closed]);
});

Deno.test("dial() reaches IPv6", async () => {
  const acceptor = kernel.listen(listenOptions("::1"));
  const arriving = firstArrival(acceptor);
  await using dialed = await dialer.dial(acceptor.address, { timeoutMs: TIMEOUT_MS });
  await using stream = (await arriving).stream;
  assertEquals(dialed.local.ip, ip("::1"));
  assertEquals(stream.native !== undefined, true);
  acceptor.close();
});

Deno.test("listen() keeps connections that come before serve()", async () => {
  const acceptor = kernel.listen(listenOptions("127.61.2.3"));
  await using dialed = await dialer.dial(acceptor.address, { timeoutMs: TIMEOUT_MS });
  await dialed.write(bytes("early"));
  const { stream } = await firstArrival(acceptor);
  assertEquals(new TextDecoder().decode((await stream.read())!), "early");
  acceptor.close();
  await stream[Symbol.asyncDispose]();
});

Deno.test("close() refuses new connections at once and leaves accepted ones alone", async () => {
  const acceptor = kernel.listen(listenOptions("127.61.2.4"));
  const arriving = firstArrival(acceptor);
  await using dialed = await dialer.dial(acceptor.address, { timeoutMs: TIMEOUT_MS });
  await using stream = (await arriving).stream;
  acceptor.close();
  acceptor.close();
  await rejects(
    () => dialer.dial(acceptor.address, { timeoutMs: TIMEOUT_MS }),
    (error: unknown) => error instanceof DialError && error.code === "ECONNREFUSED",
  );
  const [, chunk] = await Promise.all([dialed.write(bytes("still")), stream.read()]);
  assertEquals(new TextDecoder().decode(chunk!), "still");
});

Deno.test("close() hands out what the kernel has queued, and then refuses", async () => {
  const acceptor = kernel.listen(listenOptions("127.61.1.30"));
  const arrivals: Arrival[] = [];
  acceptor.serve((arrival) => arrivals.push(arrival));
  // All in one turn: the runtime has no chance to accept any of them.
  const sockaddr = encodeSockaddr(acceptor.address);
  const fds = Array.from({ length: 20 }, () => {
    const fd = tcpSocket(4);
    c.connect(fd, sockaddr, sockaddr.length);
    return fd;
  });
  acceptor.close();
  assertEquals(arrivals.length, 20);
  const ports = fds.map((fd) => localAddressOf(fd).port);
  assertEquals(arrivals.map(({ source }) => source.port).sort(), ports.sort());
  for (const { stream } of arrivals) await stream.write(bytes("here"));
  for (const fd of fds) {
    assert(isReady(fd, C.POLLIN));
    assertEquals(Number(c.read(fd, new Uint8Array(100), 100n)), 4);
    closeFd(fd);
  }
  for (const { stream } of arrivals) stream.abort();
  await Promise.all(arrivals.map(({ stream }) => stream.closed));
  await rejects(
    () => kernel.dialer({}).dial(acceptor.address, { timeoutMs: TIMEOUT_MS }),
    (error: unknown) => error instanceof DialError && error.code === "ECONNREFUSED",
  );
});

Deno.test("close() before serve() frees the port", () => {
  const acceptor = kernel.listen(listenOptions("127.61.2.5"));
  acceptor.close();
  acceptor.serve(() => {});
  kernel.listen({ ...listenOptions("127.61.2.5"), at: acceptor.address }).close();
});

Deno.test("listen() names the address and the reason when it cannot", () => {
  const taken = kernel.listen(listenOptions("127.61.2.6"));
  const cases: readonly [SocketAddress, string, RegExp][] = [
    [
      taken.address,
      "EADDRINUSE",
      /^cannot listen on 127\.61\.2\.6:\d+: address already in use \(EADDRINUSE\)$/,
    ],
    [
      { ip: ip("192.0.2.1"), port: 0 },
      "EADDRNOTAVAIL",
      /^cannot listen on 192\.0\.2\.1:0: address not available \(EADDRNOTAVAIL\)$/,
    ],
  ];
  for (const [at, code, message] of cases) {
    throws(
      () => kernel.listen({ ...listenOptions("127.61.2.6"), at }),
      (error: unknown) =>
        error instanceof ListenError && error.code === code && message.test(error.message),
    );
  }
  taken.close();
});

Deno.test("listen() lets a successor listen beside us only when asked to", () => {
  const first = kernel.listen(listenOptions("127.61.2.7", { reusePort: true }));
  const at = first.address;
  const second = kernel.listen(listenOptions("127.61.2.7", { reusePort: true, at }));
  assertEquals(second.address, at);
  throws(() => kernel.listen(listenOptions("127.61.2.7", { at })), ListenError);
  first.close();
  second.close();
});

Deno.test("dial() tells a refused connection with address and errno", async () => {
  const acceptor = kernel.listen(listenOptions("127.61.2.8"));
  acceptor.close();
  const at = SocketAddress.format(acceptor.address);
  await rejects(() => dialer.dial(acceptor.address, { timeoutMs: TIMEOUT_MS }), {
    name: "DialError",
    code: "ECONNREFUSED",
    errno: 111,
    message: `cannot dial ${at}: connection refused (ECONNREFUSED)`,
  });
});

/** A raw listener whose accept queue is full, so that a further SYN is dropped and sent again after a second. */
async function fullListener(at: string) {
  const fd = tcpSocket(4);
  bindTo(fd, { ip: ip(at), port: 0 });
  assertEquals(c.listen(fd, 0), 0);
  const address = localAddressOf(fd);
  const first = await dialer.dial(address, { timeoutMs: TIMEOUT_MS });
  return { fd, address, first };
}

Deno.test("dial() gives up after its time", async () => {
  const { fd, address, first } = await fullListener("127.61.2.9");
  await Promise.all([1, 2, 3].map(() =>
    rejects(() => dialer.dial(address, { timeoutMs: 100 }), {
      name: "DialError",
      code: "ETIMEDOUT",
      message: /^cannot dial 127\.61\.2\.9:\d+: connection timed out \(ETIMEDOUT\)$/,
    })
  ));
  first.abort();
  await first.closed;
  closeFd(fd);
});

Deno.test("dial() completes a connection that took its time", async () => {
  const { fd, address, first } = await fullListener("127.61.2.10");
  const slow = dialer.dial(address, { timeoutMs: TIMEOUT_MS });
  // Accepting makes room for the SYN that is sent again.
  const server = net.createServer((socket) => void socket.resume()).listen({ fd });
  const late = await slow;
  assertEquals(late.local.ip, ip("127.0.0.1"));
  server.close();
  for (const stream of [late, first]) await stream.closeWrite();
  for (const stream of [late, first]) assertEquals(await stream.read(), null);
  await Promise.all([late.closed, first.closed]);
});

Deno.test("dial() leaves from the address it was told, if it is ours", async () => {
  const acceptor = kernel.listen(listenOptions("127.61.2.11"));
  const arriving = firstArrival(acceptor);
  const from = ip("127.61.2.99");
  await using dialed = await dialer.dial(acceptor.address, { timeoutMs: TIMEOUT_MS, from });
  await using stream = (await arriving).stream;
  assertEquals([dialed.local.ip, stream.native === undefined], [from, false]);
  acceptor.close();
  await rejects(
    () => dialer.dial(acceptor.address, { timeoutMs: TIMEOUT_MS, from: ip("192.0.2.7") }),
    { name: "DialError", code: "EADDRNOTAVAIL", message: /bind: address not available/ },
  );
});

Deno.test("dial() to the very address to be spoofed is a plain dial", async () => {
  const acceptor = kernel.listen(listenOptions("127.61.2.12"));
  const arriving = firstArrival(acceptor);
  const spoof = acceptor.address.ip;
  await using dialed = await dialer.dial(acceptor.address, { timeoutMs: TIMEOUT_MS, spoof });
  await using stream = (await arriving).stream;
  assertEquals(dialed.local.ip, ip("127.0.0.1"));
  assert(stream.native !== undefined);
  acceptor.close();
});

Deno.test("dial() with a source of another family leaves unbound", async () => {
  const acceptor = kernel.listen(listenOptions("127.61.2.13"));
  const arriving = firstArrival(acceptor);
  const spoof = ip("2001:db8::1");
  await using dialed = await dialer.dial(acceptor.address, { timeoutMs: TIMEOUT_MS, spoof });
  await using stream = (await arriving).stream;
  assertEquals(dialed.local.ip, ip("127.0.0.1"));
  assert(stream.native !== undefined);
  acceptor.close();
});

Deno.test("dialed and accepted sockets have NODELAY, and keepalive as told", async () => {
  const keepalive = { idleMs: 180_000, intervalMs: 75_000, retries: 9, userTimeoutMs: 30_000 };
  const acceptor = kernel.listen(listenOptions("127.61.2.14", { keepalive }));
  const arriving = firstArrival(acceptor);
  await using dialed = await kernel.dialer({ keepalive }).dial(acceptor.address, {
    timeoutMs: TIMEOUT_MS,
  });
  await using stream = (await arriving).stream;
  for (const native of [dialed.native, stream.native]) {
    const option = optionsOf(native);
    assertEquals(option(C.SOL_TCP, C.TCP_NODELAY), 1);
    assertEquals(option(C.SOL_SOCKET, C.SO_KEEPALIVE), 1);
    assertEquals(option(C.SOL_TCP, C.TCP_KEEPIDLE), 180);
    assertEquals(option(C.SOL_TCP, C.TCP_KEEPINTVL), 75);
    assertEquals(option(C.SOL_TCP, C.TCP_KEEPCNT), 9);
    assertEquals(option(C.SOL_TCP, C.TCP_USER_TIMEOUT), 30_000);
  }
  acceptor.close();
});

Deno.test("a user timeout does not need keepalive probes", async () => {
  const keepalive = {
    probes: false,
    idleMs: 180_000,
    intervalMs: 75_000,
    retries: 9,
    userTimeoutMs: 30_000,
  };
  const acceptor = kernel.listen(listenOptions("127.61.2.18", { keepalive }));
  const arriving = firstArrival(acceptor);
  await using dialed = await kernel.dialer({ keepalive }).dial(acceptor.address, {
    timeoutMs: TIMEOUT_MS,
  });
  await using stream = (await arriving).stream;
  for (const native of [dialed.native, stream.native]) {
    assertEquals(optionsOf(native)(C.SOL_SOCKET, C.SO_KEEPALIVE), 0);
    assertEquals(optionsOf(native)(C.SOL_TCP, C.TCP_USER_TIMEOUT), 30_000);
  }
  acceptor.close();
});

Deno.test("sockets without keepalive keep the kernel's own", async () => {
  const acceptor = kernel.listen(listenOptions("127.61.2.15"));
  const arriving = firstArrival(acceptor);
  await using dialed = await dialer.dial(acceptor.address, { timeoutMs: TIMEOUT_MS });
  await using stream = (await arriving).stream;
  for (const native of [dialed.native, stream.native]) {
    assertEquals(optionsOf(native)(C.SOL_TCP, C.TCP_NODELAY), 1);
    assertEquals(optionsOf(native)(C.SOL_SOCKET, C.SO_KEEPALIVE), 0);
  }
  acceptor.close();
});

Deno.test("a redirected listener without a redirection reports its own address", async () => {
  const acceptor = kernel.listen(listenOptions("127.61.2.16", { redirected: true }));
  const arriving = firstArrival(acceptor);
  await using dialed = await dialer.dial(acceptor.address, { timeoutMs: TIMEOUT_MS });
  const { stream, destination } = await arriving;
  await using _stream = stream;
  assertEquals(destination, acceptor.address);
  assert(dialed.native !== undefined);
  acceptor.close();
});

Deno.test("a stream nobody has read from has taken nothing off the socket", async () => {
  const acceptor = kernel.listen(listenOptions("127.61.2.17"));
  const arriving = firstArrival(acceptor);
  await using dialed = await dialer.dial(acceptor.address, { timeoutMs: TIMEOUT_MS });
  await using stream = (await arriving).stream;
  await dialed.write(bytes("for tls to read"));
  await new Promise((resolve) => setTimeout(resolve, 50));
  const { kind, socket } = stream.native as NativeTcp;
  assertEquals([kind, socket.bytesRead, socket.readableLength], ["tcp", 0, 0]);
  acceptor.close();
});

Deno.test("a peer that was reset in the queue disturbs nobody", async () => {
  const acceptor = kernel.listen(listenOptions("127.61.2.18"));
  const early = await dialer.dial(acceptor.address, { timeoutMs: TIMEOUT_MS });
  early.abort();
  await early.closed;
  const arrivals: string[] = [];
  const good = Promise.withResolvers<void>();
  acceptor.serve(({ stream, source }) => {
    void stream.read().then(
      (chunk) => {
        arrivals.push(`${source.ip} ${new TextDecoder().decode(chunk!)}`);
        stream.abort();
        good.resolve();
      },
      (error) => assertEquals(error instanceof StreamError, true),
    );
  });
  await using late = await dialer.dial(acceptor.address, { timeoutMs: TIMEOUT_MS });
  await late.write(bytes("me"));
  await good.promise;
  assertEquals(arrivals, ["127.0.0.1 me"]);
  acceptor.close();
});

Deno.test("a kernel of a namespace that is none says so", async () => {
  const broken = createKernel({ clock: realClock, netns: 0 });
  throws(() => broken.listen(listenOptions("127.61.2.20")), ListenError);
  await rejects(
    () => broken.dialer({}).dial({ ip: ip("127.61.2.20"), port: 1 }, { timeoutMs: 100 }),
    { name: "DialError", message: /setns/ },
  );
});

Deno.test("a peer that resets after its FIN is noticed although nobody writes to it", async () => {
  const acceptor = kernel.listen(listenOptions("127.61.0.10"));
  const arrived = firstArrival(acceptor);
  const { port } = acceptor.address;
  const peer = net.connect({ host: "127.61.0.10", port, allowHalfOpen: true });
  const { stream } = await arrived;
  peer.end("last words");
  assertEquals(await readText(stream), "last words");
  const early = await Promise.race([stream.closed.then(() => "closed"), realClock.sleep(1_300)]);
  assertEquals(early, undefined, "a half-closed connection lives on");
  peer.resetAndDestroy();
  await stream.closed;
  acceptor.close();
});
