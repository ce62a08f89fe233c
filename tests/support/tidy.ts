/**
 * The house rules as pure functions over source files, so that the rules have tests too.
 *
 * A rule that no machine checks is a wish (ARCHITECTURE.md, "Rooms").
 * @module
 */

export interface SourceFile {
  /** From the repository's root, with `/`. */
  readonly path: string;
  readonly text: string;
}

/** Who may import whom. Adding an arrow is a design decision, so it is made here, in review. */
export const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  values: [],
  system: [],
  log: [],
  metrics: [],
  config: ["values"],
  mesh: ["values"],
  stream: ["values", "system"],
  authz: ["values", "mesh"],
  route: ["values", "system", "mesh"],
  tls: ["values", "system", "stream"],
  http2: ["values", "system", "stream"],
  linux: ["values", "system", "stream"],
  hbone: ["values", "system", "stream", "tls", "http2"],
  grpc: ["values", "system", "stream", "tls", "http2"],
  link: ["values", "config", "metrics", "mesh", "tls"],
  // Control wing.
  xds: ["values", "system", "log", "metrics", "mesh", "grpc"],
  certs: ["values", "system", "log", "metrics", "tls", "grpc"],
  inpod: ["values", "system", "log", "metrics", "linux"],
  admin: ["link", "config", "system", "log", "metrics", "mesh"],
  // Data wing.
  proxy: [
    "values",
    "system",
    "log",
    "metrics",
    "mesh",
    "authz",
    "route",
    "stream",
    "tls",
    "hbone",
    "dns",
    "link",
  ],
  dns: ["values", "system", "log", "metrics", "mesh", "stream"],
  // Assembly.
  app: ["*"],
  cli: ["*"],
  standin: ["*"],
};

/** Rooms that judge. One turn of the loop is their transaction, so they may not wait. */
const JUDGING = ["values", "mesh", "authz", "route"];

/** `standin` is loaded by nobody but `cli`, and there by a dynamic import: `proxy` never pays for it. */
const STANDIN_LOADERS = ["cli", "standin"];

/** Who reads and writes protobuf: `#proto/<file>_pb.ts`, generated from proto/. */
const PROTO_READERS = ["mesh", "xds", "certs", "inpod", "standin"];

export const DOOR_VALUES_MAX = 9;
export const LINES_PER_FUNCTION_MAX = 70;
export const LINES_PER_FILE_MAX = 400;
export const LINES_OF_MAIN_MAX = 60;

interface Ban {
  readonly pattern: RegExp;
  /** Rooms, or single files, that may. */
  readonly only: readonly string[];
  readonly instead: string;
}

/** What only one room may say. Each ban names its replacement, so that the failure teaches. */
const BANNED: readonly Ban[] = [
  {
    pattern:
      /\bDate\.now\b|\bnew Date\(\)|\bperformance\.now\b|\bset(Timeout|Interval|Immediate)\(/,
    only: ["system"],
    instead: "Clock of #system",
  },
  {
    pattern: /\bMath\.random\b|\bgetRandomValues\b|\brandomUUID\b/,
    only: ["system"],
    instead: "Rng of #system",
  },
  { pattern: /\bDeno\.dlopen\b/, only: ["linux"], instead: "#linux" },
  { pattern: /\.native\b/, only: ["linux", "tls", "http2", "stream"], instead: "ByteStream" },
  { pattern: /\bDeno\.env\b/, only: ["config", "cli"], instead: "Config" },
  { pattern: /\bprocess\.env\b/, only: [], instead: "Config" },
  { pattern: /\bconsole\./, only: [], instead: "Log" },
  { pattern: /:\s*any\b|\bas any\b|<any>/, only: [], instead: "a narrow interface" },
  // Swappable dependencies are imported in one place each (README.md, "Dependencies").
  { pattern: /from "yaml"|import\("yaml"\)/, only: ["config", "xds"], instead: "#config or #xds" },
  { pattern: /from "prom-client"/, only: ["metrics"], instead: "#metrics" },
  // Ours speaks gRPC itself; tests ask another implementation.
  { pattern: /from "@grpc\/grpc-js"/, only: [], instead: "#grpc" },
  { pattern: /\bDeno\.serve\b/, only: ["admin", "standin"], instead: "#admin" },
  // http2 names the TLSSocket that node:http2 takes over, until our own engine is there.
  { pattern: /from "node:(tls|https)"/, only: ["tls", "http2"], instead: "#tls" },
  { pattern: /from "node:http2"/, only: ["http2"], instead: "#http2" },
];

/** Every broken rule of the tree, one line each; empty when the house is in order. */
export function violations(files: readonly SourceFile[]): string[] {
  const lib = files.filter((file) => file.path.startsWith("lib/"));
  return [
    ...lib.flatMap(wrongArrows),
    ...lib.flatMap(bannedWords),
    ...lib.flatMap(waits),
    ...lib.flatMap(wideDoor),
    ...files.flatMap(outgrown),
    ...cycles(),
  ];
}

export function roomOf(path: string): string {
  return path.split("/")[1] ?? "";
}

/** Static imports and exports, dynamic imports, and `new URL("…", import.meta.url)`. */
function targetsOf(text: string): { readonly target: string; readonly dynamic: boolean }[] {
  const code = withoutComments(text);
  return [
    ...[...code.matchAll(/\bfrom\s*"([^"]+)"/g)].map((m) => ({ target: m[1]!, dynamic: false })),
    ...[...code.matchAll(/\bimport\s*"([^"]+)"/g)].map((m) => ({ target: m[1]!, dynamic: false })),
    ...[...code.matchAll(/\bimport\(\s*["'`]([^"'`]+)["'`]/g)].map((m) => ({
      target: m[1]!,
      dynamic: true,
    })),
    ...[...code.matchAll(/new URL\(\s*["'`](\.[^"'`]*)["'`]/g)].map((m) => ({
      target: m[1]!,
      dynamic: true,
    })),
  ];
}

function wrongArrows(file: SourceFile): string[] {
  const room = roomOf(file.path);
  const allowed = MAY_IMPORT[room];
  if (allowed === undefined) return [`${file.path}: unknown room "${room}"`];
  const depth = file.path.split("/").length - 3;
  const wrong: string[] = [];
  for (const { target, dynamic } of targetsOf(file.text)) {
    const climbs = target.split("/").filter((part) => part === "..").length;
    if (climbs > depth && !isDataFile(target)) {
      wrong.push(`${file.path}: "${target}" leaves the room, use its "#room"`);
    }
    if (!target.startsWith("#")) continue;
    const other = target.slice(1);
    if (other === "standin" && room !== "standin") {
      if (!STANDIN_LOADERS.includes(room) || !dynamic) {
        wrong.push(`${file.path}: only cli may load standin, by a dynamic import`);
      }
    } else if (other.startsWith("proto/")) {
      if (!PROTO_READERS.includes(room)) wrong.push(`${file.path}: ${room} may not read protobuf`);
    } else if (other.includes("/")) {
      wrong.push(`${file.path}: "${target}" reaches past a door`);
    } else if (other !== room && allowed[0] !== "*" && !allowed.includes(other)) {
      wrong.push(`${file.path}: ${room} may not import ${other}`);
    } else if (other === room) {
      wrong.push(`${file.path}: inside a room import "./file.ts", not its own door`);
    }
  }
  return wrong;
}

/** `deno.json` holds our version, and the main program is what `dev` starts. */
function isDataFile(target: string): boolean {
  return /(^|\/)(deno\.json|main\.ts|examples\/[\w.-]+)$/.test(target);
}

function bannedWords(file: SourceFile): string[] {
  const room = roomOf(file.path);
  const lines = withoutComments(file.text).split("\n");
  return BANNED.filter((ban) => !ban.only.includes(room)).flatMap((ban) =>
    lines.flatMap((line, index) =>
      ban.pattern.test(line) ? [`${file.path}:${index + 1}: use ${ban.instead}`] : []
    )
  );
}

function waits(file: SourceFile): string[] {
  if (!JUDGING.includes(roomOf(file.path))) return [];
  const code = withoutStrings(withoutComments(file.text));
  return /\b(async|await)\b|\bPromise\b/.test(code) ? [`${file.path}: a judging room waits`] : [];
}

function wideDoor(file: SourceFile): string[] {
  if (!/^lib\/\w+\/mod\.ts$/.test(file.path)) return [];
  const code = withoutComments(file.text);
  if (/export \* from/.test(code)) return [`${file.path}: names what it exports, no "export *"`];
  const declared = code.match(/^export (declare )?(async )?(function|class|const|let|enum) /gm) ??
    [];
  const listed = [...code.matchAll(/^export \{([^}]*)\}/gm)].flatMap((match) =>
    match[1]!.split(",").map((name) => name.trim()).filter((name) =>
      name !== "" && !name.startsWith("type ")
    )
  );
  const count = declared.length + listed.length;
  return count > DOOR_VALUES_MAX
    ? [`${file.path}: ${count} values, at most ${DOOR_VALUES_MAX}`]
    : [];
}

function outgrown(file: SourceFile): string[] {
  const wrong: string[] = [];
  const lines = file.text.split("\n");
  const linesMax = file.path === "main.ts" ? LINES_OF_MAIN_MAX : LINES_PER_FILE_MAX;
  if (lines.length - 1 > linesMax) {
    wrong.push(`${file.path}: ${lines.length - 1} lines, at most ${linesMax}`);
  }
  if (!/^(lib\/|main\.ts)/.test(file.path)) return wrong;
  for (const [index, line] of lines.entries()) {
    if (!opensFunction(lines, index)) continue;
    const indent = /^\s*/.exec(line)![0];
    const end = lines.findIndex((other, at) =>
      at > index && other.startsWith(`${indent}}`) && !/^\s*\}[^;,)]*\{\s*$/.test(other)
    );
    if (end - index >= LINES_PER_FUNCTION_MAX) {
      wrong.push(`${file.path}:${index + 1}: a function of ${end - index + 1} lines`);
    }
  }
  return wrong;
}

/** Whether a function's head starts here: on one line that ends in `{`, or spread until `) … {`. */
function opensFunction(lines: readonly string[], index: number): boolean {
  const line = lines[index]!;
  if (/^\s*(if|for|while|switch|catch|return|else|await|throw|\})\b/.test(line)) return false;
  if (/=\s*(async )?\([^)]*\)(: [^=]+)? => \{\s*$/.test(line)) return true;
  const head =
    /^(\s*)(?:export |default |async |static |override |private |get |set |\*)*(?:function\b.*|[#\w[\].]+(?:<[^>]*>)?)\(.*?(\{|\()?\s*$/
      .exec(line);
  if (head === null) return false;
  if (head[2] === "{") return true;
  if (!line.trimEnd().endsWith("(")) return false;
  const close = lines.find((other, at) => at > index && other.startsWith(`${head[1]})`));
  return close !== undefined && close.endsWith("{") && !close.includes("=>");
}

function cycles(): string[] {
  const wrong: string[] = [];
  const seen = new Map<string, "open" | "done">();
  const visit = (room: string, trail: readonly string[]): void => {
    if (seen.get(room) === "open") wrong.push(`cycle: ${[...trail, room].join(" -> ")}`);
    if (seen.has(room)) return;
    seen.set(room, "open");
    for (const next of MAY_IMPORT[room] ?? []) if (next !== "*") visit(next, [...trail, room]);
    seen.set(room, "done");
  };
  for (const room of Object.keys(MAY_IMPORT)) visit(room, []);
  return wrong;
}

/** Comments become blanks, so that line numbers stay; strings are left as they are. */
export function withoutComments(text: string): string {
  return text.replace(
    /("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`)|\/\*[\s\S]*?\*\/|\/\/[^\n]*/g,
    (whole, string: string | undefined) => string ?? whole.replace(/[^\n]/g, " "),
  );
}

function withoutStrings(text: string): string {
  return text.replace(/"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`/g, '""');
}

/** Every TypeScript file of the repository, generated ones left out. */
export async function repositorySources(): Promise<SourceFile[]> {
  const root = new URL("../../", import.meta.url);
  const files: SourceFile[] = [];
  const walk = async (folder: string): Promise<void> => {
    for await (const entry of Deno.readDir(new URL(folder, root))) {
      const path = `${folder}${entry.name}`;
      if (entry.isDirectory) {
        if (!["node_modules", ".git", "dist", "gen", "testdata"].includes(entry.name)) {
          await walk(`${path}/`);
        }
      } else if (entry.name.endsWith(".ts")) {
        files.push({ path, text: await Deno.readTextFile(new URL(path, root)) });
      }
    }
  };
  await walk("");
  return files;
}
