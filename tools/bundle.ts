/**
 * The program as a few JavaScript files without its sources or a node_modules tree: what an image, a compiled binary and
 * the single file carry.
 *
 *   deno run -A tools/bundle.ts --output DIR
 *
 * @module
 */
import { Command } from "commander";
import { stop, transform } from "esbuild";

export const ROOT = new URL("../", import.meta.url).pathname;
export const MAIN = "main.js";
/** Entry points beside main.ts: what a Worker starts from is found by a URL at run time, so that no import leads there. */
const WORKERS: readonly string[] = ["lib/app/data_worker.ts"];
/** What is read as files; by the same relative paths as in the tree. */
const DATA: readonly string[] = ["examples/dev.yaml", "examples/pods.yaml", "LICENSE"];

/** Thrown with what the tool said that failed. */
export class PackagingError extends Error {
  override readonly name = "PackagingError";
}

/** Writes the bundle into `output`, which must not exist or be empty; returns the paths of its files, sorted. */
export async function bundle(output: string): Promise<readonly string[]> {
  await refuseFull(output);
  await run(Deno.execPath(), [
    "bundle",
    "--quiet",
    "--frozen",
    "--platform=deno",
    "--code-splitting",
    "--outdir",
    output,
    "main.ts",
    ...WORKERS,
  ], ROOT);
  await shrink(output);
  for (const path of DATA) {
    await Deno.mkdir(`${output}/${path}`.replace(/\/[^/]*$/, ""), { recursive: true });
    await Deno.copyFile(`${ROOT}${path}`, `${output}/${path}`);
  }
  return await filesBelow(output);
}

/** So that a stack trace, which names a line, leads somewhere. */
const LINE_CHARACTERS_MAX = 100;

/**
 * Takes out blanks and comments: the runtime keeps every source several times over, and the program's memory is 6 MB less
 * without them (measured). Names stay, for whoever reads a stack trace.
 */
async function shrink(folder: string): Promise<void> {
  try {
    for (const path of await filesBelow(folder)) {
      const text = await Deno.readTextFile(`${folder}/${path}`);
      const { code } = await transform(text, {
        format: "esm",
        target: "esnext",
        minifyWhitespace: true,
        lineLimit: LINE_CHARACTERS_MAX,
      });
      await Deno.writeTextFile(`${folder}/${path}`, code);
    }
  } finally {
    await stop();
  }
}

/** Paths of all files below `folder`, relative to it, sorted by code unit. */
export async function filesBelow(folder: string, prefix = ""): Promise<string[]> {
  const paths: string[] = [];
  for await (const entry of Deno.readDir(`${folder}/${prefix}`)) {
    const path = `${prefix}${entry.name}`;
    if (entry.isDirectory) paths.push(...await filesBelow(folder, `${path}/`));
    else paths.push(path);
  }
  return paths.sort((a, b) => a < b ? -1 : 1);
}

/** Runs a program and returns what it printed on both streams; throws a PackagingError with it if it fails. */
export async function run(
  program: string,
  args: readonly string[],
  cwd: string,
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  const { success, code, stdout, stderr } = await new Deno.Command(program, {
    args: [...args],
    cwd,
    env: { NO_COLOR: "1", ...env },
  }).output();
  const text = new TextDecoder();
  const said = text.decode(stdout) + text.decode(stderr);
  if (success) return said;
  throw new PackagingError(`${program} ${args.join(" ")}\nended with exit code ${code}:\n${said}`);
}

async function refuseFull(folder: string): Promise<void> {
  await Deno.mkdir(folder, { recursive: true });
  for await (const { name } of Deno.readDir(folder)) {
    throw new PackagingError(`${folder} is not empty: it has ${name}`);
  }
}

if (import.meta.main) {
  const { output } = new Command("bundle")
    .description("The program as a few JavaScript files, without its sources or node_modules.")
    .requiredOption("--output <folder>", "an empty folder, or one to be made")
    .parse(Deno.args, { from: "user" })
    .opts<{ output: string }>();
  try {
    const paths = await bundle(output.startsWith("/") ? output : `${Deno.cwd()}/${output}`);
    console.log(`${output}: ${paths.length} files`);
  } catch (error) {
    if (!(error instanceof PackagingError)) throw error;
    console.error(error.message);
    Deno.exit(1);
  }
}
