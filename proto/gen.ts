/**
 * Writes `proto/gen` from `proto/*.proto`: protoc reads them, protoc-gen-es writes TypeScript. The same
 * sources give the same bytes, which a test holds. It has a deno.json and a deno.lock of its own, so that nobody who
 * runs the program fetches the 35 MB of the generator and its compiler.
 * @module
 */
import { create, fromBinary } from "@bufbuild/protobuf";
import { CodeGeneratorRequestSchema, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { protocGenEs } from "@bufbuild/protoc-gen-es/dist/cjs/src/protoc-gen-es-plugin.js";

/** What the generated files are to be: TypeScript that imports its neighbours by their real file names. */
const PARAMETER = "target=ts,import_extension=ts";

const INSTALL_HINT = "install it first (Debian: apt-get install protobuf-compiler libprotobuf-dev)";

/**
 * The generated files of every `.proto` in `folder`, by file name.
 * @throws Error if protoc is missing, or refuses a source: then with what it said.
 */
async function generate(folder: URL): Promise<Map<string, string>> {
  const sources: string[] = [];
  for await (const entry of Deno.readDir(folder)) {
    if (entry.isFile && entry.name.endsWith(".proto")) sources.push(entry.name);
  }
  // The order of a directory is the file system's.
  sources.sort();
  const { file } = fromBinary(FileDescriptorSetSchema, await describe(folder, sources));
  const response = protocGenEs.run(
    create(CodeGeneratorRequestSchema, {
      fileToGenerate: sources,
      parameter: PARAMETER,
      protoFile: file,
    }),
  );
  if (response.error) throw new Error(`protoc-gen-es: ${response.error}`);
  return new Map(response.file.map(({ name, content }) => [name, content]));
}

/** A serialised FileDescriptorSet, imports included, each file after those that it imports. */
async function describe(folder: URL, sources: readonly string[]): Promise<Uint8Array<ArrayBuffer>> {
  const output = await Deno.makeTempFile({ suffix: ".binpb" });
  try {
    const { success, stderr } = await new Deno.Command("protoc", {
      args: [
        "--proto_path=.",
        "--include_imports",
        "--include_source_info",
        `--descriptor_set_out=${output}`,
        ...sources,
      ],
      cwd: folder,
    }).output();
    if (!success) throw new Error(whyRefused(new TextDecoder().decode(stderr).trim()));
    return await Deno.readFile(output);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Error(`protoc is missing, ${INSTALL_HINT}`);
  } finally {
    await Deno.remove(output);
  }
}

/** protoc looks for Google's own types beside itself; Debian packs them apart. */
function whyRefused(said: string): string {
  const hint = /google\/protobuf\/\w+\.proto: File not found/.test(said)
    ? `\nGoogle's own types are missing, ${INSTALL_HINT}`
    : "";
  return `protoc: ${said}${hint}`;
}

const here = new URL("./", import.meta.url);
const target = new URL("gen/", here);
try {
  const files = await generate(here);
  // What no source stands behind any more goes too.
  await Deno.remove(target, { recursive: true }).catch(() => undefined);
  await Deno.mkdir(target);
  for (const [name, content] of files) await Deno.writeTextFile(new URL(name, target), content);
  console.log(`${files.size} files: ${[...files.keys()].join(", ")}`);
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  Deno.exit(1);
}
