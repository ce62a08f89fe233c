/**
 * What of `linux` needs root: marks, transparent sockets, foreign source addresses, redirection. Each run has its own
 * network namespace.
 * @module
 */
import { deepStrictEqual as assertEquals, ok as assert, rejects, throws } from "node:assert/strict";
import { createKernel, type NativeTcp, Netns } from "#linux";
import { type Acceptor, type Arrival, type ByteStream, DialError, ListenError } from "#stream";
import { realClock } from "#system";
import { Ip } from "#values";
import { testAsRoot } from "../support/needs.ts";
import { C, c, cString } from "../../lib/linux/libc.ts";
import { duplicateFdOf } from "../../lib/linux/runtime_handles.ts";
import { isIpv6Available } from "../../lib/linux/process.ts";
import { closeFd, getOption } from "../../lib/linux/socket.ts";

const NAME = `zt-linux-${Deno.pid}`;
const POD4 = "10.77.0.1";
const POD6 = "fd77::1";
/** Addresses that no interface has. */
const CLIENT4 = "10.77.9.9";
const CLIENT6 = "fd77:9::9";
const MARK = 1337;
const TIMEOUT_MS = 30_000;

const ip = (text: string): Ip => Ip.parse(text)!;

const SETUP = [
  "ip link set lo up",
  `ip addr add ${POD4}/32 dev lo`,
  `ip addr add ${POD6}/128 dev lo nodad`,
  // Answers to foreign addresses come back to us, as the CNI's routes make them.
  "ip route add local default dev lo table 100",
  `ip rule add from ${POD4} lookup 100`,
  "ip -6 route add local default dev lo table 100",
  `ip -6 rule add from ${POD6} lookup 100`,
  "nft add table inet zt",
  "nft add chain inet zt out { type nat hook output priority -100 ; }",
  "nft add rule inet zt out tcp dport 80 meta mark != 1337 redirect to :15001",
];

function sh(command: string): { success: boolean; text: string } {
  const { success, stdout, stderr } = new Deno.Command("sh", { args: ["-c", command] })
    .outputSync();
  return { success, text: new TextDecoder().decode(success ? stdout : stderr) };
}

function must(command: string): void {
  const { success, text } = sh(command);
  if (!success) throw new Error(`${command}: ${text}`);
}

/** Runs `check` with the fd of a fresh namespace. */
function inPod(name: string, check: (netns: number) => Promise<void> | void): void {
  testAsRoot(name, ["ip", "nft"], async () => {
    must(`ip netns add ${NAME}`);
    let netns = -1;
    try {
      for (const command of SETUP) {
        must(`ip netns exec ${NAME} ${command.replace(/[;{}]/g, "\\$&")}`);
      }
      netns = c.open(cString(`/var/run/netns/${NAME}`), C.O_CLOEXEC);
      assert(netns >= 0);
      await check(netns);
    } finally {
      if (netns >= 0) closeFd(netns);
      must(`ip netns del ${NAME}`);
    }
  });
}

function optionOf(stream: ByteStream, level: number, option: number): number {
  const fd = duplicateFdOf((stream.native as NativeTcp).socket);
  try {
    return getOption(fd, level, option);
  } finally {
    closeFd(fd);
  }
}

function firstArrival(acceptor: Acceptor): Promise<Arrival> {
  return new Promise((resolve) => acceptor.serve(resolve));
}

async function endAll(...streams: ByteStream[]): Promise<void> {
  for (const stream of streams) stream.abort();
  await Promise.all(streams.map((stream) => stream.closed));
}

const at = (text: string, port: number) => ({ ip: ip(text), port });

inPod("a kernel of a namespace listens and dials there and nowhere else", async (netns) => {
  const pod = createKernel({ clock: realClock, netns });
  const home = createKernel({ clock: realClock });
  const acceptor = pod.listen({ at: at("127.61.3.1", 0), transparent: "off", redirected: false });
  await rejects(
    () => home.dialer({}).dial(acceptor.address, { timeoutMs: TIMEOUT_MS }),
    (error: unknown) => error instanceof DialError && error.code === "ECONNREFUSED",
  );
  const arriving = firstArrival(acceptor);
  const dialed = await pod.dialer({ mark: MARK }).dial(acceptor.address, { timeoutMs: TIMEOUT_MS });
  const { stream } = await arriving;
  assertEquals(optionOf(dialed, C.SOL_SOCKET, C.SO_MARK), MARK);
  assertEquals(optionOf(stream, C.SOL_SOCKET, C.SO_MARK), 0);
  acceptor.close();
  await endAll(dialed, stream);
});

inPod("a listener has its mark and is transparent when it must be", async (netns) => {
  const pod = createKernel({ clock: realClock, netns });
  for (const transparent of ["required", "try"] as const) {
    const acceptor = pod.listen({
      at: at("::", 15008),
      transparent,
      mark: MARK,
      redirected: false,
    });
    assertEquals(acceptor.transparent, true);
    const arriving = firstArrival(acceptor);
    const dialed = await pod.dialer({}).dial(at(POD4, 15008), { timeoutMs: TIMEOUT_MS });
    const { stream } = await arriving;
    assertEquals(optionOf(stream, C.SOL_SOCKET, C.SO_MARK), MARK, "inherited by accepted sockets");
    acceptor.close();
    await endAll(dialed, stream);
  }
});

inPod("a redirected connection tells where it was going, in both families", async (netns) => {
  const pod = createKernel({ clock: realClock, netns });
  for (const address of [POD4, POD6]) {
    const acceptor = pod.listen({ at: at("::", 15001), transparent: "required", redirected: true });
    const arriving = firstArrival(acceptor);
    const dialed = await pod.dialer({}).dial(at(address, 80), { timeoutMs: TIMEOUT_MS });
    const { stream, destination, local, source } = await arriving;
    assertEquals(destination, at(address, 80));
    assertEquals(local.port, 15001);
    assertEquals(source, dialed.local);
    acceptor.close();
    await endAll(dialed, stream);
  }
  // Our own mark is exempt from the redirection, which is what keeps us from dialling ourselves.
  await rejects(
    () => pod.dialer({ mark: MARK }).dial(at(POD4, 80), { timeoutMs: TIMEOUT_MS }),
    (error: unknown) => error instanceof DialError && error.code === "ECONNREFUSED",
  );
});

inPod("a dial leaves from a caller's address that is not ours", async (netns) => {
  const pod = createKernel({ clock: realClock, netns });
  for (const [address, client] of [[POD4, CLIENT4], [POD6, CLIENT6]] as const) {
    const acceptor = pod.listen({ at: at("::", 8080), transparent: "off", redirected: false });
    const arriving = firstArrival(acceptor);
    const dialed = await pod.dialer({ mark: MARK }).dial(at(address, 8080), {
      timeoutMs: TIMEOUT_MS,
      spoof: ip(client),
      from: ip("127.0.0.9"),
    });
    const { stream, source } = await arriving;
    assertEquals(source.ip, ip(client));
    assertEquals(dialed.local, source);
    const [, chunk] = await Promise.all([dialed.write(Uint8Array.of(42)), stream.read()]);
    assertEquals([...chunk!], [42]);
    acceptor.close();
    await endAll(dialed, stream);
  }
});

inPod("IPv6 is looked for in the pod's namespace", (netns) => {
  const atHome = isIpv6Available();
  assertEquals(isIpv6Available(netns), true);
  must(`ip netns exec ${NAME} sysctl -qw net.ipv6.conf.lo.disable_ipv6=1`);
  assertEquals(isIpv6Available(netns), false);
  assertEquals(isIpv6Available(), atHome);
  const pod = createKernel({ clock: realClock, netns });
  throws(
    () => pod.listen({ at: at("::1", 0), transparent: "off", redirected: false }),
    (error: unknown) => error instanceof ListenError && error.code === "EADDRNOTAVAIL",
  );
});

inPod("a namespace is known by its inode, and its file is closed once", (fd) => {
  const [first, second] = [Netns.adopt(fd), Netns.adopt(Netns.adopt(fd).duplicate())];
  assertEquals(second.id, first.id);
  assertEquals([second.isNetwork, second.fd === first.fd], [true, false]);
  const home = Netns.adopt(c.open(cString("/proc/self/ns/net"), C.O_CLOEXEC));
  assertEquals(home.id === first.id, false);
  const none = Netns.adopt(c.open(cString("/dev/null"), C.O_CLOEXEC));
  assertEquals([none.isNetwork, none.isAbandoned], [false, false]);
  for (const netns of [second, home, none]) {
    netns[Symbol.dispose]();
    netns[Symbol.dispose]();
    assertEquals(netns.fd, -1);
  }
  throws(() => Netns.adopt(9_999), /fstat/);
});

inPod("connections of a closing listener may move, in that namespace alone", (fd) => {
  const path = "/proc/sys/net/ipv4/tcp_migrate_req";
  const atHome = Deno.readTextFileSync(path);
  assertEquals(Netns.adopt(fd).migrateConnections(), true);
  assertEquals(sh(`ip netns exec ${NAME} cat ${path}`).text, "1\n");
  assertEquals(Deno.readTextFileSync(path), atHome);
  assertEquals(Netns.adopt(c.open(cString("/dev/null"), C.O_CLOEXEC)).migrateConnections(), false);
});

inPod("a namespace with nothing but loopback is a dead pod's", (fd) => {
  const netns = Netns.adopt(fd);
  assertEquals(netns.isAbandoned, true);
  must(`ip netns exec ${NAME} ip link add eth0 type veth peer name eth1`);
  assertEquals(netns.isAbandoned, false);
  must(`ip netns exec ${NAME} ip link del eth0`);
  assertEquals(netns.isAbandoned, true);
});

inPod("a thread that cannot come home ends the process, from a Worker too", async () => {
  const lib = new URL("../../lib/linux/", import.meta.url);
  const program = `
    import { inNetns } from "${lib}netns.ts";
    import { c, cString, C } from "${lib}libc.ts";
    const pod = c.open(cString("/var/run/netns/${NAME}"), C.O_CLOEXEC);
    // The first time opens the way home; then it is taken away.
    inNetns(pod, () => 1);
    const home = Deno.readLinkSync("/proc/thread-self/ns/net");
    const ways = [...Deno.readDirSync("/proc/self/fd")].map(({ name }) => Number(name)).filter((fd) => {
      try {
        return Deno.readLinkSync("/proc/self/fd/" + fd) === home;
      } catch {
        return false;
      }
    });
    inNetns(pod, () => ways.forEach((fd) => c.close(fd)));
    console.log("went on");`;
  const url = `data:application/typescript,${encodeURIComponent(program)}`;
  for (const how of [program, `new Worker("${url}", { type: "module" });`]) {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["eval", how],
      cwd: new URL("../../", import.meta.url),
    }).output();
    const text = new TextDecoder();
    assertEquals([code, text.decode(stdout)], [70, ""], text.decode(stderr));
    assert(text.decode(stderr).includes("cannot leave a pod's network namespace"));
  }
});

testAsRoot(
  "without the capability listeners and dials fail or are plain, as asked",
  ["setpriv"],
  () => {
    const program = `
    import { createKernel } from "#linux";
    import { realClock } from "#system";
    import { Ip } from "#values";
    const kernel = createKernel({ clock: realClock });
    const listen = (transparent) =>
      kernel.listen({ at: { ip: Ip.parse("127.61.3.9"), port: 0 }, transparent, redirected: false });
    const told = [];
    for (const how of ["off", "try", "required"]) {
      try {
        const acceptor = listen(how);
        told.push(acceptor.transparent);
        acceptor.close();
      } catch (error) {
        told.push(error.name + " " + error.code + " " + error.message);
      }
    }
    const unmarked = listen("off");
    const to = unmarked.address;
    const dialed = await kernel.dialer({}).dial(to, { timeoutMs: 30_000, spoof: Ip.parse("192.0.2.9") });
    told.push(dialed.local.ip);
    await kernel.dialer({ mark: 1337 }).dial({ ...to, port: 80 }, { timeoutMs: 30_000 }).catch((error) =>
      told.push(error.name + " " + error.message)
    );
    dialed.abort();
    unmarked.close();
    console.log(JSON.stringify(told));`;
    const { stdout } = new Deno.Command("setpriv", {
      args: ["--bounding-set=-net_admin,-net_raw", "--", Deno.execPath(), "eval", program],
      cwd: new URL("../../", import.meta.url),
    }).outputSync();
    assertEquals(JSON.parse(new TextDecoder().decode(stdout)), [
      false,
      false,
      "ListenError EPERM cannot listen on 127.61.3.9:0: set IP_TRANSPARENT: operation not permitted (EPERM)",
      "127.0.0.1",
      "DialError cannot dial 127.61.3.9:80: set SO_MARK: operation not permitted (EPERM)",
    ]);
    return Promise.resolve();
  },
);
