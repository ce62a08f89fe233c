/**
 * The undocumented parts of the runtime that `linux` stands on. When one of these fails after an upgrade of Deno,
 * the room has to change before anything else is believed.
 */
import { deepStrictEqual as assertEquals, notEqual, ok as assert } from "node:assert/strict";
import net from "node:net";
import { once } from "node:events";
import { closeFd, encodeSockaddr, localAddressOf, tcpSocket } from "../../../lib/linux/socket.ts";
import { c } from "../../../lib/linux/libc.ts";
import {
  adoptSocket,
  duplicateFdOf,
  missingIn,
  readInto,
  readNoMore,
  readOn,
} from "../../../lib/linux/runtime_handles.ts";
import { until } from "../../support/netns.ts";
import { ip } from "./support.ts";

const HERE = "127.61.1.1";

/** A raw listening fd and its port. */
function rawListener(): { fd: number; port: number } {
  const fd = tcpSocket(4);
  const at = encodeSockaddr({ ip: ip(HERE), port: 0 });
  assertEquals(c.bind(fd, at, at.length), 0);
  assertEquals(c.listen(fd, 16), 0);
  return { fd, port: localAddressOf(fd).port };
}

/** A connected raw fd; loopback answers within the call. */
function rawConnection(port: number): number {
  const fd = tcpSocket(4);
  const to = encodeSockaddr({ ip: ip(HERE), port });
  c.connect(fd, to, to.length);
  return fd;
}

async function serverAndClient() {
  const listener = rawListener();
  const server = net.createServer({ pauseOnConnect: true, allowHalfOpen: true });
  server.listen({ fd: listener.fd }, 16);
  const client = adoptSocket(rawConnection(listener.port));
  client.on("error", () => {});
  const [accepted] = await once(server, "connection") as [net.Socket];
  accepted.on("error", () => {});
  return {
    server,
    client,
    accepted,
    async end() {
      client.destroy();
      accepted.destroy();
      server.close();
      await Promise.all([once(client, "close"), once(accepted, "close")]);
    },
  };
}

Deno.test("net.Server.listen({ fd }) accepts on a raw socket, paused, on the address it was bound to", async () => {
  const { accepted, server, end } = await serverAndClient();
  assertEquals(accepted.localAddress, HERE);
  assertEquals((server.address() as net.AddressInfo).address, HERE);
  assertEquals(accepted.isPaused() || accepted.readableFlowing === false, true);
  await end();
});

Deno.test("new net.Socket({ fd, pauseOnCreate }) adopts a connection without reading from it", async () => {
  const { accepted, client, end } = await serverAndClient();
  accepted.write("not yet");
  await new Promise((resolve) => setTimeout(resolve, 50));
  assertEquals([client.bytesRead, client.readableLength], [0, 0]);
  client.resume();
  const [chunk] = await once(client, "data");
  assertEquals(String(chunk), "not yet");
  await end();
});

Deno.test("an accepted, paused socket reads nothing before it is asked", async () => {
  const { accepted, client, end } = await serverAndClient();
  client.write("not yet");
  await new Promise((resolve) => setTimeout(resolve, 50));
  assertEquals([accepted.bytesRead, accepted.readableLength], [0, 0]);
  await end();
});

Deno.test("fdForIpc() of sockets and servers is a duplicate of our own, closed on exec", async () => {
  const { accepted, client, server, end } = await serverAndClient();
  for (const owner of [accepted, client, server]) {
    const fd = duplicateFdOf(owner);
    assert(fd > 2);
    notEqual(fd, duplicateAndClose(owner));
    const info = Deno.readTextFileSync(`/proc/self/fdinfo/${fd}`);
    const flags = parseInt(/flags:\s+(\d+)/.exec(info)![1]!, 8);
    assert((flags & 0o2000000) !== 0, "close-on-exec");
    closeFd(fd);
  }
  accepted.write("alive");
  client.resume();
  await once(client, "data");
  await end();
  assertEquals(duplicateFdOf(client), -1, "a closed socket has none");
});

function duplicateAndClose(owner: net.Socket | net.Server): number {
  const fd = duplicateFdOf(owner);
  closeFd(fd);
  return fd;
}

Deno.test("resetAndDestroy() sends RST from adopted and from accepted sockets", async () => {
  for (const who of ["client", "accepted"] as const) {
    const pair = await serverAndClient();
    const [killer, victim] = who === "client"
      ? [pair.client, pair.accepted]
      : [pair.accepted, pair.client];
    const seen = new Promise((resolve) =>
      victim.once("error", (error: Error & { code: string }) => resolve(error.code))
    );
    victim.resume();
    killer.resetAndDestroy();
    assertEquals(await seen, "ECONNRESET", who);
    pair.server.close();
  }
});

Deno.test("readInto() reads into our buffer, one chunk for each time it is asked, and lets it be replaced", async () => {
  for (const who of ["client", "accepted"] as const) {
    const pair = await serverAndClient();
    const [reader, writer] = who === "client"
      ? [pair.client, pair.accepted]
      : [pair.accepted, pair.client];
    let got: string[] = [];
    let told = Promise.withResolvers<void>();
    const into = (buffer: Uint8Array) =>
      readInto(reader, buffer, (count) => {
        got.push(new TextDecoder().decode(buffer.subarray(0, count)));
        told.resolve();
        return false;
      });
    into(new Uint8Array(4));
    reader.resume();
    writer.write("abcdefgh");
    await told.promise;
    await new Promise((resolve) => setTimeout(resolve, 20));
    assertEquals(got, ["abcd"], "and no more before it is asked");
    [got, told] = [[], Promise.withResolvers()];
    into(new Uint8Array(16));
    reader.read(0);
    await told.promise;
    assertEquals(got, ["efgh"]);
    const ended = once(reader, "end");
    writer.end();
    reader.read(0);
    await ended;
    await pair.end();
  }
});

Deno.test("missingIn() finds nothing missing in this runtime, and names what is", async () => {
  const { client, accepted, end } = await serverAndClient();
  assertEquals([missingIn(client), missingIn(accepted)], [undefined, undefined]);
  const bare = { _handle: { readStart() {}, readStop() {} } } as unknown as net.Socket;
  assertEquals(missingIn(bare), "useUserBuffer");
  await end();
});

Deno.test("readOn() and readNoMore() start and stop reading at the kernel", async () => {
  const { client, accepted, end } = await serverAndClient();
  const buffer = new Uint8Array(64);
  let got = "";
  readInto(client, buffer, (count) => {
    got += new TextDecoder().decode(buffer.subarray(0, count));
    return true;
  });
  const soon = () => new Promise((resolve) => setTimeout(resolve, 30));
  const hears = (text: string) => until(`"${text}"`, () => got === text, () => got);
  accepted.write("one ");
  await soon();
  assertEquals(got, "", "nothing before the start");
  readOn(client);
  await hears("one ");
  accepted.write("two ");
  await hears("one two ");
  readNoMore(client);
  accepted.write("three");
  await soon();
  assertEquals(got, "one two ", "stopped");
  readOn(client);
  await hears("one two three");
  await end();
});

Deno.test("what waits in the runtime fails with EPIPE when the peer finishes: without that there need be no Outlet", async () => {
  const { client, accepted } = await serverAndClient();
  accepted.on("error", () => {});
  const failed = new Promise<Error | null | undefined>((resolve) =>
    accepted.write(new Uint8Array(64 << 20), resolve)
  );
  client.end();
  const error = await failed;
  assertEquals((error as { code?: string } | undefined)?.code, "EPIPE");
  client.destroy();
  accepted.destroy();
});
