import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { followCrlFile } from "#certs";
import { createLogHub } from "#log";
import { realClock } from "#system";
import type { PackedList } from "#tls";
import { FakeClock } from "../../support/fake_clock.ts";
import { mintCrl, mintRoot } from "../../support/pki.ts";
import { realTurn } from "../../support/network.ts";
import { until } from "../../support/netns.ts";

const root = mintRoot();
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
/** The base64 of each list, without what is around it. */
const bodyOf = (pem: string) => pem.replace(/-----[^-]+-----|\s/g, "");
const bodiesOf = (lists: readonly PackedList[] | undefined) =>
  (lists ?? []).map(({ der }) => Uint8Array.from(der).toBase64()).join();

async function following(
  body: (given: {
    readonly path: string;
    readonly folder: string;
    readonly clock: FakeClock;
    readonly got: string[];
    start(turn?: () => Promise<void>): ReturnType<typeof followCrlFile>;
    log(): string;
  }) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  let said = "";
  const hub = createLogHub({
    write: (bytes) => said += text(bytes),
    nowMs: () => 0,
    filter: "info",
    format: "plain",
  });
  const clock = new FakeClock();
  const got: string[] = [];
  const path = `${folder}/ca-crl.pem`;
  try {
    await body({
      path,
      folder,
      clock,
      got,
      start: (turn = realTurn) =>
        followCrlFile({
          path,
          clock,
          turn,
          log: hub.scope("ztunnel::identity"),
          onLists: (lists) => got.push(bodiesOf(lists)),
        }),
      log: () => {
        hub.flush();
        return said;
      },
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The file system tells when it likes; the debounce is the fake clock's. */
async function soon(clock: FakeClock, isSo: () => boolean): Promise<void> {
  await until("it is so", async () => {
    await clock.advance(100);
    await realClock.sleep(5);
    return isSo();
  });
}

Deno.test("9.8: the file is read at the start and after each change, two seconds after the last of a burst", () =>
  following(async ({ path, clock, got, start, log }) => {
    const [one, two] = [mintCrl(root, [1]), mintCrl(root, [1, 2])];
    await Deno.writeTextFile(path, one);
    await using crl = await start();
    deepStrictEqual(got, [bodyOf(one)]);
    await Deno.writeTextFile(path, two);
    await realClock.sleep(100);
    await clock.advance(1_500);
    strictEqual(got.length, 1, "not yet");
    await soon(clock, () => got.length === 2);
    strictEqual(bodiesOf(crl.lists), bodyOf(two));
    match(log(), /revocation lists loaded.*lists=1/);
  }));

Deno.test("9.8: kubelet's swap of a symbolic link is a change", () =>
  following(async ({ folder, path, clock, got, start }) => {
    const lists = [mintCrl(root, [1]), mintCrl(root, [2])];
    for (const [index, list] of lists.entries()) {
      await Deno.mkdir(`${folder}/..v${index}`);
      await Deno.writeTextFile(`${folder}/..v${index}/ca-crl.pem`, list);
    }
    await Deno.symlink("..v0", `${folder}/..data`);
    await Deno.symlink("..data/ca-crl.pem", path);
    await using _crl = await start();
    await Deno.symlink("..v1", `${folder}/..tmp`);
    await Deno.rename(`${folder}/..tmp`, `${folder}/..data`);
    await soon(clock, () => got.length === 2);
    deepStrictEqual(got, lists.map(bodyOf));
  }));

Deno.test("9.8: a missing file is a warning, and counts as soon as it is there", () =>
  following(async ({ path, clock, got, start, log }) => {
    await using crl = await start();
    strictEqual(crl.lists, undefined);
    match(log(), /warn.*revocation lists cannot be used, nobody is held to them.*No such file/);
    await clock.advance(120_000);
    strictEqual(log().match(/warn/g)?.length, 1, "told once");
    await Deno.writeTextFile(path, mintCrl(root, [1]));
    await soon(clock, () => got.length === 1);
  }));

Deno.test("9.8: a directory that is not there yet is looked for again", () =>
  following(async ({ folder, path, clock, got, start }) => {
    await Deno.remove(folder, { recursive: true });
    await using _crl = await start();
    await Deno.mkdir(folder);
    await Deno.writeTextFile(path, mintCrl(root, [1]));
    await soon(clock, () => got.length === 1);
  }));

Deno.test("9.8: a file that becomes unreadable leaves the earlier lists in force, is told once, and mends itself", () =>
  following(async ({ path, clock, got, start, log }) => {
    const good = mintCrl(root, [1]);
    await Deno.writeTextFile(path, good);
    await using crl = await start();
    await Deno.writeTextFile(path, "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n");
    await soon(clock, () => /earlier ones stay in force/.test(log()));
    strictEqual(bodiesOf(crl.lists), bodyOf(good));
    const better = mintCrl(root, [1, 2]);
    await Deno.writeTextFile(path, better);
    await soon(clock, () => got.length === 2);
    strictEqual(bodiesOf(crl.lists), bodyOf(better));
  }));

Deno.test("9.8: an empty file is no revocations", () =>
  following(async ({ path, got, start }) => {
    await Deno.writeTextFile(path, "");
    await using crl = await start();
    strictEqual(crl.lists?.length, 0);
    deepStrictEqual(got, [""]);
  }));

Deno.test("9.8: a small list that replaces a large one while that is read comes after it", () =>
  following(async ({ path, clock, got, start }) => {
    const serials = Array.from({ length: 100_000 }, (_, at) => 1_000_000 + at);
    await Deno.writeTextFile(path, mintCrl(root, [1]));
    await using crl = await start();
    await Deno.writeTextFile(path, mintCrl(root, serials));
    await clock.advance(2_000);
    const small = mintCrl(root, [2]);
    await Deno.writeTextFile(path, small);
    await soon(clock, () => got.at(-1) === bodyOf(small));
    await soon(clock, () => true);
    strictEqual(bodiesOf(crl.lists), bodyOf(small));
  }));

Deno.test("9.8: whoever leaves does not wait until a large list is read", () =>
  following(async ({ path, clock, got, start, log }) => {
    let turnsCount = 0;
    const gate = Promise.withResolvers<void>();
    await Deno.writeTextFile(path, mintCrl(root, [1]));
    const crl = await start(() => {
      turnsCount++;
      return gate.promise;
    });
    // A slice is over at each look at the clock.
    const nowMs = clock.monotonicMs.bind(clock);
    let looksCount = 0;
    clock.monotonicMs = () => nowMs() + 10 * looksCount++;
    const serials = Array.from({ length: 20_000 }, (_, at) => 1_000_000 + at);
    await Deno.writeTextFile(path, mintCrl(root, serials));
    await soon(clock, () => turnsCount > 0);
    const leaving = crl[Symbol.asyncDispose]();
    gate.resolve();
    await leaving;
    strictEqual(turnsCount, 1);
    strictEqual(got.length, 1, "and is told of none");
    ok(!/warn/.test(log()), log());
  }));
