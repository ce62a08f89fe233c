import { type DevArguments, readArguments } from "./dev_arguments.ts";
import { painter } from "./dev_lines.ts";
import { exampleFile } from "./own_program.ts";
import { printError, printOut } from "./print.ts";

/** `ztunnel dev`: returns the exit code when Ctrl-C, SIGTERM or a failure has ended it. */
export async function runDev(typed: DevArguments): Promise<number> {
  const colour = Deno.stdout.isTerminal() && Deno.env.get("NO_COLOR") === undefined;
  const paint = painter(colour);
  const print = (line: string) => printOut(`${line}\n`);
  const complain = (line: string) => printError(`${line}\n`);
  try {
    if (typed.pods !== undefined) {
      const { runPods } = await import("./dev_pods.ts");
      await using example = await exampleFile("pods.yaml");
      const path = typed.pods === true ? example.path : typed.pods;
      return await runPods({ path, paint, print, printError: complain });
    }
    await using example = await exampleFile("dev.yaml");
    const settings = readArguments(typed, example.path);
    if (settings.isControlPlaneOnly) {
      const { runControlPlane } = await import("./dev_control_plane.ts");
      return await runControlPlane({ settings, print, printError: complain });
    }
    const { runSession } = await import("./dev_session.ts");
    return await runSession({ settings, paint, print, printError: complain });
  } catch (error) {
    complain(paint("red", `dev: ${error instanceof Error ? error.message : String(error)}`));
    return 1;
  }
}
