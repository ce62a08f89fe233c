/**
 * Programs of the system, run to their end.
 * @module
 */

/** Runs a shell script; throws an Error with what it printed if any of its commands fails. */
export async function runScript(script: string): Promise<string> {
  const child = new Deno.Command("sh", {
    args: ["-e"],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  // A shell that ends early says why by its output.
  await writer.write(new TextEncoder().encode(script)).then(() => writer.close()).catch(() => {});
  const { success, code, stdout, stderr } = await child.output();
  const text = new TextDecoder();
  if (!success) {
    throw new Error(`exit code ${code}: ${text.decode(stderr).trim()}\nof the script:\n${script}`);
  }
  return text.decode(stdout);
}

/** Text as the standard input of `command`, inside a script. */
export function fed(command: string, input: string): string {
  return `${command} <<'END_OF_INPUT'\n${input.trim()}\nEND_OF_INPUT\n`;
}

/** Which of these programs cannot be found. */
export async function missingPrograms(programs: readonly string[]): Promise<readonly string[]> {
  const missing: string[] = [];
  for (const program of programs) {
    const { success } = await new Deno.Command("sh", {
      args: ["-c", `command -v "${program}"`],
      stdout: "null",
      stderr: "null",
    }).output();
    if (!success) missing.push(program);
  }
  return missing;
}
