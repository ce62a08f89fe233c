import { deepStrictEqual, match, strictEqual } from "node:assert/strict";
import { testAsRoot } from "../../support/needs.ts";

const PROTO = new URL("../../../proto/", import.meta.url);

/** Runs the generator on a copy of its folder, with `more` sources, and hands over what it wrote and said. */
async function generated(
  more: Readonly<Record<string, string>> = {},
  env: Readonly<Record<string, string>> = {},
): Promise<{ readonly files: Map<string, string>; readonly code: number; readonly said: string }> {
  const folder = await Deno.makeTempDir();
  try {
    for await (const { name, isFile } of Deno.readDir(PROTO)) {
      if (isFile) await Deno.copyFile(new URL(name, PROTO), `${folder}/${name}`);
    }
    for (const [name, text] of Object.entries(more)) {
      await Deno.writeTextFile(`${folder}/${name}`, text);
    }
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--quiet", "--config", `${folder}/deno.json`, `${folder}/gen.ts`],
      env: { NO_COLOR: "1", ...env },
      stdout: "null",
    }).output();
    const files = code === 0 ? await filesOf(`${folder}/gen`) : new Map<string, string>();
    return { files, code, said: new TextDecoder().decode(stderr) };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function filesOf(folder: string): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  for await (const { name } of Deno.readDir(folder)) {
    files.set(name, await Deno.readTextFile(`${folder}/${name}`));
  }
  return files;
}

testAsRoot("the generator reproduces the committed files byte for byte", ["protoc"], async () => {
  const committed = await filesOf(new URL("gen/", PROTO).pathname);
  const { files, said } = await generated();
  deepStrictEqual([...files.keys()].sort(), [...committed.keys()].sort(), said);
  for (const [name, content] of files) {
    strictEqual(committed.get(name), content, `proto/gen/${name} is stale: run "deno task gen"`);
  }
});

testAsRoot("the generator names file and line of what protoc refuses", ["protoc"], async () => {
  const { code, said } = await generated({
    "bad.proto": 'syntax = "proto3";\nmessage M { string a = 0; }\n',
  });
  strictEqual(code, 1);
  match(said, /^protoc: bad\.proto:2:/);
});

Deno.test("the generator says what to install where protoc is missing", async () => {
  const { code, said } = await generated({}, { PATH: "/nonexistent" });
  strictEqual(code, 1);
  strictEqual(
    said,
    "protoc is missing, install it first " +
      "(Debian: apt-get install protobuf-compiler libprotobuf-dev)\n",
  );
});
