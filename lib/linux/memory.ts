import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { C, c, errno } from "./libc.ts";
import { CallError } from "./errno.ts";
import { askForShortSlices, exitWithParent, othersTurn, threadProcessorMs } from "./process.ts";
import { type FileMapping, unchangedMappings } from "./smaps.ts";

/** What this process asks of the kernel for itself: its end with its parent's, a moment's rest, memory given back. */
export const OwnProcess = {
  askForShortSlices,
  exitWithParent,
  othersTurn,
  threadProcessorMs,

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
   * Lets go of the pages of the runtime's executable that nobody changed: code and constants, of which a start touches
   * 50 MB and what follows some 20 (measured). They stay in the kernel's cache, and who touches one maps it again, with its
   * neighbours, in microseconds. The whole takes some 6 ms, which only this thread spends. Only the executable's: a
   * library may be on its way into memory in another thread. Returns how many bytes of address space that were, none
   * where /proc does not say.
   */
  releaseCodePages(): number {
    let bytesCount = 0;
    for (const { start, bytesCount: count } of executableMappings()) {
      if (c.madviseAt(Deno.UnsafePointer.create(start), count, C.MADV_DONTNEED) === 0) {
        bytesCount += Number(count);
      }
    }
    return bytesCount;
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

function executableMappings(): Iterable<FileMapping> {
  try {
    const path = Deno.readLinkSync("/proc/self/exe");
    return unchangedMappings(Deno.readTextFileSync("/proc/self/smaps"), path);
  } catch {
    return [];
  }
}

type Collect = (how: { readonly type: "major"; readonly flavor: "last-resort" }) => void;
let collect: Collect | undefined;

/** V8 shows its collector only to contexts that are made after it was asked to. */
function collector(): Collect {
  setFlagsFromString("--expose-gc");
  return runInNewContext("gc") as Collect;
}
