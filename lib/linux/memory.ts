import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { C, c, errno } from "./libc.ts";
import { CallError } from "./errno.ts";
import { exitWithParent } from "./process.ts";

/** What this process asks of the kernel for itself: its end with its parent's, and memory given back. */
export const OwnProcess = {
  exitWithParent,

  /**
   * Collects this thread's garbage, and lets go of what V8 and malloc hold without use. It takes some 30 ms, in which
   * this thread does nothing else: for large pieces of work, whose garbage nobody would collect for hours.
   */
  collectAndRelease(): void {
    collect ??= collector();
    collect({ type: "major", flavor: "last-resort" });
    c.malloc_trim(0n);
  },

  /**
   * Lets go of whole pages; what was there reads as zeros afterwards. For memory that nobody looks at. Growable buffers
   * begin on a page boundary; throws a CallError for what does not lie on one.
   */
  releasePages(buffer: SharedArrayBuffer, byteOffset: number, byteLength: number): void {
    const pages = new Uint8Array(buffer, byteOffset, byteLength);
    if (c.madvise(pages as never, BigInt(byteLength), C.MADV_DONTNEED) !== 0) {
      throw new CallError("madvise(MADV_DONTNEED)", errno());
    }
  },
} as const;

type Collect = (how: { readonly type: "major"; readonly flavor: "last-resort" }) => void;
let collect: Collect | undefined;

/** V8 shows its collector only to contexts that are made after it was asked to. */
function collector(): Collect {
  setFlagsFromString("--expose-gc");
  return runInNewContext("gc") as Collect;
}
