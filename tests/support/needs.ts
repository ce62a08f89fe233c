/**
 * What some tests need of a machine. CI has all of it; without it a test fails loudly, or, where somebody says
 * `ZTUNNEL_TEST_ROOTLESS=1`, says loudly that it did not run. Every test that ran leaves a line for `.ci/run` to count.
 * @module
 */

/** Registers a test that needs root and these programs. */
export function testAsRoot(
  name: string,
  programs: readonly string[],
  body: () => Promise<void>,
): void {
  Deno.test({ name, sanitizeOps: false, sanitizeResources: false }, async () => {
    const missing = await missingOf(programs);
    if (missing.length > 0) {
      const what = `needs ${missing.join(", ")}`;
      if (Deno.env.get("ZTUNNEL_TEST_ROOTLESS") !== "1") throw new Error(`"${name}" ${what}`);
      console.error(`SKIPPED "${name}": ${what}`);
      return;
    }
    await body();
    const ran = Deno.env.get("ZTUNNEL_TEST_RAN_FILE");
    if (ran !== undefined) await Deno.writeTextFile(ran, `${name}\n`, { append: true });
  });
}

async function missingOf(programs: readonly string[]): Promise<string[]> {
  const missing = Deno.uid() === 0 ? [] : ["root"];
  for (const program of programs) {
    const found = await new Deno.Command("sh", {
      args: ["-c", `command -v ${program}`],
      stdout: "null",
    }).output();
    if (!found.success) missing.push(program);
  }
  return missing;
}
