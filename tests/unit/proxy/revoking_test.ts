import { ok, strictEqual } from "node:assert/strict";
import { type Channel, channelPort } from "#link";
import { createMesh } from "#mesh";
import type { Ask } from "./revoking_worker.ts";
import { seededRng } from "#system";
import { workload } from "../mesh/builders.ts";
import { deny } from "./world.ts";

/** Long enough for some hundred changes; a minute is `REVOKING_MS=60000`. */
const CHURN_MS = Number(Deno.env.get("REVOKING_MS") ?? 2_500);
/** However busy the machine is. */
const ROUNDS_MIN = 20;
const VERDICTS_MIN = 1_000;

/**
 * The writer changes the arena in the middle of a reader's turn. What keeps a connection from living on against a policy is
 * order: the row is there before the verdict, both in one turn; the records are there before the word; and the word is
 * heard in a later turn, when it finds the row.
 */
Deno.test("behaviour.md 5.6: whatever moment a policy comes at, no connection on another thread outlives its word", async () => {
  const seed = Number(Deno.env.get("SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0]);
  const rng = seededRng(seed);
  const { writer, lend } = createMesh({});
  writer.upsertWorkload(workload("web"));
  writer.commit();
  const worker = new Worker(new URL("./revoking_worker.ts", import.meta.url), { type: "module" });
  worker.postMessage(lend());
  const port = channelPort<Ask, { readonly live: number; readonly judged: number }>(
    worker as Channel,
  );
  const count = () =>
    new Promise<{ readonly live: number; readonly judged: number }>((resolve) => {
      port.onWord = resolve;
      port.post({ tell: "count" });
    });
  const commit = () => port.post({ tell: "mesh", epoch: writer.commit().epoch });

  let rounds = 0;
  let judged = 0;
  const end = performance.now() + CHURN_MS;
  for (; performance.now() < end || rounds < ROUNDS_MIN || judged <= VERDICTS_MIN; rounds++) {
    // Rows live; how many turns the thread has before the change is chance.
    writer.removePolicy("shop/no");
    commit();
    while ((await count()).live === 0);
    for (let spin = rng.below(40_000); spin > 0; spin--);
    writer.upsertPolicy(deny);
    // What travels with a policy makes its commit longer: the thread judges in the middle of it.
    for (let other = rng.below(40); other > 0; other--) {
      writer.upsertWorkload(workload(`o${other}`));
    }
    commit();
    const after = await count();
    strictEqual(after.live, 0, `SEED=${seed}, round ${rounds}: lives on against the policy`);
    // Nor does one appear later, whose verdict was of before.
    await new Promise((resolve) => setTimeout(resolve, 1));
    strictEqual((await count()).live, 0, `SEED=${seed}, round ${rounds}: comes late`);
    judged = after.judged;
  }
  worker.terminate();
  ok(judged > VERDICTS_MIN, `only ${judged} verdicts`);
});
