/**
 * `setns` moves the calling OS thread alone. All that we do in a pod's namespace rests on the runtime keeping an isolate's
 * JavaScript on one thread (lib/linux/netns.ts): a version that does not fails here.
 * @module
 */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";

/** Tells the thread it runs on at first, and how often it ran on another one afterwards. */
const WATCHER = `
const libc = Deno.dlopen("libc.so.6", { gettid: { parameters: [], result: "i32" } });
const gettid = () => libc.symbols.gettid();
const at = gettid();
let strayed = 0;
let looks = 0;
const look = () => {
  looks++;
  if (gettid() !== at) strayed++;
};
async function busy() {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  for (let round = 0; round < 40; round++) {
    await new Promise((resolve) => setTimeout(resolve, round % 3));
    look();
    await Deno.readTextFile("/proc/self/status");
    look();
    const [client, server] = await Promise.all([
      Deno.connect({ hostname: "127.0.0.1", port }),
      listener.accept(),
    ]);
    look();
    await client.write(new Uint8Array(1000));
    await server.read(new Uint8Array(1000));
    look();
    client.close();
    server.close();
    await crypto.subtle.digest("SHA-256", new Uint8Array(100_000));
    look();
    await new Promise((resolve) => queueMicrotask(resolve));
    look();
  }
  listener.close();
}
await Promise.all([busy(), busy(), busy()]);
postMessage({ at, strayed, looks });
`;

Deno.test("JavaScript of each Worker runs on one OS thread of its own, whatever it waits for", async () => {
  const url = `data:application/javascript,${encodeURIComponent(WATCHER)}`;
  const told = await Promise.all(Array.from({ length: 3 }, () => {
    const worker = new Worker(url, { type: "module" });
    return new Promise<{ at: number; strayed: number; looks: number }>((resolve, reject) => {
      worker.onerror = (event) => reject(new Error(event.message));
      worker.onmessage = ({ data }) => {
        worker.terminate();
        resolve(data);
      };
    });
  }));
  assertEquals(told.map(({ strayed }) => strayed), [0, 0, 0]);
  assert(told.every(({ looks }) => looks === 720), JSON.stringify(told));
  assertEquals(new Set(told.map(({ at }) => at)).size, 3);
});
