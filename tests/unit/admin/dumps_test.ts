/** Many dumps at once hold nobody up, and there is an end to them. */
import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { startAdminServer } from "#admin";
import { realClock } from "#system";
import { ADMIN_LIMITS } from "../../../lib/admin/limits.ts";
import { until } from "../../support/netns.ts";
import {
  ask,
  bodyOf,
  HOST,
  manyWorkloads,
  meshOf,
  on,
  sourcesWith,
  statusOf,
  withServer,
} from "./harness.ts";

const { dumpsMax } = ADMIN_LIMITS;
const REQUEST = new TextEncoder().encode("GET /config_dump HTTP/1.1\r\nHost: localhost\r\n\r\n");

Deno.test("dumps take turns: all of them together have one slice between two turns of everybody else", async () => {
  let pausing = 0;
  let pausesCount = 0;
  let together = 0;
  const turn = async () => {
    together = Math.max(together, ++pausing);
    pausesCount++;
    await realClock.sleep(0);
    pausing--;
  };
  const sources = sourcesWith({ mesh: meshOf(manyWorkloads(5_000)), turn });
  await withServer(startAdminServer({ ...on("admin"), sources }), async (_, port) => {
    const dumps = await Promise.all(
      Array.from({ length: 5 }, () => ask(port, "GET /config_dump")),
    );
    deepStrictEqual(dumps.map(statusOf), Array(5).fill("200"));
  });
  ok(pausesCount > 5, `${pausesCount} pauses`);
  strictEqual(together, 1);
});

Deno.test("past so many dumps the next is refused, until one has ended or its client has left", async () => {
  const sources = sourcesWith({ mesh: meshOf(manyWorkloads(20_000)) });
  await withServer(startAdminServer({ ...on("admin"), sources }), async (_, port) => {
    for (let round = 1; round <= 2; round++) {
      // Who reads nothing has its dump under way for as long as it likes.
      const clients = await Promise.all(
        Array.from({ length: dumpsMax }, () => Deno.connect({ hostname: HOST, port })),
      );
      for (const client of clients) await client.write(REQUEST);
      await until("one more is refused", async () => {
        const refused = await ask(port, "GET /config_dump");
        if (statusOf(refused) !== "503") return false;
        match(refused, /retry-after: 1\r\n/i);
        match(bodyOf(refused), /too many dumps/);
        return true;
      });
      strictEqual(statusOf(await ask(port, "POST /logging")), "200");
      for (const client of clients) client.close();
      await until("all have ended", () => sources.dumps.length >= dumpsMax * round);
      strictEqual(statusOf(await ask(port, "GET /config_dump")), "200");
    }
  });
});

Deno.test("a dump that cannot be made is over too", async () => {
  let isBroken = true;
  const sources = sourcesWith();
  const { staticConfig } = sources;
  sources.staticConfig = () =>
    isBroken ? Promise.reject(new Error("no such file")) : staticConfig();
  await withServer(startAdminServer({ ...on("admin"), sources }), async (_, port) => {
    for (let failed = 0; failed < dumpsMax; failed++) {
      strictEqual(statusOf(await ask(port, "GET /config_dump")), "500");
    }
    isBroken = false;
    strictEqual(statusOf(await ask(port, "GET /config_dump")), "200");
  });
});
