import { buildInfo, describeProblem, parseConfig, readEnvironment, variableTable } from "#config";
import { Command, CommanderError } from "commander";
import type { DevArguments } from "./dev_arguments.ts";
import { printError, printOut } from "./print.ts";

const EXIT_OK = 0;
const EXIT_FAILURE = 1;
/** Where stdout is no terminal, e.g. in a pod's log. */
const WIDTH_COLUMNS_DEFAULT = 100;

/**
 * Does what the command line says (behaviour.md 0.5) and returns the exit code. The first word decides; what
 * follows `proxy` is ignored, since the chart passes `proxy ztunnel`.
 */
export async function runCli(args: readonly string[]): Promise<number> {
  let code = EXIT_OK;
  const program = commands(args, (result) => code = result);
  try {
    await program.parseAsync(args.length === 0 ? ["proxy"] : [...args], { from: "user" });
    return code;
  } catch (error) {
    // Commander reports what it printed, help included, as an error with the exit code.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_OK : EXIT_FAILURE;
    throw error;
  }
}

function commands(args: readonly string[], finish: (code: number) => void): Command {
  const program = new Command("ztunnel")
    .description("Layer-4 node proxy of the ambient mesh. Settings are environment variables.")
    .configureOutput({ writeOut: printOut, writeErr: printError })
    .showHelpAfterError()
    .showSuggestionAfterError()
    .helpCommand(false)
    .exitOverride();

  program.command("proxy")
    .description("run the proxy (also without any word); further words are ignored")
    .argument("[ignored...]")
    .allowUnknownOption()
    .allowExcessArguments()
    .addHelpText("after", () => `\n${variableTable(widthColumns())}`)
    .action(async () => finish(await proxy(args)));

  program.command("dev")
    .description(
      "a small mesh on this machine's loopback, to try things out: a test control plane with the mesh of a file, " +
        "a proxy per meshed workload, a service per port",
    )
    .option("--mesh <file>", "the mesh to run, as local YAML (see examples/dev.yaml)")
    .option(
      "--pods [file]",
      "instead: a whole node in network namespaces, one per workload of the file (see examples/pods.yaml); needs root",
    )
    .option(
      "--control-plane-only",
      "nothing but the control plane: xDS, CA, and their faults on demand",
    )
    .option(
      "--listen <ip:port>",
      "where the control plane listens; port 0 is any free one",
      "127.0.0.1:15012",
    )
    .option("--control-port <port>", "of its knobs over HTTP (GET / says which)", "15014")
    .option("--files <folder>", "where its roots and tokens are put; a temporary folder if absent")
    .option(
      "--token <owner...>",
      "tokens to be put there, for namespace/account or namespace/account@node",
    )
    .option(
      "--workloads <count>",
      "only: a generated mesh instead of a file's, of so many workloads",
    )
    .option("--services <count>", "in so many services", "10000")
    .option("--nodes <count>", "on so many nodes", "1000")
    .action(async (options: DevArguments) => {
      const { runDev } = await import("./dev.ts");
      finish(await runDev(options));
    });

  program.command("version")
    .description("print what this build is")
    .allowExcessArguments()
    .action(() => version());

  program.command("help")
    .description("print this, and every environment variable")
    .allowExcessArguments()
    .action(() => printOut(`${program.helpInformation()}\n${variableTable(widthColumns())}`));

  return program;
}

/** Every problem of the settings is told at once, one line each, and nothing is started with half of them. */
async function proxy(args: readonly string[]): Promise<number> {
  const { config, problems, warnings } = parseConfig(readEnvironment(args));
  if (config === undefined) {
    for (const problem of problems) printError(`${describeProblem(problem)}\n`);
    return EXIT_FAILURE;
  }
  const { runProxy } = await import("#app");
  return await runProxy({ config, warnings });
}

function version(): void {
  const { deno, v8, typescript, ...build } = buildInfo(readEnvironment([]).env);
  printOut(
    `ztunnel ${build.version} (git ${build.gitRevision}, istio ${build.istioVersion})\n` +
      `deno ${deno}, v8 ${v8}, typescript ${typescript}\n`,
  );
}

function widthColumns(): number {
  try {
    return Deno.consoleSize().columns;
  } catch {
    return WIDTH_COLUMNS_DEFAULT;
  }
}
