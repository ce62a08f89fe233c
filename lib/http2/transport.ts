import type { ByteStream } from "#stream";
import { Buffer } from "node:buffer";
import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";

/** What the wires of this house put into `ByteStream.native`. */
type Native =
  | { readonly kind: "tls"; readonly socket: TLSSocket }
  | { readonly kind: "tcp"; readonly socket: Socket };

/**
 * The node stream that a session runs on: the socket under `stream` where there is one, so that no byte is copied
 * on its way, and a bridge otherwise (tunnels in tunnels, pipes in tests).
 */
export function socketOf(stream: ByteStream): Duplex {
  const native = stream.native as Native | undefined;
  if (native?.kind === "tcp") return native.socket;
  if (native?.kind === "tls") {
    // An empty server name (no SNI) makes node:http2 build the URL "https://:port" and throw (runtime.md B).
    const socket = native.socket as TLSSocket & { servername?: string | false | null };
    if (socket.servername === "") socket.servername = null;
    return socket;
  }
  return new StreamBridge(stream);
}

/** A ByteStream as a node stream. One chunk at a time each way, so backpressure passes through. */
class StreamBridge extends Duplex {
  constructor(private readonly stream: ByteStream) {
    super({ allowHalfOpen: true });
  }

  override _read(): void {
    this.stream.read().then(
      // Copied: the chunk is lent to us until the next read, and nghttp2 may look at it later.
      (chunk) => void this.push(chunk === null ? null : Buffer.from(chunk)),
      (error) => void this.destroy(error),
    );
  }

  override _write(
    chunk: Uint8Array,
    _encoding: string,
    done: (error?: Error | null) => void,
  ): void {
    this.stream.write(chunk).then(() => done(), done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.stream.closeWrite().then(() => done(), done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.stream.abort();
    done(error);
  }
}
