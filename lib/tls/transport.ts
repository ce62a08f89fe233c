/**
 * What TLS runs over: the TCP socket itself where a stream has one, so that ciphertext stays out of
 * JavaScript, and otherwise any ByteStream in a node:stream coat.
 * @module
 */
import { Socket } from "node:net";
import { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";
import type { ByteStream } from "#stream";
import type { Clock } from "#system";
import { handleOf } from "./handle.ts";

export interface Transport {
  /** For node:tls. */
  readonly socket: Socket;
  /** Stops taking ciphertext from below, for backpressure; `tls` is what runs over this. */
  pause(tls: TLSSocket): void;
  resume(tls: TLSSocket): void;
}

/** How much plaintext or ciphertext a coat holds before it stops reading. */
const COAT_BYTES = 64 * 1024;

/** After both ends of a TLS connection have said goodbye, the stream below may take so long to end too. */
const LINGER_MS = 5_000;

export function transportOf(stream: ByteStream, clock: Clock): Transport {
  const socket = tcpSocketOf(stream);
  if (socket === undefined) return coatOver(stream, clock);
  // Its errors also reach the TLSSocket; without a listener here they would end the process.
  socket.on("error", () => {});
  return {
    socket,
    pause: (tls) => handleOf(tls)?._nativeTcpHandle?.readStop(),
    resume: (tls) => handleOf(tls)?._nativeTcpHandle?.readStart(),
  };
}

function tcpSocketOf(stream: ByteStream): Socket | undefined {
  const native = stream.native as
    | { readonly kind?: unknown; readonly socket?: unknown }
    | undefined;
  if (native?.kind !== "tcp") return undefined;
  return native.socket instanceof Socket ? native.socket : undefined;
}

function coatOver(stream: ByteStream, clock: Clock): Transport {
  const gate = { shut: false, wanted: false };
  const pull = (): void => {
    if (gate.shut) {
      gate.wanted = true;
      return;
    }
    stream.read().then(
      // A copy: the chunk is ours only until the next read.
      (chunk) => void coat.push(chunk === null ? null : chunk.slice()),
      (error) => void coat.destroy(error),
    );
  };
  const coat = new Duplex({
    allowHalfOpen: true,
    readableHighWaterMark: COAT_BYTES,
    writableHighWaterMark: COAT_BYTES,
    read: pull,
    write: (chunk, _encoding, done) => void stream.write(chunk).then(() => done(), done),
    final: (done) => void stream.closeWrite().then(() => done(), done),
    destroy(error, done) {
      if (error) stream.abort();
      else void finish(stream, clock);
      done(error);
    },
  });
  coat.on("error", () => {});
  return {
    socket: coat as unknown as Socket,
    pause: () => void (gate.shut = true),
    resume() {
      gate.shut = false;
      if (!gate.wanted) return;
      gate.wanted = false;
      pull();
    },
  };
}

/** Lets both directions end in order, since node:tls destroys what it runs over as soon as TLS itself has ended. */
async function finish(stream: ByteStream, clock: Clock): Promise<void> {
  const timer = clock.after(LINGER_MS, () => stream.abort(), { background: true });
  void stream.closed.then(() => timer.cancel());
  try {
    await stream.closeWrite();
    while (await stream.read() !== null);
  } catch {
    // Gone already, or a read is still under way and will see the end itself.
  }
}
