import { deepStrictEqual as assertEquals, throws } from "node:assert/strict";
import { pipe } from "#stream";

Deno.test("pipe() lets a write wait until its chunk is read", async () => {
  const [a, b] = pipe();
  let written = false;
  const writing = a.write(Uint8Array.of(1, 2)).then(() => written = true);
  await Promise.resolve();
  assertEquals(written, false);
  assertEquals([...(await b.read())!], [1, 2]);
  await writing;
  assertEquals(written, true);
});

Deno.test("pipe() lends a copy, so that the writer may use its buffer again", async () => {
  const [a, b] = pipe();
  const buffer = Uint8Array.of(7);
  const [chunk] = await Promise.all([b.read(), a.write(buffer)]);
  buffer[0] = 8;
  assertEquals([...chunk!], [7]);
});

Deno.test("pipe() refuses two reads and two writes at a time as a bug of the caller", () => {
  const [a, b] = pipe();
  void b.read();
  throws(() => b.read(), /a read is under way/);
  void b.write(Uint8Array.of(1));
  throws(() => b.write(Uint8Array.of(1)), /a write is under way/);
  void a;
});
