/**
 * The image without Docker: the Dockerfile's own lines, carried out into a folder that becomes a read-only root.
 */
import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { testAsRoot } from "../support/needs.ts";
import { smokeOffline } from "./smoke.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

interface Image {
  readonly copies: readonly (readonly [from: string, to: string])[];
  readonly env: Readonly<Record<string, string>>;
  readonly user: string;
  readonly entry: readonly string[];
  readonly command: readonly string[];
}

/** What the last stage says; throws on a line that this test does not know how to carry out. */
function readImage(dockerfile: string): Image {
  const stage = dockerfile.slice(dockerfile.lastIndexOf("\nFROM ") + 1)
    .replaceAll("\\\n", " ").split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  const all = (word: string) =>
    stage.filter((line) => line.startsWith(`${word} `)).map((line) => line.slice(word.length + 1));
  const one = (word: string): string => {
    const lines = all(word);
    strictEqual(lines.length, 1, `${word} stands once`);
    return lines[0]!;
  };
  const known = ["FROM", "COPY", "ARG", "ENV", "WORKDIR", "USER", "ENTRYPOINT", "CMD"];
  for (const line of stage) ok(known.includes(line.split(" ")[0]!), `unknown: ${line}`);
  const args = Object.fromEntries(all("ARG").map((arg) => arg.split("=") as [string, string]));
  return {
    copies: all("COPY").map((line) => {
      const parts = /^--from=build (\S+) (\S+)$/.exec(line);
      ok(parts, line);
      return [parts[1]!, parts[2]!] as const;
    }),
    env: Object.fromEntries(
      one("ENV").trim().split(/\s+/).map((pair) => {
        const [name, value] = pair.split("=") as [string, string];
        return [name, value.startsWith("$") ? args[value.slice(1)]! : value];
      }),
    ),
    user: one("USER"),
    entry: JSON.parse(one("ENTRYPOINT")),
    command: JSON.parse(one("CMD")),
  };
}

async function sh(command: string): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command("sh", { args: ["-ec", command] })
    .output();
  const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  strictEqual(code, 0, `${command}\n${said}`);
  return said;
}

/** The first stage, as far as it is ours: only what it copies is there when it bundles. */
async function build(source: string, app: string): Promise<void> {
  const dockerfile = await Deno.readTextFile(`${ROOT}Dockerfile`);
  const stage = dockerfile.slice(0, dockerfile.lastIndexOf("\nFROM "));
  for (const [, what] of stage.matchAll(/^COPY (.+)$/gm)) {
    const paths = what!.split(" ");
    const to = paths.pop()!.replace(/^\.\//, "");
    // Of a folder its content is copied, into a folder of that name.
    const script = to === ""
      ? `mkdir -p ${source} && cd ${ROOT} && cp ${paths.join(" ")} ${source}/`
      : `mkdir -p ${source}/${to} && cp -r ${ROOT}${paths[0]!}/. ${source}/${to}/`;
    await sh(script);
  }
  const line = /^RUN deno (run .* --output) \/app$/m.exec(stage);
  ok(line, "the stage bundles");
  await sh(`cd ${source} && ${Deno.execPath()} ${line[1]!} ${app}`);
}

/** What the base image brings: a C library and where to find it; nothing that is a program. */
async function addBase(root: string): Promise<void> {
  await sh(
    `for lib in $(ldd ${Deno.execPath()} | grep -o '/[^ ]*'); do ` +
      `mkdir -p ${root}$(dirname $lib); cp -L $lib ${root}$lib; done; ` +
      `mkdir -p ${root}/proc ${root}/dev ${root}/tmp ${root}/etc; echo 'root:x:0:0::/:/none' > ${root}/etc/passwd`,
  );
}

testAsRoot(
  "the image's files, as a read-only root with the chart's user, group and capabilities, carry traffic",
  ["chroot", "unshare", "capsh", "ip", "ldd", "mount"],
  async () => {
    const image = readImage(await Deno.readTextFile(`${ROOT}Dockerfile`));
    deepStrictEqual(image.command, ["proxy", "ztunnel"]);
    strictEqual(image.user, "0:1337");
    const folder = await Deno.makeTempDir();
    try {
      const root = `${folder}/root`;
      await build(`${folder}/source`, `${folder}/app`);
      await addBase(root);
      const built: Readonly<Record<string, string>> = {
        "/usr/local/bin/deno-runtime": Deno.execPath(),
        "/app": `${folder}/app`,
      };
      for (const [from, to] of image.copies) {
        await sh(`mkdir -p $(dirname ${root}${to}); cp -r ${built[from]!} ${root}${to}`);
      }
      await Deno.mkdir(`${folder}/mesh`);
      const enter = `${folder}/enter`;
      await Deno.writeTextFile(enter, enterScript(root, image), { mode: 0o755 });
      const version = await sh(`${enter} version`);
      match(version, /^ztunnel 0\.1\.0 \(git unknown, istio unknown\)/);
      await smokeOffline({
        program: [enter],
        meshFolder: { outside: `${folder}/mesh`, inside: "/mesh" },
        env: { PACKET_MARK: "1337" },
        // NET_ADMIN, NET_RAW and SYS_ADMIN, as bits.
        status: { CapEff: "0000000000203000", Uid: "0\t0", Gid: "1337\t1337" },
      });
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);

/** Starts the image's entry point as Kubernetes does, in mounts of its own that go away with it. */
function enterScript(root: string, { entry, env, user }: Image): string {
  const [, group] = user.split(":");
  const settings = Object.entries(env).map(([name, value]) => `${name}=${value}`).join(" ");
  const [program, ...args] = entry;
  return `#!/bin/sh
# Inside: a read-only root, a writable /tmp, /proc and three devices.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
exec unshare --mount --propagation private sh -ec '
  mkdir -p ${root}/mesh
  mount --bind ${root} ${root}
  mount -t proc none ${root}/proc
  mount -t tmpfs none ${root}/tmp
  mount -t tmpfs none ${root}/dev
  for device in null zero urandom; do
    touch ${root}/dev/$device
    mount --bind /dev/$device ${root}/dev/$device
  done
  mount --bind ${root}/../mesh ${root}/mesh
  mount -o remount,bind,ro ${root}
  if touch ${root}/written 2>/dev/null; then echo "the root can be written" >&2; exit 99; fi
  drop=$(capsh --print | sed -n "s/^Bounding set =//p" | tr , "\\n" | grep -vxE "${KEPT}" | paste -sd,)
  exec env ${settings} capsh --drop="$drop" --gid=${group} --chroot=${root} --shell=${program} -- ${
    args.join(" ")
  } "$@"
' enter "$@"
`;
}

/** The chart drops ALL and adds these. */
const KEPT = "cap_net_admin|cap_sys_admin|cap_net_raw";
