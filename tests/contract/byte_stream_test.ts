import { deepStrictEqual as assertEquals, ok as assert, rejects } from "node:assert/strict";
import { createKernel } from "#linux";
import { type Acceptor, type ByteStream, flowOf, pipe } from "#stream";
import { realClock } from "#system";
import { Ip } from "#values";
import { byteStreamContract } from "./byte_stream.ts";

byteStreamContract("pipe()", () => Promise.resolve(pipe()));

for (
  const [name, kernel] of [
    ["TCP", createKernel({ clock: realClock })],
    ["TCP by its public interface", createKernel({ clock: realClock, missingIn: () => "kBuffer" })],
  ] as const
) {
  byteStreamContract(name, async () => {
    const acceptor: Acceptor = kernel.listen({
      at: { ip: Ip.parse("127.61.0.1")!, port: 0 },
      transparent: "off",
      redirected: false,
    });
    const accepted = new Promise<ByteStream>((resolve) =>
      acceptor.serve((arrival) => resolve(arrival.stream))
    );
    const dialed = await kernel.dialer({}).dial(acceptor.address, { timeoutMs: 30_000 });
    const pair: [ByteStream, ByteStream] = [dialed, await accepted];
    acceptor.close();
    return pair;
  });
}

Deno.test("a kernel whose sockets lack something tells it once, and has no flows", async () => {
  const told: string[] = [];
  const kernel = createKernel({
    clock: realClock,
    missingIn: () => "useUserBuffer",
    onFallback: (message) => told.push(message),
  });
  const acceptor = kernel.listen({
    at: { ip: Ip.parse("127.61.0.2")!, port: 0 },
    transparent: "off",
    redirected: false,
  });
  acceptor.serve(({ stream }) => stream.abort());
  for (let count = 0; count < 2; count++) {
    const stream = await kernel.dialer({}).dial(acceptor.address, { timeoutMs: 30_000 });
    assertEquals(flowOf(stream.native), undefined);
    await rejects(() => stream.read(), { name: "StreamError" });
    await stream[Symbol.asyncDispose]();
  }
  acceptor.close();
  assertEquals(told.length, 1);
  assert(told[0]!.includes("have no useUserBuffer"));
});
