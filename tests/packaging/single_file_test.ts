/** `deno task compile` on a machine that reaches only npm: the file that carries its runtime and unpacks itself. */
import { deepStrictEqual, match, ok, rejects, strictEqual } from "node:assert/strict";
import { RUN_FLAGS } from "../../tools/single_file.ts";
import { testAsRoot } from "../support/needs.ts";
import { until } from "../support/netns.ts";
import { smokeOffline } from "./smoke.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

interface Outcome {
  readonly code: number;
  readonly said: string;
}

async function sh(command: string, env: Readonly<Record<string, string>> = {}): Promise<Outcome> {
  const { code, stdout, stderr } = await new Deno.Command("sh", {
    args: ["-c", command],
    clearEnv: true,
    env: { ...env },
    stdin: "null",
  }).output();
  const text = new TextDecoder();
  return { code, said: text.decode(stdout) + text.decode(stderr) };
}

/** Made once for all tests of this file, and removed with the process's other temporary files by the last of them. */
const folder = await Deno.makeTempDir();
const file = `${folder}/ztunnel`;
let made: Promise<string> | undefined;

function make(): Promise<string> {
  return made ??= (async () => {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "tools/compile.ts", "--how", "unpack", "--output", file],
      cwd: ROOT,
    }).output();
    const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    strictEqual(code, 0, said);
    return said;
  })();
}

/** An empty place with nothing but the file in it. */
async function alone(): Promise<string> {
  await make();
  const place = await Deno.makeTempDir({ dir: folder });
  await Deno.copyFile(file, `${place}/ztunnel`);
  return place;
}

/** The one folder that a start has made in `base`. */
async function unpackedIn(base: string): Promise<string> {
  const names = (await Array.fromAsync(Deno.readDir(base))).map((entry) => entry.name);
  strictEqual(names.length, 1, `one folder and no rests in ${base}: ${names}`);
  return `${base}/${names[0]}`;
}

Deno.test("deno task compile says how large the file is and how fast it starts", async () => {
  const said = await make();
  match(said, /bundled: \d+ files/);
  match(said, /ztunnel: \d+\.\d MB, a file that unpacks itself/);
  match(said, /ztunnel 0\.1\.0 /);
  match(said, /starts in \d+ ms the first time, \d+ ms afterwards/);
  console.log(said.trim().split("\n").slice(-3).join("\n"));
});

testAsRoot(
  "the file alone, in an empty folder, with an empty environment, without Deno or a network, carries traffic",
  ["ip", "unshare"],
  async () => {
    const place = await alone();
    const base = `${place}/unpacked`;
    await smokeOffline({ program: [`${place}/ztunnel`], env: { ZTUNNEL_UNPACK_DIR: base } });
    const unpacked = await unpackedIn(base);
    strictEqual((await Deno.stat(unpacked)).mode! & 0o777, 0o700);
    // Not a byte was written at run time.
    deepStrictEqual((await Array.fromAsync(Deno.readDir(unpacked))).map((e) => e.name).sort(), [
      "app",
      "deno",
    ]);
    // The same by hand, really nothing set: it finds a place by itself.
    const { code, said } = await sh(`cd ${place} && exec env -i ./ztunnel version`);
    strictEqual(code, 0, said);
    match(said, /^ztunnel 0\.1\.0 /);
  },
);

Deno.test("arguments, exit codes and signals are the program's own", async () => {
  const place = await alone();
  const env = { ZTUNNEL_UNPACK_DIR: `${place}/unpacked` };
  const wrong = await sh(`${place}/ztunnel dev --mehs "a b"`, env);
  strictEqual(wrong.code, 1);
  match(wrong.said, /unknown option '--mehs'/);
  const refused = await sh(`XDS_ADDRESS= PROXY_MODE=sideways ${place}/ztunnel`, env);
  strictEqual(refused.code, 1);
  match(refused.said, /PROXY_MODE/);
  // By PATH, as it is started from /usr/local/bin.
  const found = await sh("ztunnel version", { ...env, PATH: `${place}:/usr/bin:/bin` });
  strictEqual(found.code, 0, found.said);
});

testAsRoot(
  "its dev is the laptop mesh too, with a mesh to edit",
  ["unshare", "nsenter"],
  async () => {
    const place = await alone();
    // A loopback of its own: the addresses of the example are another test's too.
    const child = new Deno.Command("unshare", {
      args: ["--net", "sh", "-c", `/sbin/ip link set lo up && exec ${place}/ztunnel dev`],
      clearEnv: true,
      env: { ZTUNNEL_UNPACK_DIR: `${place}/unpacked`, TMPDIR: place },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    let said = "";
    const reading = (async () => {
      for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) said += text;
    })();
    const complaints = new Response(child.stderr).text();
    await until("it serves", () => said.includes("Ctrl-C ends everything"), () => said, 60_000);
    const edited = /Edit (\S+dev\.yaml) while this runs/.exec(said)?.[1] ?? "";
    ok(edited.startsWith(place), said);
    await Deno.stat(edited);
    const answer = await sh(
      `nsenter --net --target ${child.pid} curl -sS --max-time 60 --socks5-hostname 127.0.1.1:15080 ` +
        "http://hello.demo.svc.cluster.local/",
    );
    strictEqual(answer.code, 0, answer.said + said);
    child.kill("SIGTERM");
    strictEqual((await child.status).code, 0, said);
    await reading;
    strictEqual(await complaints, "");
    await rejects(Deno.stat(edited), "the copy is gone");
  },
);

Deno.test("two starts at once unpack once and both run", async () => {
  const place = await alone();
  const env = { ZTUNNEL_UNPACK_DIR: `${place}/unpacked` };
  const starts = await Promise.all(
    Array.from({ length: 4 }, () => sh(`${place}/ztunnel version`, env)),
  );
  for (const { code, said } of starts) strictEqual(code, 0, said);
  await unpackedIn(env.ZTUNNEL_UNPACK_DIR);
});

Deno.test("a lock that a killed start left behind holds nobody up", async () => {
  const place = await alone();
  const base = `${place}/unpacked`;
  const env = { ZTUNNEL_UNPACK_DIR: base };
  strictEqual((await sh(`${place}/ztunnel version`, env)).code, 0);
  const unpacked = await unpackedIn(base);
  await Deno.remove(unpacked, { recursive: true });
  // No process has this number: Linux stops at 2^22.
  await Deno.mkdir(`${unpacked}.lock`);
  await Deno.writeTextFile(`${unpacked}.lock/pid`, "4194305\n");
  const { code, said } = await sh(`${place}/ztunnel version`, env);
  strictEqual(code, 0, said);
  await unpackedIn(base);
});

Deno.test("what was changed after unpacking is unpacked again, aloud", async () => {
  const place = await alone();
  const env = { ZTUNNEL_UNPACK_DIR: `${place}/unpacked` };
  strictEqual((await sh(`${place}/ztunnel version`, env)).code, 0);
  const main = `${await unpackedIn(env.ZTUNNEL_UNPACK_DIR)}/app/main.js`;
  await Deno.writeTextFile(main, 'console.log("changed")');
  const { code, said } = await sh(`${place}/ztunnel version`, env);
  strictEqual(code, 0, said);
  match(said, /is damaged, unpacking it again/);
  match(said, /ztunnel 0\.1\.0 /);
  ok(!said.includes("changed"), said);
});

Deno.test("a folder that others can write, a link, or a foreign one is refused by name", async () => {
  const place = await alone();
  const base = `${place}/unpacked`;
  const env = { ZTUNNEL_UNPACK_DIR: base };
  strictEqual((await sh(`${place}/ztunnel version`, env)).code, 0);
  const folder = await unpackedIn(base);

  await Deno.chmod(folder, 0o755);
  const open = await sh(`${place}/ztunnel version`, env);
  strictEqual(open.code, 1);
  match(open.said, /is not a folder of yours with mode 0700/);
  ok(open.said.includes(folder), open.said);

  await Deno.chmod(folder, 0o700);
  await Deno.rename(folder, `${place}/elsewhere`);
  await Deno.symlink(`${place}/elsewhere`, folder);
  const linked = await sh(`${place}/ztunnel version`, env);
  strictEqual(linked.code, 1);
  match(linked.said, /is not a folder of yours/);
  await Deno.remove(folder);
  // A link that leads nowhere yet is somebody's trap too.
  await Deno.symlink(`${place}/nowhere`, folder);
  strictEqual((await sh(`${place}/ztunnel version`, env)).code, 1);

  if (Deno.uid() !== 0) return;
  await Deno.remove(folder);
  await Deno.rename(`${place}/elsewhere`, folder);
  await Deno.chown(folder, 65_534, 65_534);
  const foreign = await sh(`${place}/ztunnel version`, env);
  strictEqual(foreign.code, 1);
  match(foreign.said, /is not a folder of yours/);
});

Deno.test("a file that was cut short, or is for another machine, says so and starts nothing", async () => {
  const place = await alone();
  const env = { ZTUNNEL_UNPACK_DIR: `${place}/unpacked` };
  await Deno.truncate(`${place}/ztunnel`, 20_000_000);
  const cut = await sh(`${place}/ztunnel version`, env);
  strictEqual(cut.code, 1);
  match(cut.said, /cannot unpack into/);
  deepStrictEqual(await Array.fromAsync(Deno.readDir(env.ZTUNNEL_UNPACK_DIR)), []);

  await Deno.mkdir(`${place}/bin`);
  await Deno.writeTextFile(`${place}/bin/uname`, "#!/bin/sh\necho riscv64\n", { mode: 0o755 });
  const other = await sh(`${place}/ztunnel version`, {
    ...env,
    PATH: `${place}/bin:/usr/bin:/bin`,
  });
  strictEqual(other.code, 1);
  match(other.said, /this file is for x86_64, this machine is riscv64/);
});

testAsRoot("where nothing may be executed, a clear line says what to set", ["mount"], async () => {
  const place = await alone();
  await Deno.mkdir(`${place}/noexec`);
  const { code, said } = await sh(
    `unshare -m sh -c 'mount -t tmpfs -o noexec none ${place}/noexec && exec ${place}/ztunnel version'`,
    { ZTUNNEL_UNPACK_DIR: `${place}/noexec`, PATH: "/usr/bin:/bin:/usr/sbin:/sbin" },
  );
  strictEqual(code, 1);
  match(said, /cannot be run: .*ermission denied.*mounted noexec.*ZTUNNEL_UNPACK_DIR/);
});

Deno.test("deno compile embeds the bundle and nothing else", async () => {
  // Any program will do as a base: what matters is the list, and that nothing is fetched.
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "tools/compile.ts", "--how", "compile", "--output", `${folder}/compiled`],
    cwd: ROOT,
    env: { DENORT_BIN: "/usr/bin/true" },
  }).output();
  const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  strictEqual(code, 0, said);
  const listed = said.slice(said.indexOf("Embedded Files"), said.indexOf("Files:"));
  for (const part of ["main.js", "chunk-", "examples", "lib", "LICENSE"]) {
    ok(listed.includes(part), `${part} is not in\n${listed}`);
  }
  ok(!/node_modules|\.ts\b|deno\.json/.test(listed), listed);
  const megabytes = Number(/Files: ([\d.]+)MB/.exec(said)?.[1]);
  ok(megabytes > 1 && megabytes < 8, said);
});

Deno.test("the image starts the program with the flags of the single file", async () => {
  const dockerfile = await Deno.readTextFile(`${ROOT}Dockerfile`);
  const entry: string[] = JSON.parse(/^ENTRYPOINT (.*)$/m.exec(dockerfile)![1]!);
  deepStrictEqual(entry, ["/usr/local/bin/deno", "run", ...RUN_FLAGS, "/app/main.js"]);
});

Deno.test("the last one tidies up", async () => {
  await Deno.remove(folder, { recursive: true });
});
