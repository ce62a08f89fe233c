import { deepStrictEqual, match, ok, rejects, strictEqual } from "node:assert/strict";
import { createMesh } from "#mesh";
import { type Fields, type Log, silentLog } from "#log";
import { type Clock, realClock } from "#system";
import { LocalLoadError, type LocalWatch, watchLocal } from "#xds";

const workloads = (...uids: string[]) =>
  "workloads:\n" + uids.map((uid) => `- { uid: ${uid}, namespace: s, workloadIps: [] }\n`).join("");

/** A mesh that follows a file in a directory of its own. */
class Scene implements AsyncDisposable {
  readonly mesh = createMesh({});
  readonly lines: { level: string; message: string; fields: Fields | undefined }[] = [];
  readonly commits: { epoch: number; added: readonly string[]; removed: readonly string[] }[] = [];
  readonly path: string;
  nowMs: number | undefined;
  #watch: LocalWatch | undefined;
  #changed = Promise.withResolvers<void>();

  private constructor(readonly directory: string) {
    this.path = `${directory}/mesh.yaml`;
  }

  static async of(text: string): Promise<Scene> {
    const scene = new Scene(await Deno.makeTempDir());
    await Deno.writeTextFile(scene.path, text);
    return scene;
  }

  async start(path = this.path): Promise<LocalWatch> {
    return this.#watch = await watchLocal({
      source: { kind: "file", path },
      writer: this.mesh.writer,
      clock: this.clock,
      log: this.log,
      onCommit: ({ epoch }, { added, removed }) => {
        this.commits.push({ epoch, added, removed });
      },
    });
  }

  /** The real one, unless `nowMs` says what the time is. */
  get clock(): Clock {
    const nowMs = () => this.nowMs ?? realClock.nowMs();
    return Object.assign(Object.create(realClock) as Clock, { nowMs });
  }

  /** A file that was written just now is read again at the next event, whatever that is of. */
  isWrittenLongAgo(): void {
    this.nowMs = realClock.nowMs() + 60_000;
  }

  get log(): Log {
    const at = (level: string) => (message: string, fields?: Fields): void => {
      this.lines.push({ level, message, fields });
      this.#changed.resolve();
      this.#changed = Promise.withResolvers();
    };
    return { ...silentLog, info: at("info"), warn: at("warn"), error: at("error") };
  }

  get uids(): string[] {
    return this.mesh.view.workloads().map((each) => each.uid);
  }

  /** Waits until there is one more line in the log than before `act`. */
  async afterLine(act: () => Promise<unknown>): Promise<void> {
    const before = this.lines.length;
    await act();
    while (this.lines.length === before) await this.#changed.promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#watch?.[Symbol.asyncDispose]();
    await Deno.remove(this.directory, { recursive: true });
  }
}

Deno.test("watchLocal() loads the file, says what came, and commits once", async () => {
  await using scene = await Scene.of(workloads("a", "b"));
  const watch = await scene.start();
  deepStrictEqual(scene.uids, ["a", "b"]);
  deepStrictEqual(scene.lines, [{
    level: "info",
    message: "local mesh loaded",
    fields: {
      workloads: 2,
      services: 0,
      policies: 0,
      added: "workload a, workload b",
      removed: undefined,
      changed: undefined,
    },
  }]);
  deepStrictEqual(scene.commits, [{ epoch: 1, added: ["workload a", "workload b"], removed: [] }]);
  strictEqual(watch.mesh.workloads.length, 2);
});

Deno.test("watchLocal() follows a file that is written in place", async () => {
  await using scene = await Scene.of(workloads("a", "b"));
  await scene.start();
  await scene.afterLine(() => Deno.writeTextFile(scene.path, workloads("b", "c")));
  deepStrictEqual(scene.uids, ["b", "c"]);
  deepStrictEqual(scene.commits.at(-1), {
    epoch: 2,
    added: ["workload c"],
    removed: ["workload a"],
  });
});

Deno.test("watchLocal() follows a file that is renamed over", async () => {
  await using scene = await Scene.of(workloads("a"));
  scene.isWrittenLongAgo();
  await scene.start();
  await scene.afterLine(async () => {
    await Deno.writeTextFile(`${scene.path}.new`, workloads("z"));
    await Deno.rename(`${scene.path}.new`, scene.path);
  });
  deepStrictEqual(scene.uids, ["z"]);
});

Deno.test("watchLocal() follows the symbolic links of a mounted ConfigMap", async () => {
  await using scene = await Scene.of("");
  const at = (name: string) => `${scene.directory}/${name}`;
  for (const [version, uid] of [["..1", "a"], ["..2", "z"]] as const) {
    await Deno.mkdir(at(version));
    await Deno.writeTextFile(`${at(version)}/m.yaml`, workloads(uid));
  }
  await Deno.symlink("..1", at("..data"));
  await Deno.symlink("..data/m.yaml", at("m.yaml"));
  scene.isWrittenLongAgo();
  await scene.start(at("m.yaml"));
  deepStrictEqual(scene.uids, ["a"]);
  await scene.afterLine(async () => {
    await Deno.symlink("..2", at("..data_tmp"));
    await Deno.rename(at("..data_tmp"), at("..data"));
  });
  deepStrictEqual(scene.uids, ["z"]);
});

Deno.test("watchLocal() keeps the mesh while the file is broken or gone, and tells why", async () => {
  await using scene = await Scene.of(workloads("a"));
  await scene.start();
  await scene.afterLine(() => Deno.writeTextFile(scene.path, "workloads:\n- uid: 1\n  nam: x\n"));
  const { level, message, fields } = scene.lines.at(-1)!;
  deepStrictEqual([level, message], ["error", "local mesh cannot be used, the previous one stays"]);
  match(String(fields?.problems), /mesh\.yaml:2:3: workloads\[0\]: Cannot do without/);
  match(String(fields?.problems), /; .*mesh\.yaml:3:3: workloads\[0\]\.nam: .*did you mean "name"/);
  await scene.afterLine(() => Deno.remove(scene.path));
  match(String(scene.lines.at(-1)?.fields?.problems), /mesh\.yaml: Cannot read it: No such file/);
  deepStrictEqual([scene.uids, scene.mesh.view.epoch], [["a"], 1]);
  await scene.afterLine(() => Deno.writeTextFile(scene.path, workloads("b")));
  deepStrictEqual([scene.uids, scene.mesh.view.epoch], [["b"], 2]);
});

Deno.test("watchLocal() reloads when asked to, and commits only what differs", async () => {
  await using scene = await Scene.of(workloads("a"));
  const watch = await scene.start();
  strictEqual(await watch.reload(), true);
  strictEqual(scene.lines.at(-1)?.message, "local mesh reloaded, nothing changed");
  strictEqual(scene.commits.length, 1);
  await Deno.writeTextFile(scene.path, "{");
  strictEqual(await watch.reload(), false);
  await Deno.writeTextFile(scene.path, workloads("b"));
  deepStrictEqual(await Promise.all([watch.reload(), watch.reload()]), [true, true]);
  deepStrictEqual([scene.uids, scene.commits.length], [["b"], 2]);
});

Deno.test("watchLocal() does not read again for other files of the directory", async () => {
  await using scene = await Scene.of(workloads("a"));
  scene.isWrittenLongAgo();
  await scene.start();
  await Deno.writeTextFile(`${scene.directory}/other.yaml`, "{");
  // The next line is of the file itself, so the other one caused none.
  await scene.afterLine(async () => {
    await realClock.sleep(300);
    await Deno.writeTextFile(scene.path, workloads("b"));
  });
  strictEqual(scene.lines.length, 2);
  strictEqual(scene.commits.length, 2);
});

Deno.test("watchLocal() names ten of many changes and counts the rest", async () => {
  await using scene = await Scene.of(
    workloads(...Array.from({ length: 13 }, (_, i) => `w${i}`)),
  );
  await scene.start();
  match(String(scene.lines[0]?.fields?.added), /^workload w0, .*workload w9 and 3 more$/);
});

for (
  const [name, prepare, expected] of [
    ["a file that is not there", (path: string) => Deno.remove(path), /No such file/],
    ["a directory", async (path: string) => {
      await Deno.remove(path);
      await Deno.mkdir(path);
    }, /not a regular file/],
    [
      "bytes that are no text",
      (path: string) => Deno.writeFile(path, new Uint8Array([0x61, 0xff, 0xfe])),
      /not UTF-8 text/,
    ],
    [
      "all problems of a wrong mesh",
      (path: string) => Deno.writeTextFile(path, "a: 1\nb: 2\n"),
      /mesh\.yaml:1:1: a: .*\n.*mesh\.yaml:2:1: b: /,
    ],
  ] as const
) {
  Deno.test(`watchLocal() rejects at start for ${name}`, async () => {
    await using scene = await Scene.of("");
    await prepare(scene.path);
    await rejects(scene.start(), (error) => {
      ok(error instanceof LocalLoadError);
      match(error.message, expected);
      return error.problems.length > 0;
    });
    deepStrictEqual([scene.mesh.view.epoch, scene.commits], [0, []]);
  });
}

Deno.test("watchLocal() loads inline text, and has nothing to watch", async () => {
  const mesh = createMesh({});
  const options = { writer: mesh.writer, clock: realClock, log: silentLog, onCommit: () => {} };
  await using watch = await watchLocal({
    ...options,
    source: { kind: "inline", text: workloads("a") },
  });
  strictEqual(mesh.view.workloads().length, 1);
  strictEqual(await watch.reload(), true);
  await rejects(
    watchLocal({ ...options, source: { kind: "inline", text: "x: 1" } }),
    /LOCAL_XDS:1:1: x: Cannot use the unknown field/,
  );
});

Deno.test("watchLocal() goes on although somebody who is told of a commit throws", async () => {
  await using scene = await Scene.of(workloads("a"));
  let told = 0;
  await using watch = await watchLocal({
    source: { kind: "file", path: scene.path },
    writer: scene.mesh.writer,
    clock: realClock,
    log: scene.log,
    onCommit: () => {
      if (++told === 2) throw new Error("a bug");
    },
  });
  await Deno.writeTextFile(scene.path, workloads("b"));
  strictEqual(await watch.reload(), false);
  strictEqual(scene.lines.at(-1)?.fields?.error, "a bug");
  await Deno.writeTextFile(scene.path, workloads("c"));
  strictEqual(await watch.reload(), true);
  deepStrictEqual([scene.uids, told], [["c"], 3]);
});

Deno.test("watchLocal() follows a file that is written twice in one tick of the kernel's clock", async () => {
  await using scene = await Scene.of(workloads("a"));
  const stamp = (await Deno.stat(scene.path)).mtime!;
  scene.nowMs = stamp.getTime() + 5;
  await scene.start();
  scene.nowMs = stamp.getTime() + 1_000;
  await scene.afterLine(async () => {
    await Deno.writeTextFile(scene.path, workloads("z"));
    await Deno.utime(scene.path, stamp, stamp);
  });
  deepStrictEqual(scene.uids, ["z"]);
});
