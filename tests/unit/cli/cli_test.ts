import { deepStrictEqual, match, strictEqual } from "node:assert/strict";

interface Ended {
  readonly code: number;
  readonly out: string;
  readonly error: string;
}

/** Where Deno's cache is; nothing else of our environment may decide a test. */
function inherited(name: string): Record<string, string> {
  const value = Deno.env.get(name);
  return value === undefined ? {} : { [name]: value };
}

async function ztunnel(args: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "main.ts", ...args],
    clearEnv: true,
    env: { ...env, ...inherited("HOME"), ...inherited("DENO_DIR") },
    stdin: "null",
  });
  const { code, stdout, stderr } = await command.output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, out: text(stdout), error: text(stderr) };
}

Deno.test("ztunnel version prints what the build is", async () => {
  const { code, out } = await ztunnel(["version"], { ZTUNNEL_GIT_REVISION: "abc123" });
  strictEqual(code, 0);
  match(out, /^ztunnel \d+\.\d+\.\d+ \(git abc123, istio unknown\)\ndeno \d+/);
});

Deno.test("ztunnel help prints usage and every variable", async () => {
  const { code, out, error } = await ztunnel(["help"]);
  deepStrictEqual([code, error], [0, ""]);
  match(out, /^Usage: ztunnel /);
  match(out, /CONNECTION_TERMINATION_DEADLINE {2}duration/);
});

Deno.test("ztunnel prints help for --help and -h anywhere, and succeeds", async () => {
  const table: readonly (readonly [readonly string[], RegExp])[] = [
    [["--help"], /^Usage: ztunnel \[options\]/],
    [["-h"], /^Usage: ztunnel \[options\]/],
    [["proxy", "--help"], /^Usage: ztunnel proxy[^]*ENABLE_PROXY/],
    [["dev", "-h"], /^Usage: ztunnel dev/],
    [["version", "--help"], /^Usage: ztunnel version/],
  ];
  const ends = await Promise.all(table.map(([args]) => ztunnel(args)));
  for (const [index, [args, usage]] of table.entries()) {
    strictEqual(ends[index]!.code, 0, args.join(" "));
    match(ends[index]!.out, usage);
  }
});

Deno.test("ztunnel refuses an unknown word or option with usage on stderr and exit code 1", async () => {
  for (const word of ["serve", "--bogus"]) {
    const { code, out, error } = await ztunnel([word]);
    deepStrictEqual([code, out], [1, ""], word);
    match(error, new RegExp(`^error: unknown (command|option) '${word}'`));
    match(error, /Usage: ztunnel /);
  }
});

Deno.test("ztunnel runs the proxy without a word, and ignores words after `proxy`", async () => {
  const env = { PROXY_MODE: "sidecar" };
  const ends = await Promise.all([
    ztunnel([], env),
    ztunnel(["proxy"], env),
    ztunnel(["proxy", "ztunnel", "--anything"], env),
  ]);
  for (const { code, error } of ends) {
    strictEqual(code, 1);
    match(error, /^invalid env var PROXY_MODE="sidecar": must be shared or dedicated$/m);
  }
});

Deno.test("ztunnel proxy tells every problem of its settings, one line each, and exits with 1", async () => {
  const env = { PROXY_MODE: "dedicated", XDS_ADDRESS: "", FAKE_CA: "true", KEEPALIVE_TIME: "soon" };
  const { code, out, error } = await ztunnel(["proxy"], { ...env, IPV6_ENABLED: "1" });
  deepStrictEqual([code, out], [1, ""]);
  const lines = error.trimEnd().split("\n");
  deepStrictEqual(lines.map((line) => /^invalid env var (\w+)=/.exec(line)?.[1]).sort(), [
    "IPV6_ENABLED",
    "KEEPALIVE_TIME",
    "PROXY_WORKLOAD_INFO",
  ]);
});
