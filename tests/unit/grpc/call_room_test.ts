/** A call to a server that does not read, or not yet. */
import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import type { GrpcChannel, GrpcStream } from "#grpc";
import { pause } from "../../support/waiting.ts";
import { GRPC, PATH, type Serve, test, withServer } from "./raw_server.ts";

/** A call that the server has answered, with no room left. */
async function filled(channel: GrpcChannel): Promise<GrpcStream> {
  const stream = channel.stream(PATH);
  await new Promise<void>((resolve) => stream.onAnswer = resolve);
  while (stream.send(new Uint8Array(1 << 16)));
  return stream;
}

test("send() takes no more than a hundred messages for a server that does not read", async () => {
  const serve: Serve = (stream) => {
    stream.pause();
    stream.respond(GRPC);
  };
  await withServer(serve, async (channel) => {
    const stream = channel.stream(PATH);
    strictEqual(await stream.room(), true);
    const message = new Uint8Array(1 << 20);
    let takenCount = 0;
    while (takenCount < 200 && stream.send(message)) takenCount++;
    ok(takenCount >= 100 && takenCount < 120, `${takenCount}`);
    // What both sides buffer on the way is taken too.
    for (let looks = 0; looks < 5; looks++) {
      await pause(100);
      for (; stream.send(message); looks = 0);
    }
    const rooms: boolean[] = [];
    for (let waiter = 0; waiter < 2; waiter++) {
      void stream.room().then((isThere) => rooms.push(isThere));
    }
    await pause(50);
    deepStrictEqual(rooms, [], "there is none while the server does not read");
    stream.cancel();
    strictEqual(stream.send(message), false);
    strictEqual(await stream.room(), false);
    deepStrictEqual(rooms, [false, false]);
  });
});

test("room() has an end when the connection dies, although nobody reads", async () => {
  let cut = () => {};
  const serve: Serve = (stream) => {
    stream.pause();
    stream.respond(GRPC);
    cut = () => stream.session?.destroy();
  };
  await withServer(serve, async (channel) => {
    const stream = await filled(channel);
    const room = stream.room();
    cut();
    strictEqual(await Promise.race([room, pause(60_000)]), false);
    strictEqual(stream.send(new Uint8Array(1)), false);
    strictEqual(await stream.next(), undefined);
    ok(stream.failure !== undefined);
  });
});

test("a call has begun when its server is verified, whatever that says, and never where none is", async () => {
  const serve: Serve = (stream) => void stream.pause();
  await withServer(serve, async (channel) => {
    const stream = channel.stream(PATH);
    strictEqual(await stream.begun, true);
    strictEqual(stream.isAnswered, false);
    stream.cancel();
    strictEqual(await stream.begun, true);
    const cancelled = channel.stream(PATH);
    cancelled.cancel();
    strictEqual(await cancelled.begun, false);
  });
});

test("room() is there again as soon as a server reads", async () => {
  let readOn = () => {};
  const serve: Serve = (stream) => {
    stream.pause();
    stream.respond(GRPC);
    readOn = () => stream.resume();
  };
  await withServer(serve, async (channel) => {
    const stream = await filled(channel);
    const room = stream.room();
    readOn();
    strictEqual(await room, true);
    strictEqual(stream.send(new Uint8Array(1)), true);
    stream.cancel();
  });
});
