import { OwnProcess } from "#linux";
import type { Clock } from "#system";
import { Tidy } from "./tidy.ts";

/** This thread gives its memory back whenever it is quiet again. */
export function tidyThread(clock: Clock): Tidy {
  return new Tidy(clock, {
    processorMs: OwnProcess.threadProcessorMs,
    release: OwnProcess.collectAndRelease,
    rest: OwnProcess.releaseCodePages,
  });
}
