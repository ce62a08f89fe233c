/**
 * How this program starts itself again, and where the files that come with it are: in the tree, in a bundle, or compiled.
 * @module
 */

/** In a bundle all code lies at the top, beside the folders of the tree that it needs. */
const IS_BUNDLED = !import.meta.url.endsWith(".ts");
const ROOT = new URL(IS_BUNDLED ? "./" : "../../", import.meta.url);

/** As the packaged program is started (tools/single_file.ts): it must not find somebody's deno.json above its folder. */
const BUNDLED_FLAGS = ["--no-config", "--no-lock", "--cached-only", "--no-code-cache"];

/** The words that start this program, its arguments to follow. */
export function ownCommand(): readonly string[] {
  if (Deno.build.standalone) return [Deno.execPath()];
  const main = new URL(IS_BUNDLED ? "main.js" : "main.ts", ROOT).href;
  const flags = ["--allow-all", "--quiet", ...(IS_BUNDLED ? BUNDLED_FLAGS : [])];
  return [Deno.execPath(), "run", ...flags, main];
}

/**
 * An example of the tree, as a path that people are told to edit and that is therefore as short as it can be. A packaged
 * one cannot be edited, being compiled in or checked at each start, so it is a copy, until it is disposed of.
 */
export async function exampleFile(
  name: string,
): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = decodeURIComponent(new URL(`examples/${name}`, ROOT).pathname);
  if (IS_BUNDLED) {
    const folder = await Deno.makeTempDir({ prefix: "ztunnel-dev-" });
    await Deno.writeTextFile(`${folder}/${name}`, await Deno.readTextFile(path));
    return {
      path: `${folder}/${name}`,
      [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
    };
  }
  const here = `${Deno.cwd()}/`;
  return {
    path: path.startsWith(here) ? path.slice(here.length) : path,
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}
