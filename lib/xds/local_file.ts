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

/** Changes whenever the file does: also by a rename over it, and by a swapped symbolic link on the way to it. */
export async function signatureOf(path: string): Promise<string> {
  try {
    const { dev, ino, size, mtime } = await Deno.stat(path);
    return `${dev}:${ino}:${size}:${mtime?.getTime()}`;
  } catch (error) {
    return error instanceof Error ? error.name : String(error);
  }
}
