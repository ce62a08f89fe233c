/** h2spec, the conformance tests of RFC 9113 and RFC 7541, against our engine: what does not apply is listed, with a reason. */
import { deepStrictEqual as assertEquals, ok as assert, throws } from "node:assert/strict";
import { buildGoTools } from "../support/go_tools.ts";
import { serveForH2spec } from "../support/h2spec_server.ts";
import { testAsRoot } from "../support/needs.ts";

const HOST = "127.83.7.1";
const LIST = new URL("../testdata/h2spec_not_applicable.txt", import.meta.url);
/** What the pinned h2spec has; fewer would mean that it did not run to its end. */
const CASES_COUNT = 145;

interface Case {
  /** Section and title: "http2/6.6 Sends a PUSH_PROMISE frame". */
  readonly name: string;
  readonly passed: boolean;
  /** What h2spec said of a case that did not pass. */
  readonly said: string;
}

testAsRoot("the engine passes every applicable case of h2spec", ["go"], async () => {
  const notApplicable = parseList(await Deno.readTextFile(LIST));
  await using tools = await buildGoTools();
  await using server = serveForH2spec(HOST);
  const report = `${tools.h2spec}.xml`;
  // What applies is answered at once, so that only what does not waits so long.
  const args = ["-h", HOST, "-p", String(server.port), "--timeout", "6", "--junit-report", report];
  const run = await new Deno.Command(tools.h2spec, { args }).output();
  const cases = parseReport(
    await Deno.readTextFile(report).catch(() => {
      throw new Error(`h2spec did not run: ${new TextDecoder().decode(run.stderr)}`);
    }),
  );
  assertEquals(cases.length, CASES_COUNT, "h2spec did not run all of its cases");
  const failed = cases.filter(({ name, passed }) => !passed && !notApplicable.has(name));
  assertEquals(failed.map(({ name, said }) => `${name}: ${said}`), []);
  // A line that outlived its reason would hide the next failure.
  const known = new Set(cases.filter(({ passed }) => !passed).map(({ name }) => name));
  assertEquals([...notApplicable].filter((name) => !known.has(name)), [], "listed, but passes");
});

Deno.test("h2spec's report reads as cases, and the list as names", () => {
  const report = `<testsuites><testsuite name="x">
    <testcase package="http2/6.6" classname="Sends &#34;a&#34; frame" time="0.1"></testcase>
    <testcase package="http2/8.2" classname="b" time="2"><failure>GOAWAY\nHEADERS</failure></testcase>
    <testcase package="http2/8.3" classname="c" time="2"><skipped></skipped></testcase>
  </testsuite></testsuites>`;
  assertEquals(parseReport(report), [
    { name: 'http2/6.6 Sends "a" frame', passed: true, said: "" },
    { name: "http2/8.2 b", passed: false, said: "GOAWAY\nHEADERS" },
    { name: "http2/8.3 c", passed: false, said: "skipped" },
  ]);
  assertEquals([...parseList("# why\nhttp2/8.3 c | we have no push\n\n")], ["http2/8.3 c"]);
  throws(() => parseList("http2/8.3 c\n"), /no reason/);
});

/** Lines of "section title | reason"; "#" begins a comment. */
function parseList(text: string): Set<string> {
  const names = text.split("\n").filter((line) => line !== "" && !line.startsWith("#")).map(
    (line) => {
      const [name = "", reason = ""] = line.split(" | ");
      assert(reason.length > 0, `no reason for "${name}"`);
      return name;
    },
  );
  return new Set(names);
}

/** h2spec writes one shape of JUnit; a whole XML reader would test nothing more. */
function parseReport(xml: string): Case[] {
  const found = xml.matchAll(
    /<testcase package="([^"]*)" classname="([^"]*)"[^>]*>([\s\S]*?)<\/testcase>/g,
  );
  return [...found].map(([, section = "", title = "", inside = ""]) => ({
    name: unescape(`${section} ${title}`),
    passed: inside.trim() === "",
    said: unescape(inside.replaceAll(/<\/?(failure|error)>/g, "")).trim() ||
      (inside.includes("<skipped") ? "skipped" : ""),
  })).map((one) => one.said.startsWith("<skipped") ? { ...one, said: "skipped" } : one);
}

function unescape(text: string): string {
  const names: Record<string, string> = { lt: "<", gt: ">", amp: "&", quot: '"' };
  return text.replaceAll(/&(?:#x([0-9A-Fa-f]+)|#(\d+)|(\w+));/g, (whole, hex, decimal, name) => {
    if (hex !== undefined) return String.fromCodePoint(parseInt(hex, 16));
    if (decimal !== undefined) return String.fromCodePoint(Number(decimal));
    return names[name] ?? whole;
  });
}
