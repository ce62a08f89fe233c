/**
 * `deno task compile`: the program as one file to drop on a node.
 * @module
 */
import { Command, Option } from "commander";
import { bundle, MAIN, PackagingError, ROOT, run } from "./bundle.ts";
import { V8_FLAGS, writeSingleFile } from "./single_file.ts";
import { runtimeOf, type Target, targetOf, TARGETS } from "./target.ts";

interface Options {
  readonly target: string;
  readonly output?: string;
  readonly how: "auto" | "compile" | "unpack";
}

/** Of what `deno compile` says in vain, these words mean that it found no base to build upon. */
const NO_BASE = /denort|error sending request|dns error|Connect|download/i;

async function compile(options: Options): Promise<void> {
  const target = targetOf(options.target);
  const name = target.arch === Deno.build.arch ? "ztunnel" : `ztunnel-${target.arch}`;
  const output = absolute(options.output ?? `${ROOT}dist/${name}`);
  const folder = await Deno.makeTempDir();
  try {
    const files = await bundle(`${folder}/app`);
    say(`bundled: ${files.length} files`);
    if (options.how !== "unpack") {
      const problem = await compileWithBase(`${folder}/app`, files, target, output);
      if (problem === undefined) return await tellResult(output, "by deno compile");
      // Whoever named a base, or asked for just this, must not get something else.
      if (options.how === "compile" || Deno.env.has("DENORT_BIN")) {
        throw new PackagingError(problem);
      }
      if (!NO_BASE.test(problem)) throw new PackagingError(problem);
      say(
        "deno compile has no base for this target here (DENORT_BIN can name one), so this becomes a file that carries " +
          "the whole runtime and unpacks itself once",
      );
    }
    const deno = await runtimeOf(target, folder);
    const version = await versionOf();
    await writeSingleFile({ output, deno, bundle: `${folder}/app`, target, version });
    await tellResult(output, "a file that unpacks itself");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Undefined when the file is there, else what `deno compile` said. */
async function compileWithBase(
  app: string,
  files: readonly string[],
  target: Target,
  output: string,
): Promise<string | undefined> {
  const included = files.filter((path) => path !== MAIN).flatMap((path) => ["--include", path]);
  try {
    const said = await run(Deno.execPath(), [
      "compile",
      "--allow-all",
      "--no-check",
      "--no-config",
      V8_FLAGS,
      "--target",
      target.triple,
      ...included,
      "--output",
      output,
      MAIN,
    ], app);
    say(said.slice(said.indexOf("Embedded Files")).trimEnd());
    return undefined;
  } catch (error) {
    if (error instanceof PackagingError) return error.message;
    throw error;
  }
}

/** A file that cannot say what it is must not be shipped; another machine's can only be weighed. */
async function tellResult(output: string, how: string): Promise<void> {
  const { size } = await Deno.stat(output);
  say(`${output}: ${(size / 1e6).toFixed(1)} MB, ${how}`);
  if (!output.endsWith("/ztunnel")) return;
  const [first, again] = await startTwice(output);
  say(first.said.trim().split("\n")[0]!);
  say(`starts in ${first.ms} ms the first time, ${again.ms} ms afterwards`);
}

interface Start {
  readonly said: string;
  readonly ms: number;
}

/** In a place of its own, so that the first start unpacks and nothing is left. */
async function startTwice(program: string): Promise<readonly [Start, Start]> {
  const place = await Deno.makeTempDir();
  const start = async (): Promise<Start> => {
    const startMs = performance.now();
    const said = await run(program, ["version"], ROOT, { ZTUNNEL_UNPACK_DIR: place });
    return { said, ms: Math.round(performance.now() - startMs) };
  };
  try {
    return [await start(), await start()];
  } finally {
    await Deno.remove(place, { recursive: true });
  }
}

async function versionOf(): Promise<string> {
  const { version } = JSON.parse(await Deno.readTextFile(`${ROOT}deno.json`));
  return String(version);
}

function absolute(path: string): string {
  return path.startsWith("/") ? path : `${Deno.cwd()}/${path}`;
}

function say(line: string): void {
  console.log(line);
}

if (import.meta.main) {
  const options = new Command("compile")
    .description("The program as one file: dist/ztunnel")
    .addOption(
      new Option("--target <arch>", "the machine it is for").default(Deno.build.arch)
        .choices(TARGETS.map((each) => each.arch)),
    )
    .option("--output <file>", "where to; dist/ztunnel, or dist/ztunnel-<arch> for another machine")
    .addOption(
      new Option(
        "--how <way>",
        "compile: deno compile or fail; unpack: a file that carries the runtime and unpacks itself once; " +
          "auto: the first if it can be had",
      ).choices(["auto", "compile", "unpack"]).default("auto"),
    )
    .parse(Deno.args, { from: "user" })
    .opts<Options>();
  try {
    await compile(options);
  } catch (error) {
    if (!(error instanceof PackagingError)) throw error;
    console.error(error.message);
    Deno.exit(1);
  }
}
