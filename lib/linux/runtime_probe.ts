import type net from "node:net";
import { missingIn } from "./runtime_handles.ts";

/** Whether sockets of this runtime can be used by their private side; asked once, by the first one. */
export class RuntimeProbe {
  #isUsable: boolean | undefined;

  /** `onFallback` is told once what is missing, if anything is. */
  constructor(
    private readonly onFallback: (message: string) => void = () => {},
    private readonly missing: (socket: net.Socket) => string | undefined = missingIn,
  ) {}

  allows(socket: net.Socket): boolean {
    if (this.#isUsable === undefined) {
      const missing = this.missing(socket);
      this.#isUsable = missing === undefined;
      if (missing !== undefined) {
        this.onFallback(
          `sockets of this runtime have no ${missing}: they are read and written by their public interface, ` +
            "which is slower and takes more memory",
        );
      }
    }
    return this.#isUsable;
  }
}
