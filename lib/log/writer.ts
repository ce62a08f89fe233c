import { LOG_LIMITS } from "./limits.ts";

/** What `Deno.stdout` is to us. */
export interface SyncSink {
  writeSync(bytes: Uint8Array): number;
}

/**
 * Writes every byte before it returns, as far as the sink ever takes them. A pipe in non-blocking mode says EAGAIN
 * while it is full: we wait for its reader, for at most LOG_LIMITS.stallMaxMs a batch, then throw. The process stands
 * meanwhile, as ztunnel's producers do.
 */
export function blockingWriter(sink: SyncSink): (bytes: Uint8Array) => void {
  const sleeper = new Int32Array(new SharedArrayBuffer(4));
  // A batch that was cut off ends in the middle of a line; the next one must not continue that line.
  let isLineOpen = false;
  return (bytes) => {
    let stalledMs = 0;
    let rest = isLineOpen ? concat(NEWLINE, bytes) : bytes;
    while (rest.byteLength > 0) {
      const takenBytes = tryWrite(sink, rest);
      if (takenBytes > 0) {
        isLineOpen = rest[takenBytes - 1] !== NEWLINE[0];
        rest = rest.subarray(takenBytes);
        continue;
      }
      if (stalledMs >= LOG_LIMITS.stallMaxMs) throw new Error("stdout takes no bytes");
      stalledMs += STALL_STEP_MS;
      Atomics.wait(sleeper, 0, 0, STALL_STEP_MS);
    }
  };
}

const STALL_STEP_MS = 5;
const NEWLINE = Uint8Array.of(0x0a);

/** 0 while the sink is full; throws when it is gone. */
function tryWrite(sink: SyncSink, bytes: Uint8Array): number {
  try {
    return sink.writeSync(bytes);
  } catch (error) {
    const isFull = error instanceof Error &&
      (error.name === "WouldBlock" || error.name === "Interrupted" ||
        /EAGAIN|os error 11\b/.test(error.message));
    if (isFull) return 0;
    throw error;
  }
}

function concat(first: Uint8Array, second: Uint8Array): Uint8Array {
  const joined = new Uint8Array(first.byteLength + second.byteLength);
  joined.set(first);
  joined.set(second, first.byteLength);
  return joined;
}
