/** The head of the single file, with a runtime of a few bytes behind it: what it trusts, and what it leaves as it was. */
import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { writeSingleFile } from "../../tools/single_file.ts";
import { targetOf } from "../../tools/target.ts";
import { testAsRoot } from "../support/needs.ts";

const NOBODY = 65_534;
/** Says where it is and what it was given. */
const RUNTIME = `#!/bin/sh
[ "$1" = --version ] && exit 0
while [ "$1" != "\${1%/app/main.js}" ] || [ "\${1#--}" != "$1" ] || [ "$1" = run ]; do shift; done
echo "at \${0%/deno}"
echo "umask $(umask)"
for each; do echo "<$each>"; done
exit 7
`;

interface Outcome {
  readonly code: number;
  readonly said: string;
}

async function sh(command: string, env: Readonly<Record<string, string>> = {}): Promise<Outcome> {
  const { code, stdout, stderr } = await new Deno.Command("sh", {
    args: ["-c", command],
    clearEnv: true,
    env: { PATH: "/usr/bin:/bin", ...env },
    stdin: "null",
  }).output();
  const text = new TextDecoder();
  return { code, said: text.decode(stdout) + text.decode(stderr) };
}

/** A folder with the file in it, and with a space in its name. */
class Place implements AsyncDisposable {
  private constructor(private readonly folder: string) {}

  static async make(arch: string = Deno.build.arch): Promise<Place> {
    const place = new Place(await Deno.makeTempDir({ prefix: "zt unpack " }));
    await Deno.mkdir(place.at("source/bundle"), { recursive: true });
    await Deno.writeTextFile(place.at("source/deno"), RUNTIME, { mode: 0o755 });
    await Deno.writeTextFile(place.at("source/bundle/main.js"), "//");
    await writeSingleFile({
      output: place.at("ztunnel"),
      deno: place.at("source/deno"),
      bundle: place.at("source/bundle"),
      target: targetOf(arch),
      version: "0",
    });
    return place;
  }

  at(path: string): string {
    return `${this.folder}/${path}`;
  }

  /** A program that is found before the system's. */
  async shim(name: string, script: string): Promise<string> {
    await Deno.mkdir(this.at("bin"), { recursive: true });
    await Deno.writeTextFile(this.at(`bin/${name}`), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    return `${this.at("bin")}:/usr/bin:/bin`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.folder, { recursive: true });
  }
}

Deno.test("the unpacker passes on arguments, umask and exit code, wherever it is called from", async () => {
  await using place = await Place.make();
  const call = `umask 027; cd '${place.at("")}' && exec ./ztunnel proxy 'a  b' '' '*'`;
  const { code, said } = await sh(call, { ZTUNNEL_UNPACK_DIR: place.at("to"), IFS: "/" });
  strictEqual(code, 7, said);
  deepStrictEqual(said.split("\n").slice(1), ["umask 0027", "<proxy>", "<a  b>", "<>", "<*>", ""]);
  ok(said.startsWith(`at ${place.at("to")}/ztunnel-`), said);
});

Deno.test("a file starts on every name of its own machine, and on no other", async () => {
  const machines = { x86_64: ["x86_64", "amd64"], aarch64: ["aarch64", "arm64"] } as const;
  for (const arch of ["x86_64", "aarch64"] as const) {
    await using place = await Place.make(arch);
    for (const machine of [...machines.x86_64, ...machines.aarch64, "armv7l"]) {
      const PATH = await place.shim("uname", `echo ${machine}`);
      const env = { ZTUNNEL_UNPACK_DIR: place.at("to"), PATH };
      const { code, said } = await sh(`exec '${place.at("ztunnel")}'`, env);
      const isOwn = (machines[arch] as readonly string[]).includes(machine);
      strictEqual(code, isOwn ? 7 : 1, said);
      if (!isOwn) ok(said.includes(`for ${arch}, this machine is ${machine}`), said);
    }
  }
});

Deno.test("a relative folder is below where we are, whatever CDPATH says", async () => {
  await using place = await Place.make();
  for (const name of ["to", "-n"]) {
    const { code, said } = await sh(`cd '${place.at("")}' && exec ./ztunnel`, {
      ZTUNNEL_UNPACK_DIR: name,
      CDPATH: "/",
    });
    strictEqual(code, 7, said);
    match(said, new RegExp(`/${name}/ztunnel-`));
  }
});

Deno.test("a lock whose owner's number is another's by now, or that has none, is taken over", async () => {
  await using place = await Place.make();
  const env = { ZTUNNEL_UNPACK_DIR: place.at("to"), PATH: await place.shim("sleep", "exit 0") };
  const first = await sh(`exec '${place.at("ztunnel")}'`, env);
  const unpacked = /^at (.*)$/m.exec(first.said)![1]!;
  for (const pid of ["1", undefined]) {
    await Deno.remove(unpacked, { recursive: true });
    await Deno.mkdir(`${unpacked}.lock`);
    if (pid !== undefined) await Deno.writeTextFile(`${unpacked}.lock/pid`, `${pid}\n`);
    const { code, said } = await sh(`exec '${place.at("ztunnel")}'`, env);
    strictEqual(code, 7, said);
    strictEqual((await Array.fromAsync(Deno.readDir(place.at("to")))).length, 1, "no lock is left");
  }
});

testAsRoot(
  "a folder that somebody puts there while we wait is refused, however right its files are",
  [
    "chown",
  ],
  async () => {
    await using place = await Place.make();
    const to = place.at("to");
    const plain = await sh(`exec '${place.at("ztunnel")}'`, { ZTUNNEL_UNPACK_DIR: to });
    const unpacked = /^at (.*)$/m.exec(plain.said)![1]!;
    await Deno.rename(unpacked, place.at("planted"));
    await Deno.mkdir(`${unpacked}.lock`);
    await Deno.writeTextFile(`${unpacked}.lock/pid`, "1\n");
    const plant = `[ -e '${unpacked}' ] || { chown -R ${NOBODY} '${place.at("planted")}'; ` +
      `mv '${place.at("planted")}' '${unpacked}'; rm -r '${unpacked}.lock'; }`;
    const PATH = await place.shim("sleep", plant);
    const { code, said } = await sh(`exec '${place.at("ztunnel")}'`, {
      ZTUNNEL_UNPACK_DIR: to,
      PATH,
    });
    strictEqual(code, 1, said);
    match(said, /is not a folder of yours/);
  },
);

testAsRoot("root does not unpack into what another user could swap", ["chown"], async () => {
  await using place = await Place.make();
  await Deno.mkdir(place.at("home"));
  await Deno.chown(place.at("home"), NOBODY, NOBODY);
  await Deno.mkdir(place.at("open"));
  await Deno.chmod(place.at("open"), 0o777);
  await Deno.mkdir(place.at("mine"));
  const start = (env: Readonly<Record<string, string>>) => sh(`exec '${place.at("ztunnel")}'`, env);
  for (const env of [{ HOME: place.at("home") }, { XDG_CACHE_HOME: place.at("open") }]) {
    const { code, said } = await start({ ...env });
    strictEqual(code, 7, said);
    const unpacked = /^at (.*)$/m.exec(said)![1]!;
    match(unpacked, /^\/(var\/)?tmp\/ztunnel-0-[0-9a-f]+$/);
    await Deno.remove(unpacked, { recursive: true });
  }
  const mine = await start({ HOME: place.at("mine") });
  ok(mine.said.startsWith(`at ${place.at("mine/.cache/ztunnel-0-")}`), mine.said);
});
