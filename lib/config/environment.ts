import type { ConfigInput } from "./parse.ts";

/** What `parseConfig` wants, from the process itself. The only place that asks for the environment. */
export function readEnvironment(args: readonly string[]): ConfigInput {
  return {
    env: Deno.env.toObject(),
    readFile(path) {
      try {
        return Deno.readTextFileSync(path);
      } catch (error) {
        if (error instanceof Deno.errors.NotFound) return undefined;
        throw error;
      }
    },
    cpuCount: navigator.hardwareConcurrency,
    args,
  };
}
