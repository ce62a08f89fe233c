/** What holds for every link, over a loopback and over a real Worker. */
import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { type Channel, channelPort, loopback, type Port } from "#link";

/** What the far end does, wherever it lives: see echo_worker.ts. */
type Order =
  | { readonly echo: unknown }
  | { readonly echoLate: readonly unknown[] }
  | { readonly say: number }
  | { readonly die: true };

interface Link extends Disposable {
  readonly near: Port<Order, unknown>;
  /** Resolves with the reason when the far end has died. */
  readonly died: Promise<string>;
}

function overLoopback(): Link {
  const [near, far] = loopback<Order, unknown>();
  const died = Promise.withResolvers<string>();
  far.onWord = (order) => {
    if ("echo" in order) far.post(order.echo);
    else if ("echoLate" in order) { for (const each of order.echoLate) far.post(each); }
    else if ("say" in order) { for (let count = 0; count < order.say; count++) far.post(count); }
    else {
      far.close();
      died.resolve("closed");
    }
  };
  return { near, died: died.promise, [Symbol.dispose]: () => near.close() };
}

function overWorker(): Link {
  const worker = new Worker(new URL("./echo_worker.ts", import.meta.url), { type: "module" });
  const died = Promise.withResolvers<string>();
  worker.onerror = (event) => {
    event.preventDefault();
    died.resolve(event.message);
  };
  return {
    near: channelPort<Order, unknown>(worker as Channel),
    died: died.promise,
    [Symbol.dispose]: () => worker.terminate(),
  };
}

/** Everything that is heard until `count` words are there. */
function hear(port: Port<Order, unknown>, count: number): Promise<unknown[]> {
  const heard: unknown[] = [];
  return new Promise((resolve) => {
    port.onWord = (word) => {
      heard.push(word);
      if (heard.length === count) resolve(heard);
    };
  });
}

for (const [name, open] of [["loopback", overLoopback], ["worker", overWorker]] as const) {
  Deno.test(`${name}: words arrive in order, whatever they hold`, async () => {
    using link = open();
    const shared = new SharedArrayBuffer(8);
    const words = [1, "two", { three: [3] }, new Map([["four", 4]]), { five: undefined }, shared];
    for (const word of words) link.near.post({ echo: word });
    link.near.post({ say: 1_000 });
    const heard = await hear(link.near, words.length + 1_000);
    deepStrictEqual(heard.slice(0, 5), words.slice(0, 5));
    deepStrictEqual(heard.slice(words.length), Array.from({ length: 1_000 }, (_, index) => index));
    new Int32Array(heard[5] as SharedArrayBuffer)[0] = 7;
    strictEqual(new Int32Array(shared)[0], 7, "shared memory is shared, not copied");
  });

  Deno.test(`${name}: a word is never heard in the turn that posts it`, async () => {
    using link = open();
    let heard = 0;
    link.near.onWord = () => void heard++;
    link.near.post({ echo: 1 });
    for (let spin = 0; spin < 1e6; spin++);
    strictEqual(heard, 0);
    link.near.post({ echo: 2 });
    await hear(link.near, 2);
  });

  Deno.test(`${name}: words wait for the first listener, and go to whoever is the listener then`, async () => {
    using link = open();
    link.near.post({ say: 3 });
    await new Promise((resolve) => setTimeout(resolve, 300));
    const first: unknown[] = [];
    const second: unknown[] = [];
    link.near.onWord = (word) => {
      first.push(word);
      link.near.onWord = (later) => void second.push(later);
    };
    link.near.post({ echoLate: ["a", "b"] });
    const deadline = performance.now() + 60_000;
    while (second.length < 4 && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    deepStrictEqual([first, second], [[0], [1, 2, "a", "b"]]);
  });

  Deno.test(`${name}: a closed end hears nothing, says nothing, and closes twice`, async () => {
    using link = open();
    const heard: unknown[] = [];
    link.near.onWord = (word) => void heard.push(word);
    link.near.post({ say: 3 });
    link.near.close();
    link.near.close();
    link.near.post({ echo: "late" });
    await new Promise((resolve) => setTimeout(resolve, 300));
    deepStrictEqual(heard, []);
  });

  Deno.test(`${name}: what was said before the far end died is heard, and posting to the dead is harmless`, async () => {
    using link = open();
    const heard = hear(link.near, 5);
    link.near.post({ say: 5 });
    link.near.post({ die: true });
    deepStrictEqual(await heard, [0, 1, 2, 3, 4]);
    const reason = await link.died;
    ok(reason.length > 0);
    if (name === "worker") match(reason, /the far end was told to die/);
    link.near.post({ echo: 1 });
    await new Promise((resolve) => setTimeout(resolve, 50));
  });
}
