const encoder = new TextEncoder();

/** To stdout at once, whole: the process may exit on the next line. */
export function printOut(text: string): void {
  print(Deno.stdout, text);
}

/** To stderr at once, whole. */
export function printError(text: string): void {
  print(Deno.stderr, text);
}

function print(to: { writeSync(bytes: Uint8Array): number }, text: string): void {
  let bytes = encoder.encode(text);
  try {
    while (bytes.byteLength > 0) bytes = bytes.subarray(to.writeSync(bytes));
  } catch (error) {
    // Whoever read us has gone, as in `ztunnel help | head -1`: nobody is left to tell.
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
}
