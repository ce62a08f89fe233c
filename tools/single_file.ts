/**
 * The single file where there is no base for `deno compile`: a shell script with the runtime and the bundle behind it.
 * @module
 */
import { filesBelow, PackagingError, run } from "./bundle.ts";
import type { Target } from "./target.ts";

/**
 * The young generation of the control side's thread, in MiB for each of its three parts, as data threads have it
 * (lib/app/spawn.ts): a push of a large mesh would let it grow to 48 in all, which nobody needs (bench/mesh.md).
 */
export const V8_FLAGS = "--v8-flags=--max-semi-space-size=1";

/** How the unpacked runtime is started: nothing is looked up, fetched or written. */
export const RUN_FLAGS: readonly string[] = [
  "--allow-all",
  "--quiet",
  "--no-prompt",
  "--no-config",
  "--no-lock",
  "--no-npm",
  "--no-remote",
  "--cached-only",
  "--no-code-cache",
  V8_FLAGS,
];

export interface SingleFile {
  /** Where the file is to be. */
  readonly output: string;
  /** The runtime's executable for the target. */
  readonly deno: string;
  /** A folder made by `bundle`. */
  readonly bundle: string;
  readonly target: Target;
  readonly version: string;
}

/** Writes the file, executable by all. Two runs over the same inputs give the same bytes. */
export async function writeSingleFile(options: SingleFile): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    const tree = `${folder}/tree`;
    await Deno.mkdir(tree);
    await Deno.copyFile(options.deno, `${tree}/deno`);
    await Deno.chmod(`${tree}/deno`, 0o700);
    await copyTree(options.bundle, `${tree}/app`);
    const sums = await checksums(tree);
    const archive = `${folder}/archive.tar.gz`;
    await run("sh", ["-c", ARCHIVE, "sh", tree, archive], folder);
    const head = headOf(await template(), sums, await idOf(sums), options);
    await Deno.mkdir(options.output.replace(/\/[^/]*$/, ""), { recursive: true });
    using file = await Deno.open(`${options.output}.part`, {
      write: true,
      create: true,
      truncate: true,
    });
    await writeAll(file, new TextEncoder().encode(head));
    using packed = await Deno.open(archive);
    await packed.readable.pipeTo(file.writable);
    await Deno.chmod(`${options.output}.part`, 0o755);
    await Deno.rename(`${options.output}.part`, options.output);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Same names, times and owners whoever packs. */
const ARCHIVE = `set -e; tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner \
--mode=u=rwX,go= -C "$1" -cf - deno app | gzip -9n > "$2"`;

/** The script with its blanks filled; ends with the line before the archive's first byte. */
export function headOf(
  text: string,
  sums: string,
  id: string,
  { target, version }: Pick<SingleFile, "target" | "version">,
): string {
  // The line after the script is the archive's.
  const headLines = text.split("\n").length - 1 + (sums.split("\n").length - 1) + 1;
  const values: Readonly<Record<string, string>> = {
    VERSION: version,
    ARCH: target.arch,
    MACHINE: target.machines.join(" | "),
    SUMS: sums,
    ID: id,
    HEAD_LINES: String(headLines),
    FLAGS: RUN_FLAGS.join(" "),
  };
  return text.replaceAll(/@([A-Z_]+)@/g, (blank, name: string) => {
    const value = values[name];
    if (value === undefined) throw new PackagingError(`the unpacker has an unknown blank ${blank}`);
    return value;
  });
}

function template(): Promise<string> {
  return Deno.readTextFile(new URL("./unpacker.sh", import.meta.url));
}

/** As `sha256sum` reads them, one line a file, without a newline at the end. */
async function checksums(tree: string): Promise<string> {
  const lines: string[] = [];
  for (const path of await filesBelow(tree)) {
    const digest = await crypto.subtle.digest("SHA-256", await Deno.readFile(`${tree}/${path}`));
    lines.push(`${new Uint8Array(digest).toHex()}  ${path}`);
  }
  return lines.join("\n");
}

/** Other content, other folder: an upgrade never meets its predecessor's files. */
async function idOf(sums: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(sums));
  return new Uint8Array(digest).toHex().slice(0, 16);
}

async function copyTree(from: string, to: string): Promise<void> {
  for (const path of await filesBelow(from)) {
    await Deno.mkdir(`${to}/${path}`.replace(/\/[^/]*$/, ""), { recursive: true });
    await Deno.copyFile(`${from}/${path}`, `${to}/${path}`);
  }
}

async function writeAll(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
}
