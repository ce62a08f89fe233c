/**
 * Errors that nobody caught.
 * @module
 */
import type { Log } from "#log";

/**
 * A rejection that nobody awaited is a bug of ours, and other people's connections are no reason to die of it: it is
 * told, with its place, and the thread goes on. (A bug inside a connection ends only that connection anyway.)
 */
export function surviveStrayRejections(log: Log): void {
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    log.error?.("bug: a rejection was not handled", { error: textOf(event.reason) });
  });
}

/** The main thread is everybody's: it goes on even where an error was thrown at nobody. */
export function surviveStrayErrors(log: Log): void {
  surviveStrayRejections(log);
  globalThis.addEventListener("error", (event) => {
    event.preventDefault();
    log.error?.("bug: an error was not caught", { error: textOf(event.error ?? event.message) });
  });
}

/** With its place, where it has one. */
export function textOf(error: unknown): string {
  return error instanceof Error ? error.stack ?? error.message : String(error);
}
