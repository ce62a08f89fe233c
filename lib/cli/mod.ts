/**
 * The command line: arguments, help, version, and the words that start the rest.
 *
 * Owns: usage texts and exit codes. Never: settings, which are all in the environment. Runs on: main.
 *
 * @module
 */
export { runCli } from "./cli.ts";
