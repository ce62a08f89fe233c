/** Part of the address space that shows a file. */
export interface FileMapping {
  readonly start: bigint;
  readonly bytesCount: bigint;
}

/** First and last address, rights, offset, device, inode, path (proc_pid_maps(5)). */
const HEAD = /^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \d+ +(.*)$/;
/** Pages that are this process' own: changed since they were mapped, in memory or in swap. */
const CHANGED = /^(?:Anonymous|Swap): +[1-9]/;
/** The last line of a mapping. */
const LAST = "VmFlags:";

/**
 * The mappings of `path` that this process reads or runs, cannot write and has not changed, from the text of
 * /proc/self/smaps: their pages say what the file says, and can be had from it again at any time. Relocations are changes
 * (the linker's read-only data after them counts as changed).
 */
export function* unchangedMappings(smaps: string, path: string): Generator<FileMapping> {
  let mapping: FileMapping | undefined;
  for (const line of smaps.split("\n")) {
    const head = HEAD.exec(line);
    if (head !== null) mapping = head[4] === path ? mappingOf(head) : undefined;
    else if (CHANGED.test(line)) mapping = undefined;
    else if (line.startsWith(LAST) && mapping !== undefined) {
      yield mapping;
      mapping = undefined;
    }
  }
}

function mappingOf([, from, to, rights]: RegExpExecArray): FileMapping | undefined {
  // Private and not writable: only such a one has pages of its own to tell a change by.
  if (!/^r-.p$/.test(rights!)) return undefined;
  const start = BigInt(`0x${from}`);
  return { start, bytesCount: BigInt(`0x${to}`) - start };
}
