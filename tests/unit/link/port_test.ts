import { strictEqual } from "node:assert/strict";
import { loopback } from "#link";

Deno.test("loopback() carries words in order, each in a later turn, and keeps early ones", async () => {
  const [near, far] = loopback<number | string, number | string>();
  const heard: (number | string)[] = [];
  near.post(1);
  near.post(2);
  await Promise.resolve();
  far.onWord = (word) => void heard.push(word);
  near.post(3);
  strictEqual(heard.join(" "), "1 2", "3 comes in a turn of its own");
  await Promise.resolve();
  strictEqual(heard.join(" "), "1 2 3");
  near.onWord = (word) => void heard.push(word);
  far.post("back");
  await Promise.resolve();
  strictEqual(heard.join(" "), "1 2 3 back");
});
