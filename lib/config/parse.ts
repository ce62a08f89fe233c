import type { ParsedConfig } from "./config.ts";
export interface ConfigInput {
  readonly env: Readonly<Record<string, string>>;
  /** Text of a file, undefined if it does not exist; throws with the reason if it cannot be read. */
  readonly readFile: (path: string) => string | undefined;
  readonly cpuCount: number;
  readonly args: readonly string[];
}
export function parseConfig(_input: ConfigInput): ParsedConfig {
  throw new Error("not written");
}
