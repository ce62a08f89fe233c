import { painter } from "./dev_lines.ts";
import { runSession } from "./dev_session.ts";
import { printError, printOut } from "./print.ts";

export interface DevArguments {
  /** A YAML to use instead of the one that comes with us. */
  readonly mesh?: string;
}

/** `ztunnel dev`: returns the exit code when Ctrl-C, SIGTERM or a failure has ended it. */
export async function runDev(options: DevArguments): Promise<number> {
  const colour = Deno.stdout.isTerminal() && Deno.env.get("NO_COLOR") === undefined;
  return await runSession({
    path: options.mesh ?? examplePath(),
    paint: painter(colour),
    print: (line) => printOut(`${line}\n`),
    printError: (line) => printError(`${line}\n`),
  });
}

/** As short as it can be said, since people are told to edit it. */
function examplePath(): string {
  const path = decodeURIComponent(new URL("../../examples/dev.yaml", import.meta.url).pathname);
  const here = `${Deno.cwd()}/`;
  return path.startsWith(here) ? path.slice(here.length) : path;
}
