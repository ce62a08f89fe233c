/** A control plane with its files: roots and tokens are replaced in time, and two of them share a machine. */
import { match, notStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { silentLog } from "#log";
import { type ControlPlane, hostControlPlane, type HostOptions, Tokens } from "#standin";
import { realClock, realRng, seededRng } from "#system";
import { Ip } from "#values";
import { CredentialFiles } from "../../../lib/standin/credentials.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { until } from "../../support/netns.ts";

const test = (name: string, fn: () => Promise<void>) =>
  Deno.test({ name, fn, sanitizeOps: false, sanitizeResources: false });

async function inFolder(act: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await act(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const host = (folder: string, options: Partial<HostOptions> = {}) =>
  hostControlPlane({
    clock: realClock,
    rng: realRng,
    log: silentLog,
    source: { kind: "generated", size: { workloads: 1, services: 1, nodes: 1 } },
    ip: Ip.parse("127.56.1.1")!,
    port: 15012,
    controlPort: 15014,
    folder,
    ...options,
  });

test("a token in a file is replaced before it expires, until nobody needs it", () =>
  inFolder(async (folder) => {
    const clock = new FakeClock();
    const tokens = new Tokens(clock, seededRng(1));
    const plane = { tokens } as unknown as ControlPlane;
    const files = new CredentialFiles(folder, plane, clock);
    const path = await files.addToken({ namespace: "shop", serviceAccount: "web", node: "n/1" });
    strictEqual(path, `${folder}/token.shop.web.n_1`);
    const read = () => Deno.readTextFile(path);
    let before = await read();
    for (let round = 0; round < 3; round++) {
      await clock.advance(48 * 60_000);
      ok("caller" in tokens.check(`Bearer ${before}`), "still good");
      let now = before;
      await until("it is replaced", () => {
        now = Deno.readTextFileSync(path);
        return now !== before;
      });
      before = now;
    }
    files[Symbol.dispose]();
    strictEqual(clock.timersCount, 0);
  }));

test("the second control plane on a machine takes other ports, and says which", () =>
  inFolder(async (folder) => {
    await Deno.mkdir(`${folder}/second`);
    await using first = await host(folder);
    await using second = await host(`${folder}/second`);
    strictEqual(first.plane.url, "https://127.56.1.1:15012");
    strictEqual(first.controlUrl, "http://127.56.1.1:15014");
    notStrictEqual(second.plane.port, 15012);
    match(await (await fetch(`${second.controlUrl}/`)).text(), /The test control plane/);
    strictEqual((await (await fetch(`${second.controlUrl}/status`)).json()).url, second.plane.url);
  }));

test("a root is replaced in its file too, and the server's own certificate with it", () =>
  inFolder(async (folder) => {
    await using one = await host(folder);
    const read = () => Deno.readTextFile(one.credentials.rootsPath);
    const old = await read();
    await one.stepRoot("announce");
    const both = await read();
    ok(both.startsWith(old) && both.length > old.length);
    await one.stepRoot("use");
    await one.stepRoot("forget");
    strictEqual(old + await read(), both);
    await rejects(one.stepRoot("use"), /no root was announced/);
  }));

test("what cannot be started leaves nothing behind", () =>
  inFolder(async (folder) => {
    const none = { kind: "file", path: `${folder}/none.yaml` } as const;
    await rejects(host(folder, { source: none }), /none\.yaml/);
    await rejects(host(`${folder}/nowhere`), /No such file/);
    await using _again = await host(folder);
  }));
