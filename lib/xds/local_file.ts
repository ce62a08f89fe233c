import { LOCAL_LIMITS } from "./limits.ts";

/** What is in a file, or why that cannot be read. */
export type FileText = { readonly text: string } | { readonly wrong: string };

/** Never reads more than the limit, whatever the file says of its size, and never waits for a pipe. */
export async function readLocalFile(path: string): Promise<FileText> {
  const { fileBytesMax } = LOCAL_LIMITS;
  try {
    if (!(await Deno.stat(path)).isFile) return { wrong: "Cannot read it: not a regular file" };
    using file = await Deno.open(path);
    const chunks: Uint8Array<ArrayBuffer>[] = [];
    let bytesCount = 0;
    for (;;) {
      const chunk = new Uint8Array(CHUNK_BYTES);
      const readCount = await file.read(chunk);
      if (readCount === null) break;
      bytesCount += readCount;
      if (bytesCount > fileBytesMax) {
        return { wrong: `Cannot read more than ${fileBytesMax} bytes` };
      }
      chunks.push(chunk.subarray(0, readCount));
    }
    const bytes = await new Blob(chunks).arrayBuffer();
    return { text: new TextDecoder("utf-8", { fatal: true }).decode(bytes) };
  } catch (error) {
    if (error instanceof TypeError) return { wrong: "Cannot read it: not UTF-8 text" };
    return { wrong: `Cannot read it: ${error instanceof Error ? error.message : String(error)}` };
  }
}

/** Large enough that a usual file is one read. */
const CHUNK_BYTES = 256 * 1024;

/** Kernels stamp files by the tick, 10 ms at the longest; twice that, for a clock that is read a little apart. */
const STAMP_GRAIN_MS = 20;

/**
 * Changes when the file does. A file that was written just now could be written again with the same stamp and size, so
 * its signature says so, and differs from the one that the same file has a moment later.
 */
export async function signatureOf(path: string, nowMs: number): Promise<string> {
  try {
    const { dev, ino, size, mtime } = await Deno.stat(path);
    const writtenMs = mtime?.getTime() ?? 0;
    const isFresh = Math.abs(nowMs - writtenMs) < STAMP_GRAIN_MS;
    return `${dev}:${ino}:${size}:${writtenMs}${isFresh ? ":fresh" : ""}`;
  } catch (error) {
    return error instanceof Error ? error.name : String(error);
  }
}
