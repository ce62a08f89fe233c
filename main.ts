/** The command `ztunnel`: what it can do is in `#cli`. */
import { runCli } from "#cli";

if (import.meta.main) Deno.exit(await runCli(Deno.args));
